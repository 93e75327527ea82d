"""A whole run beside Python's: `fruits features` and `pipeline.py` on the same photos, in turn. `run.sh` calls it.

    whole.py PHOTOS MODEL.onnx FRUITS [ROUNDS]

Medians of wall clock, processor seconds and peak memory of the whole process; of Python's set-ups the fastest counts.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# A few thousand photos: fewer are copied.
ENOUGH = 4000
CORES = len(os.sched_getaffinity(0))


def measured(command):
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    photos, model, fruits = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    files = sorted(photos.rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        copies = -(-ENOUGH // len(files))
        for copy in range(copies):
            for file in files:
                target = scratch / "photos" / str(copy) / file.relative_to(photos)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
        pipeline = pathlib.Path(__file__).parent / "pipeline.py"
        contenders = {
            "fruits f32": [fruits, "features", scratch / "photos", "--out", scratch / "out", "--overwrite"],
            "fruits bf16": [fruits, "features", scratch / "photos", "--out", scratch / "out", "--overwrite", "--precision", "bf16"],
        }
        if os.environ.get("AVX2"):
            del contenders["fruits bf16"]
        for threads in {CORES, 2 * CORES}:
            for batch in (1, 4):
                contenders[f"Python, {threads} threads, batch {batch}"] = [sys.executable, pipeline, scratch / "photos", scratch / "out.parquet", model, threads, batch]
        figures = {name: [] for name in contenders}
        for round in range(rounds):
            for name, command in contenders.items():
                figures[name].append(measured(command))
        print(f"\n{copies * len(files)} photos from files to Parquet, {CORES} cores, medians of {rounds} rounds")
        medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in figures.items()}
        reference = medians["fruits f32"]
        for name, (wall, cpu, memory) in sorted(medians.items(), key=lambda item: item[1]):
            rate = copies * len(files) / wall
            print(f"{name:<28} {wall:6.2f} s, {rate:7.1f} photos/s, {cpu:6.2f} CPU s, {memory:5.0f} MB; fruits f32 is {wall / reference[0]:4.2f} x as fast")


main()
