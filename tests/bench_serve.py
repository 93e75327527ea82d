"""How many photos a second `fruits serve` answers, beside `fruits identify` on the same photos; and what strangers do to it. By hand:

    tests/with.sh python tests/bench_serve.py CLASSIFIER PHOTOS [SECONDS]

PHOTOS is a folder of JPEGs. 1, 8 and 64 clients ask for so many seconds each (30), one photo after the other, on connections that stay open. Then the same with
8 clients beside 10,000 connections that say nothing. Names the program by FRUITS; without assertions is what people run.
"""

import asyncio
import itertools
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

IDLE = 10_000


async def ask(reader, writer, photo, host):
    writer.write(f"POST /identify HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n".encode() + photo)
    status = int((await reader.readline()).split()[1])
    length = 0
    while (line := await reader.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
    await reader.readexactly(length)
    return status


async def load(port, photos, clients, seconds):
    """Seconds of each answer, and how many were refused."""
    took, refused, end = [], 0, time.perf_counter() + seconds  # refusals come fast, and are counted apart
    turns = itertools.cycle(photos)

    async def client():
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            start = time.perf_counter()
            status = await ask(reader, writer, next(turns), f"127.0.0.1:{port}")
            if status == 200:
                took.append(time.perf_counter() - start)
            else:
                refused += 1
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return took, refused, time.perf_counter() - start


def identify(classifier, photos):
    """Seconds from start to end, and the answers."""
    start = time.perf_counter()
    done = subprocess.run([os.environ["FRUITS"], "identify", classifier, photos, "--json"], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, [json.loads(line) for line in done.stdout.splitlines()]


def memory(process):
    """The most that the process has had, in MB."""
    lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) >> 10


async def main(classifier, folder, seconds=30):
    files = sorted(pathlib.Path(folder).rglob("*.jpg"))
    photos = [file.read_bytes() for file in files[:: max(1, len(files) // 200)]]
    alone, (many, answers) = identify(classifier, files[0])[0], identify(classifier, folder)
    rate = (len(answers) - 1) / (many - alone)
    print(f"{len(answers)} photos with fruits identify: {rate:.1f} a second, less the start; one photo, cold: {1000 * alone:.0f} ms; {len(os.sched_getaffinity(0))} cores")
    server = subprocess.Popen([os.environ["FRUITS"], "serve", classifier, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        await load(port, photos, 8, 2)
        for clients in [1, 8, 64]:
            report(f"{clients:2} clients", await load(port, photos, clients, float(seconds)), rate, server)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(IDLE + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
        idle = []
        for _ in range(IDLE):
            try:
                idle.append(await asyncio.open_connection("127.0.0.1", port))
            except OSError as error:
                print(f"after {len(idle)} connections: {error}")
                break
        measured = await load(port, photos, 8, float(seconds))
        left = sum(not reader.at_eof() for reader, _ in idle)
        report(f" 8 clients, {len(idle)} idle connections, of which the server has kept {left} to the end", measured, rate, server)
        for _, writer in idle:
            writer.close()
    finally:
        server.kill()
        server.wait()


def report(name, measured, rate, server):
    took, refused, seconds = measured
    took.sort()
    answered = len(took) / seconds
    print(
        f"{name}: {answered:.1f} photos a second, {answered / rate:.2f} of fruits identify; p50 {1000 * statistics.median(took):.0f} ms,"
        f" p99 {1000 * took[int(0.99 * len(took))]:.0f} ms; {refused} refused; {memory(server)} MB at most",
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
