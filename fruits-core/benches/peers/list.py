"""Listing photos on S3 and in folders, before and after, in one run: `list.sh` calls it.

    list.py LISTER [BEFORE]

A small service of this script's own plays S3 (ListObjectsV2 with prefix, delimiter, start-after and continuation-token; 1000 keys a page): it
answers each request 50 ms late. Every kind of bucket is listed by each binary in turn; medians of photos a second, the seconds of processors, the most
memory, and how many requests there were, and how many at the same time. Folders of this machine are listed with 1 ms added to each look at a
file and each opening of a folder, as on a network, and without. That each binary lists the same in the same order is checked.

PHOTOS: how many (1,000,000 on S3, a hundredth of it in folders). ROUNDS: of each kind (3). KIND: only kinds with this in their name.
"""

import asyncio
import bisect
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.parse

from service import Service

LATE, PAGE = 0.05, 1000
PHOTOS, ROUNDS, KIND = int(os.environ.get("PHOTOS", 1_000_000)), int(os.environ.get("ROUNDS", 3)), os.environ.get("KIND", "")
ETAG = "&quot;d41d8cd98f00b204e9800998ecf8427e&quot;"

# Where the photo of a number lies.
KINDS = {
    "200 folders of 5,000": lambda i: f"fruit-{i // 5000:03}/photo-{i % 5000:06}.jpg",
    "200 folders of 5,000, in 2 folders": lambda i: f"{'train' if i % 2 else 'test'}/fruit-{i // 10000:03}/photo-{i % 10000 // 2:06}.jpg",
    "10,000 folders of 100": lambda i: f"fruit-{i // 100:05}/photo-{i % 100:06}.jpg",
    "1,000,000 folders of 1": lambda i: f"fruit-{i:07}/photo.jpg",
    "folders of 50,000, and as many photos in folders of 1": lambda i: f"fruit-{i // 100000:02}/photo-{i:06}.jpg" if i % 2 else f"small-{i}/photo.jpg",
    "20 folders of 50,000": lambda i: f"fruit-{i // 50000:03}/photo-{i % 50000:06}.jpg",
    "1 folder": lambda i: f"photo-{i:07}.jpg",
}
FOLDERS = {
    "folders of 100 on this machine": lambda i: f"fruit-{i // 100:03}/photo-{i % 100:04}.jpg",
    "folders of 1 on this machine": lambda i: f"fruit-{i:05}/photo.jpg",
    "1 folder on this machine": lambda i: f"photo-{i:05}.jpg",
}
# What a network adds, preloaded.
SLOW = """
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>
int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict there) {
    static int (*real)(int, const char *restrict, int, unsigned, struct statx *restrict);
    if (!real) real = dlsym(RTLD_NEXT, "statx");
    usleep(1000);
    return real(folder, path, flags, mask, there);
}
DIR *opendir(const char *path) {
    static DIR *(*real)(const char *);
    if (!real) real = dlsym(RTLD_NEXT, "opendir");
    usleep(1000);
    return real(path);
}
"""


class S3(Service):
    """Plays S3, until the end of the `with`, with these keys."""

    def __init__(self, keys):
        self.keys = sorted(keys)
        self.requests = self.now = self.most = 0

    async def connection(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests += 1
                self.now += 1
                self.most = max(self.most, self.now)
                await asyncio.sleep(LATE)
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(head.split(" ")[1]).query)
                body = self.answer({name: values[0] for name, values in query.items()}).encode()
                self.now -= 1
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("continuation-token") or query.get("start-after", "")
        at = bisect.bisect_right(self.keys, after) if after >= prefix else bisect.bisect_left(self.keys, prefix)
        items, last = [], ""
        while at < len(self.keys) and self.keys[at].startswith(prefix) and len(items) < PAGE:
            last = self.keys[at]
            folder = delimiter and last.find(delimiter, len(prefix)) + 1
            if folder:
                items.append(f"<CommonPrefixes><Prefix>{last[:folder]}</Prefix></CommonPrefixes>")
                last = last[:folder] + "\U0010ffff"
                at = bisect.bisect_right(self.keys, last)
            else:
                items.append(
                    f"<Contents><Key>{last}</Key><LastModified>2026-11-28T00:00:00.000Z</LastModified><ETag>{ETAG}</ETag>"
                    "<Size>20000</Size><StorageClass>STANDARD</StorageClass></Contents>"
                )
                at += 1
        more = at < len(self.keys) and self.keys[at].startswith(prefix)
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(items)}</ListBucketResult>"
        )


def listed(binary, location, environment):
    """What `list-peer` prints: entries, seconds, to the first, kB, digest; and the seconds of processors that it took."""
    process = subprocess.Popen([binary, location], stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    count, seconds, first, memory, digest = process.stdout.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{binary} ended with {status}")
    return int(count), float(seconds), float(first), int(memory), usage.ru_utime + usage.ru_stime, digest


def compare(name, contenders, location, environment, service=None):
    runs, requests = {contender: [] for contender in contenders}, {}
    for _ in range(ROUNDS):
        for contender, binary in contenders.items():
            if service:
                service.requests = service.most = 0
            runs[contender].append(listed(binary, location, environment))
            requests[contender] = f"; {service.requests} requests, {service.most} at the same time" if service else ""
    assert len({run[-1] for of in runs.values() for run in of}) == 1, "another list, or another order"
    base = None
    for contender, of in runs.items():
        count, seconds, first, memory, processors = (statistics.median(values) for values in list(zip(*of))[:-1])
        base = base or seconds
        print(
            f"{name}: {contender:6} {count / seconds:9,.0f} photos/s ({seconds:.2f} s, of processors {processors:.2f} s), {base / seconds:.1f} x; "
            f"the first after {first * 1000:.0f} ms; {memory / 1000:.0f} MB{requests[contender]}",
            flush=True,
        )


def main():
    lister, *before = sys.argv[1:]
    contenders = ({"before": before[0]} if before else {}) | {"now": lister}
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print(f"{model[1] if model else 'unknown processor'}, {os.cpu_count()} threads, load {os.getloadavg()[0]:.1f}; {ROUNDS} rounds, {LATE * 1000:.0f} ms added to each request")
    for name, key in KINDS.items():
        if KIND in name:
            with S3(map(key, range(PHOTOS))) as service:
                settings = {"ENDPOINT_URL_S3": f"http://127.0.0.1:{service.port}", "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "key", "REGION": "eu-west-3"}
                compare(name, contenders, "s3://bucket", {f"AWS_{name}": value for name, value in settings.items()}, service)
    for name, key in FOLDERS.items():
        if KIND in name:
            with tempfile.TemporaryDirectory() as scratch:
                scratch = pathlib.Path(scratch)
                for i in range(PHOTOS // 100):
                    photo = scratch / "photos" / key(i)
                    photo.parent.mkdir(parents=True, exist_ok=True)
                    photo.touch()
                (scratch / "slow.c").write_text(SLOW)
                subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", scratch / "slow.so", scratch / "slow.c", "-ldl"], check=True)
                compare(name, contenders, scratch / "photos", {})
                compare(f"{name}, and 1 ms", contenders, scratch / "photos", {"LD_PRELOAD": str(scratch / "slow.so")})


if __name__ == "__main__":
    main()
