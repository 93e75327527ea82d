"""Speed and memory on S3, by hand: `bench_s3.py PHOTOS [speed] [listing] [memory]`, with the variable FRUITS set to the binary.

speed    2,300 photos from a folder, from S3, and from S3 with 50 ms added to every request; all in one run
listing  peak memory at 20,000 and 200,000 keys of which 200 are photos; how much was listed when the first photo was read
memory   peak memory with 2,000 and with 20,000 photos
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from conftest import S3
from faults import Proxy

ROOT = pathlib.Path(__file__).resolve().parent


def copies(photos, count, folder):
    """So many photos, as links under new names."""
    sources = sorted(photos.glob("*/*.jpg"))
    for i in range(count):
        source = sources[i % len(sources)]
        path = folder / source.parent.name / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(source) if source.stat().st_dev == folder.stat().st_dev else path.symlink_to(source.resolve())
    return folder


def features(source, out, environment=None):
    """Runs the extraction; photos a second, peak memory in MB."""
    process = subprocess.Popen(
        [os.environ["FRUITS"], "features", source, "--out", out, "--json"], stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"fruits ended with {status}")
    answer = json.loads(output.splitlines()[-1])
    return answer["photos_per_second"], usage.ru_maxrss / 1000, answer


def server(*arguments):
    process = subprocess.Popen(
        [sys.executable, ROOT / "s3_server.py", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def aws(endpoint):
    return {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "eu-west-3"}


def speed(photos, scratch):
    folder = copies(photos, 2300, scratch / "photos")
    process, endpoint = server()
    S3(endpoint).upload(folder, "bucket", "Test")
    with Proxy(endpoint) as near, Proxy(endpoint, lambda request, nth: ("late", 0.05)) as far:
        runs = [
            ("folder", folder, scratch / "out", None),
            ("S3", "s3://bucket/Test", "s3://bucket/Results", aws(endpoint)),
            ("S3 through the proxy", "s3://bucket/Test", "s3://bucket/Near", aws(near.endpoint)),
            ("S3 and 50 ms", "s3://bucket/Test", "s3://bucket/Far", aws(far.endpoint)),
            ("folder again", folder, scratch / "out2", None),
        ]
        base = None
        for name, source, out, environment in runs:
            rate, memory, _ = features(source, out, environment)
            base = base or rate
            print(f"{name:20} {rate:6.1f} photos/s, {rate / base:.2f} of the folder's, {memory:.0f} MB", flush=True)
    process.stdin.close()


def listing(photos, scratch):
    jpeg = sorted(photos.glob("*/*.jpg"))[0]
    for keys in (20_000, 200_000):
        process, endpoint = server("--keys", "bucket", str(keys), str(jpeg), "200")
        with Proxy(endpoint) as proxy:
            _, memory, answer = features("s3://bucket/Test", scratch / f"out-{keys}", aws(proxy.endpoint))
            lists = [i for i, request in enumerate(proxy.requests) if "list-type" in request]
            first = next(i for i, request in enumerate(proxy.requests) if ".jpg" in request)
            before = sum(i < first for i in lists)
            print(f"{keys} keys: {answer['photos']} photos, peak memory {memory:.0f} MB, first photo asked for after {before} of {len(lists)} pages", flush=True)
        process.stdin.close()


def memory(photos, scratch):
    for count in (2000, 20_000):
        rate, peak, _ = features(copies(photos, count, scratch / str(count)), scratch / f"out-{count}")
        print(f"{count} photos: peak memory {peak:.0f} MB, {rate:.1f} photos/s", flush=True)


if __name__ == "__main__":
    for name in sys.argv[2:] or ["speed", "listing", "memory"]:
        with tempfile.TemporaryDirectory() as scratch:
            globals()[name](pathlib.Path(sys.argv[1]), pathlib.Path(scratch))
