"""What the driver of a job of 100 million photos in Spark does, by itself: plan the tasks, commit what they answer, open it, find a part again.
`commit.sh` calls it.

    commit.py FRUITS OPENER [BEFORE]

The commands and the driver are the real ones. What is synthetic: a service of this script's own plays S3; Spark is a script that hands over to it, and
no photo is read and no task runs. It makes instead what 6,104 tasks would have left and answered: 24,415 parts of 4,096 rows with the index beside each,
whose content is made up when somebody asks for it. All parts have the content of one small one, so what moving 500 GB takes is not measured:
S3 copies by itself, and in a folder nothing is copied. In a folder, indices name one photo each. Requests to the output are answered 50 ms late,
those that list photos at once: how fast photos are listed, `list.py` measures.

    plan      100,000,000 photos in 200 folders, with 50 executors: until Spark is called, and the lines of all tasks have gone to S3
    commit    the answers of all tasks, until the command ends; to S3, and to a folder. 16 photos a task are listed for it
    open      what `Features::scan` does, and `Features::read` first
    resume    one photo is left to be done, and it is in a part already: until Spark is called; then the worker, which finds it; then the rest

Memory is the most that the kernel saw resident, from the last step on.

PHOTOS: how many (100,000,000). LATE: in seconds (0.05). STEP: only steps with this in their name, of plan, s3 and folder.
"""

import asyncio
import bisect
import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import urllib.request

from service import Service

