"""Listing photos on S3 and in folders, before and after, in one run: `list.sh` calls it.

    list.py LISTER [BEFORE]

A small service of this script's own plays S3 (ListObjectsV2 with prefix, delimiter, start-after and continuation-token; 1000 keys a page): it
answers each request 50 ms late. Every kind of bucket is listed by each binary in turn, ROUNDS times; medians of photos a second, the most memory,
and how many requests there were, and how many at the same time. That each lists the same in the same order is checked.
"""

import asyncio
import bisect
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import urllib.parse

LATE, PAGE, ROUNDS = 0.05, 1000, int(os.environ.get("ROUNDS", 3))
MILLION = 1_000_000
ETAG = "&quot;d41d8cd98f00b204e9800998ecf8427e&quot;"

# Folders that are listed, as functions of the number of a photo. What a bucket is called is not how a photo is.
KINDS = {
    "200 folders of 5,000": lambda i: f"fruit-{i // 5000:03}/photo-{i % 5000:06}.jpg",
    "200 folders of 5,000, in 2 folders": lambda i: f"{'test' if i < MILLION // 2 else 'train'}/fruit-{i // 5000:03}/photo-{i % 5000:06}.jpg",
    "10,000 folders of 100": lambda i: f"fruit-{i // 100:05}/photo-{i % 100:06}.jpg",
    "1,000,000 folders of 1": lambda i: f"fruit-{i:07}/photo.jpg",
    "10 folders of 50,000, and then 500,000 of 1": lambda i: f"fruit-{i // 50000:02}/photo-{i:06}.jpg" if i < MILLION // 2 else f"fruit-{i}/photo.jpg",
    "20 folders of 50,000": lambda i: f"fruit-{i // 50000:03}/photo-{i % 50000:06}.jpg",
    "1 folder": lambda i: f"photo-{i:07}.jpg",
}


class Service:
    """Plays S3, until the end of the `with`, with these keys."""

    def __init__(self, keys):
        self.keys = sorted(keys)
        self.requests = self.now = self.most = 0

    def __enter__(self):
        self.loop, started = asyncio.new_event_loop(), threading.Event()

        async def serve():
            server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()

        def run():
            self.loop.run_until_complete(serve())
            self.loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        started.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)

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


def compare(name, contenders, keys):
    with Service(keys) as service:
        endpoint = f"http://127.0.0.1:{service.port}"
        environment = {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "eu-west-3"}
        runs, requests = {contender: [] for contender in contenders}, {}
        for _ in range(ROUNDS):
            for contender, binary in contenders.items():
                service.requests = service.most = 0
                runs[contender].append(listed(binary, "s3://bucket", environment))
                requests[contender] = f"{service.requests} requests, {service.most} at the same time"
    assert len({run[-1] for of in runs.values() for run in of}) == 1, "another list, or another order"
    base = None
    for contender, of in runs.items():
        count, seconds, first, memory, processors = (statistics.median(values) for values in list(zip(*of))[:-1])
        base = base or seconds
        print(
            f"{name}: {contender:6} {count / seconds:9,.0f} photos/s ({seconds:.1f} s, of processors {processors:.1f} s), {base / seconds:.1f} x; "
            f"the first after {first * 1000:.0f} ms; {memory / 1000:.0f} MB; {requests[contender]}",
            flush=True,
        )


def main():
    lister, *before = sys.argv[1:]
    contenders = ({"before": before[0]} if before else {}) | {"now": lister}
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print(f"{model[1] if model else 'unknown processor'}, {os.cpu_count()} threads, load {os.getloadavg()[0]:.1f}; {ROUNDS} rounds, {LATE * 1000:.0f} ms added to each request")
    for name, key in KINDS.items():
        if not (wanted := os.environ.get("KIND")) or wanted in name:
            compare(name, contenders, [key(i) for i in range(int(os.environ.get("PHOTOS", MILLION)))])


if __name__ == "__main__":
    main()