PHOTOS, LATE, STEP = int(os.environ.get("PHOTOS", 100_000_000)), float(os.environ.get("LATE", 0.05)), os.environ.get("STEP", "")
FOLDERS, PAGE, PER_TASK, PER_PART = 200, 1000, 16_384, 4096
TASKS, PER_FOLDER = -(-PHOTOS // PER_TASK), PHOTOS // FOLDERS
FEW = 16  # photos of a task, where only the number of tasks counts
SAMPLE = pathlib.Path(__file__).resolve().parents[3] / "data-sample"
ETAG = '"d41d8cd98f00b204e9800998ecf8427e"'
BUCKET = "s3://photos"
SPARK = """#!/usr/bin/env python3
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:{port}/spark", sys.argv[-1].encode()), timeout=3600)
"""


def key(photo):
    return f"fruit-{photo // PER_FOLDER:03}/photo-{photo % PER_FOLDER:07}.jpg"


class Keys:
    """All photos' keys, of which none is in memory."""

    def __init__(self, first, end):
        self.first, self.end = first, end

    def __len__(self):
        return self.end - self.first

    def __getitem__(self, i):
        return key(self.first + i)


def blocks(first, end, template):
    """A line for each photo, of a thousand at a time, which differ only by what stands for @."""
    for block in range(first // 1000, -(-end // 1000)):
        lines = template[max(first - block * 1000, 0) : min(end - block * 1000, 1000)]
        yield "".join(lines).replace("@", key(block * 1000)[: -len("000.jpg")])


CONTENTS = [
    f"<Contents><Key>@{i:03}.jpg</Key><LastModified>2026-11-28T00:00:00.000Z</LastModified><ETag>{ETAG.replace(chr(34), '&quot;')}</ETag>"
    "<Size>20000</Size><StorageClass>STANDARD</StorageClass></Contents>"
    for i in range(1000)
]
ORIGINS = [f'{{"path":"{BUCKET}/@{i:03}.jpg","size":20000,"version":{json.dumps(ETAG)}}},' for i in range(1000)]


def index(part, sample, photos=PER_PART):
    """What lies beside a part."""
    first, end = part * PER_PART, min((part + 1) * PER_PART, PHOTOS)
    origins = "".join(blocks(max(first, end - photos), end, ORIGINS))
    return f'{{"sha256":"{sample.sha256}","model":{json.dumps(sample.model)},"source":"{BUCKET}","photos":[{origins[:-1]}]}}'.encode()


class Sample:
    """A part, and the network that made it."""

    def __init__(self, fruits, folder):
        subprocess.run([fruits, "features", SAMPLE / "Kiwi", "-o", folder], check=True, capture_output=True)
        (part,) = (folder / "features").glob("*.parquet")
        self.content, self.model = part.read_bytes(), json.loads((folder / "_manifest.json").read_text())["model"]
        self.sha256 = hashlib.sha256(self.content).hexdigest()


class Enough(Exception):
    """Spark shall fail."""


class S3(Service):
    """Plays S3, until the end of the `with`, and what Spark would have done."""

    def __init__(self, sample):
        self.sample, self.photos = sample, Keys(0, PHOTOS)
        self.objects = {}  # by bucket and key: bytes, or what gives them
        self.requests = {}
        self.now = self.most = 0

    async def connection(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) if line.count(": ") else ("", "") for line in lines)
                headers |= {"source": line.split(": ", 1)[1] for line in lines if line.lower().startswith("x-amz-copy-source:")}
                if "expect" in headers:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                method, target, _ = first.split(" ")
                url = urllib.parse.urlsplit(target)
                query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query, keep_blank_values=True).items()}
                if url.path == "/spark":
                    status, said, tag = await asyncio.to_thread(self.spark, content.decode()), b"", None
                elif url.path.strip("/") == "photos":
                    status, said, tag = 200, self.listing(query, self.photos, is_of_photos=True).encode(), None
                else:
                    kind = "COPY" if "source" in headers else "LIST" if "list-type" in query else method
                    self.requests[kind] = self.requests.get(kind, 0) + 1
                    self.now += 1
                    self.most = max(self.most, self.now)
                    await asyncio.sleep(LATE)
                    status, said, tag = self.answer(kind, urllib.parse.unquote(url.path[1:]), query, headers, content)
                    self.now -= 1
                tag = f"ETag: {tag}\r\n" if tag else ""
                length = "" if status == 204 else f"Content-Length: {len(said)}\r\n"
                writer.write(f"HTTP/1.1 {status} .\r\n{tag}{length}\r\n".encode() + (b"" if method == "HEAD" else said))
                await writer.drain()
        writer.close()

    def answer(self, kind, place, query, headers, content):
        if kind == "LIST":
            bucket = place.strip("/") + "/"
            return 200, self.listing(query, sorted(name[len(bucket) :] for name in list(self.objects) if name.startswith(bucket))).encode(), None
        is_there = place in self.objects
        if headers.get("if-none-match") == "*" and is_there or "if-match" in headers and headers["if-match"] != self.tag(place):
            return 412, b"<Error><Code>PreconditionFailed</Code></Error>", None
        if kind == "DELETE":
            self.objects.pop(place, None)
            return 204, b"", None
        if kind == "COPY":
            source = urllib.parse.unquote(headers["source"])
            if source not in self.objects:
                return 404, b"<Error><Code>NoSuchKey</Code></Error>", None
            self.objects[place] = self.objects[source]
            return 200, f"<CopyObjectResult><ETag>{ETAG}</ETag></CopyObjectResult>".encode(), None
        if kind == "PUT":
            # Of a task's lines, who plays Spark reads only the first, and how many there are.
            is_task = "/lines/" in place and len(self.photos) > 1
            self.objects[place] = content.split(b"\n", 1)[0] if is_task else content
            return 200, b"", '"0"'
        if not is_there:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", None
        return 200, self.read(place), self.tag(place)

    def read(self, place):
        content = self.objects.get(place, b"")
        return content() if callable(content) else content

    def tag(self, place):
        return f'"{hashlib.md5(self.read(place)).hexdigest()}"' if place in self.objects else None

    def listing(self, query, keys, is_of_photos=False):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("continuation-token") or query.get("start-after", "")
        at = bisect.bisect_right(keys, after) if after >= prefix else bisect.bisect_left(keys, prefix)
        items, last, count = [], "", 0
        if is_of_photos and not delimiter and not prefix:
            end = min(at + PAGE, len(keys))
            items, last, at = list(blocks(keys.first + at, keys.first + end, CONTENTS)), keys[end - 1], end
        while at < len(keys) and keys[at].startswith(prefix) and not items[PAGE - 1 :] and not (is_of_photos and not delimiter):
            last = keys[at]
            folder = delimiter and last.find(delimiter, len(prefix)) + 1
            if folder:
                items.append(f"<CommonPrefixes><Prefix>{last[:folder]}</Prefix></CommonPrefixes>")
                last = last[:folder] + "\U0010ffff"
                at = bisect.bisect_right(keys, last)
            else:
                items.append(f"<Contents><Key>{last}</Key><ETag>&quot;0&quot;</ETag><Size>1</Size></Contents>")
                at += 1
        more = at < len(keys) and keys[at].startswith(prefix)
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(items)}</ListBucketResult>"
        )

    def spark(self, statement):
        """What the job would have done, between two looks at the driver."""
        try:
            self.on_spark(statement.removesuffix("/tasks.sql"))
            return 200
        except Exception as error:
            if not isinstance(error, Enough):
                traceback.print_exc()
            return 500

    def tasks(self, exchange):
        """The names and the contents of the tasks' files."""
        if exchange.startswith("file://"):
            return {path.name: path.read_bytes() for path in sorted(pathlib.Path(exchange[7:]).glob("lines/*"))}
        place = exchange.removeprefix("s3://") + "/lines/"
        return {name[len(place) :]: self.objects[name] for name in sorted(list(self.objects)) if name.startswith(place)}

    def write(self, uri, content):
        if uri.startswith("s3://"):
            self.objects[uri[5:]] = content
        else:
            path = pathlib.Path(uri.removeprefix("file://"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content() if callable(content) else content)

    def answer_all(self, exchange):
        """Makes what all tasks would have made and answered, and gives the number of tasks and of parts."""
        tasks, count, seed = self.tasks(exchange), 0, {}
        for number, content in enumerate(tasks.values()):
            order = json.loads(content.split(b"\n", 1)[0])
            to, run = order["work"]["extract"]["destination"], order["work"]["extract"]["run"]
            first, end = number * PER_TASK, min((number + 1) * PER_TASK, PHOTOS)
            parts, files, left = [], [], order["items"]
            of_task = -(-(end - first) // PER_PART)
            for at in range(of_task):
                rows = -(-left // (of_task - at))
                left -= rows
                name = f"part-{number:05}-{at:05}-{number * 7919:010}-{run}"
                part, beside = f"features/{name}.parquet", f"_index/{name}.json"
                made = f"{to}/_runs/{run}/"
                if to.startswith("s3://"):
                    self.write(made + part, self.sample.content)
                    self.write(made + beside, lambda count=count: index(count, self.sample))
                else:
                    # A file has so many names at most.
                    path = pathlib.Path(made + part)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    (pathlib.Path(made) / "_index").mkdir(exist_ok=True)
                    if count % 10_000 == 0:
                        seed = path
                        path.write_bytes(self.sample.content)
                    else:
                        os.link(seed, path)
                    self.write(made + beside, index(count, self.sample, photos=1))
                parts.append({"file": part, "rows": rows, "sha256": self.sample.sha256})
                files.append({"name": part, "bytes": len(self.sample.content), "sha256": self.sample.sha256})
                files.append({"name": beside, "bytes": 600_000, "sha256": hashlib.sha256(beside.encode()).hexdigest()})
                count += 1
            timings = {"elapsed": 30.0, "read": 10.0, "decode": 30.0, "infer": 30.0}
            result = {"photos": order["items"], "reused": 0, "parts": parts, "files": files, "failures": [], "timings": timings}
            answer = {"protocol": order["protocol"], "task": number, "items": order["items"], "result": {"extracted": result}}
            self.write(f"{exchange}/answers/part-{number:05}-{run}-c000.txt", json.dumps(answer).encode() + b"\n")
        return len(tasks), count


class Watched:
    """A process and the most memory that it had, as long as it ran."""

    def __init__(self, command, environment, stdin=None):
        self.start, self.memory, self.processors, self.before = time.monotonic(), 0, 0, 0
        self.process = subprocess.Popen(
            list(map(str, command)), env=os.environ | environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while self.process.poll() is None:
            with contextlib.suppress(OSError, TypeError):
                status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
                self.memory = max(self.memory, int(re.search(r"VmHWM:\s*(\d+)", status)[1]))
                times = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                self.processors = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
            time.sleep(0.02)

    def lap(self):
        """Seconds, those of processors and MB since it began, or since it was asked before."""
        now = time.monotonic()
        lap = now - self.start, self.processors - self.before, self.memory / 1000
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        self.start, self.before, self.memory = now, self.processors, 0
        return lap

    def end(self, status=0, says=""):
        said = self.process.communicate()
        if self.process.returncode != status or says not in said[1]:
            sys.exit(f"ended with {self.process.returncode}: {said[1][-2000:]}")
        return time.monotonic() - self.start, self.processors - self.before, self.memory / 1000, said[0]


def job(service, fruits, home, out, executors, on_spark, *options, status=0, says=""):
    """A run of the command; what Spark is called for, `on_spark` does, with the laps of the driver that it makes."""
    environment = {f"AWS_{name}": value for name, value in {"ENDPOINT_URL_S3": f"http://127.0.0.1:{service.port}", "REGION": "eu-west-3"}.items()}
    environment |= {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "FRUITS": str(fruits)}
    environment |= {"SPARK_HOME": str(home), "SPARK_CONF_DIR": str(home / "conf")}
    # With a cluster, lines and answers go by S3.
    (home / "conf" / "spark-defaults.conf").write_text("spark.master yarn\n" if str(out).startswith("s3://") else "")
    laps, service.requests, service.most = [], {}, 0
    driver = None

    def called(exchange):
        laps.append((*driver.lap(), dict(service.requests)))
        on_spark(exchange)
        driver.lap()
        service.requests = {}

    service.on_spark = called
    driver = Watched([fruits, "features", BUCKET, "-o", out, "--on", "spark", "--executors", executors, *options], environment)
    laps.append((*driver.end(status, says)[:3], dict(service.requests)))
    return laps, environment


def said(name, contender, lap, more=""):
    seconds, processors, memory, requests = lap
    requests = ", ".join(f"{count:,} {kind}" for kind, count in sorted(requests.items()))
    print(f"{name}: {contender:6} {seconds:8.1f} s (of processors {processors:.1f} s), {memory:5.0f} MB{'; ' + requests if requests else ''}{more}", flush=True)


def plan(service, contender, fruits, home):
    tasks = []

    def stop(exchange):
        tasks.extend(service.tasks(exchange))
        raise Enough

    service.objects.clear()
    service.photos = Keys(0, PHOTOS)
    laps, _ = job(service, fruits, home, "s3://results/out", 50, stop, status=1, says="spark-sql ended")
    said(f"plan {PHOTOS:,} photos", contender, laps[0], f"; {len(tasks):,} tasks")


def commit(service, contender, fruits, opener, home, out, name):
    service.objects.clear()
    service.photos = Keys(0, TASKS * FEW)
    counts = []
    laps, environment = job(service, fruits, home, out, -(-TASKS // 4), lambda exchange: counts.append(service.answer_all(exchange)))
    said(f"commit {counts[0][0]:,} tasks with {counts[0][1]:,} parts to {name}", contender, laps[1], f"; {service.most} at the same time" if service.most else "")
    service.requests = {}
    opened = Watched([opener, out], environment)
    _, processors, memory, output = opened.end()
    count, seconds, size = output.split()
    assert int(count) == TASKS * FEW
    said(f"open in {name}", contender, (float(seconds), processors, memory, dict(service.requests)), f"; a manifest of {int(size) / 1e6:.1f} MB")


def resume(service, contender, fruits, home):
    """Of what `commit` left on S3, the photo in the middle is asked for."""
    middle = PHOTOS // PER_PART // 2 * PER_PART
    service.photos = Keys(middle, middle + 1)
    found = []

    def work(exchange):
        service.requests = {}
        (lines,) = service.tasks(exchange).values()
        environment = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{service.port}", "AWS_REGION": "eu-west-3"}
        environment |= {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
        with tempfile.TemporaryFile() as file:
            file.write(lines)
            file.seek(0)
            *lap, output = Watched([fruits, "worker"], environment, stdin=file).end()
        assert json.loads(output)["result"]["extracted"]["reused"] == 1, output
        found.append((*lap, dict(service.requests)))
        service.write(f"{exchange}/answers/part-00000.txt", output.encode())

    laps, _ = job(service, fruits, home, "s3://results/out", 1, work, "--resume")
    said("resume, the driver until Spark is called", contender, laps[0])
    said("resume, the worker that finds a photo", contender, found[0])
    said("resume, the driver from then on", contender, laps[1])


def main():
    fruits, opener, *before = map(os.path.abspath, sys.argv[1:])
    contenders = ({"before": before[0]} if before else {}) | {"now": fruits}
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print(f"{model[1] if model else 'unknown processor'}, {os.cpu_count()} threads, load {os.getloadavg()[0]:.1f}; {LATE * 1000:.0f} ms added to each request", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        with S3(Sample(fruits, scratch / "sample")) as service:
            home = scratch / "spark"
            (home / "bin").mkdir(parents=True)
            (home / "conf").mkdir()
            (home / "bin" / "spark-sql").write_text(SPARK.format(port=service.port))
            (home / "bin" / "spark-sql").chmod(0o755)
            for contender, binary in contenders.items():
                if STEP in "folder":
                    commit(service, contender, binary, opener, home, scratch / contender, "a folder")
                if STEP in "s3":
                    commit(service, contender, binary, opener, home, "s3://results/out", "S3")
                    resume(service, contender, binary, home)
                if STEP in "plan":
                    plan(service, contender, binary, home)


if __name__ == "__main__":
    main()
