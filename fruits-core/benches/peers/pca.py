"""PCA of features on disk, and the projection on 50 components written back, beside scikit-learn's, in one run: `pca.sh` calls it.

    pca.py FRUITS ROWS [BEFORE]

The features are 1280 numbers of 64 hidden ones and noise, a quarter of them zero, in parts as `fruits features` writes them; from 100,000 rows on,
parts come again under other names. Every contender is a process
of its own that reads the parts and writes Parquet: `fruits pca --components 50`, BEFORE (another binary of it), scikit-learn's PCA with
svd_solver="covariance_eigh" (which has all rows in memory, as f64: that is what the others compute in) and its IncrementalPCA (a part at a time; it is
not exact), and Spark's PCA (pca.scala) in the Spark of SPARK_HOME, on this machine. Every round asks each once. Medians of seconds, of CPU seconds and of
the most memory, and how far the shares of the variance are from covariance_eigh's. What takes long is done once, and no longer than ten minutes; what
would take more memory than there is, not at all.
"""

import hashlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

WIDTH, HIDDEN, KEPT, PART, DIFFERENT = 1280, 64, 50, 4096, 25
RUN = "0123456789abcdef"
ROUNDS, LONG, LONGEST = 3, 60, 600
# Of memory, for a number of f32: what was before had it five times, covariance_eigh has it as f64 and as a copy of that.
COPIES = {"before": 6, "covariance_eigh": 6}


def features(folder, rows):
    """Random features as an output of `fruits features`."""
    random = numpy.random.default_rng(1)
    mixing = random.standard_normal((HIDDEN, WIDTH), numpy.float32) * (numpy.arange(1, HIDDEN + 1, dtype=numpy.float32) ** -0.5)[:, None]
    (folder / "features").mkdir(parents=True)
    parts, files = [], []
    for first in range(0, rows, PART):
        count = min(PART, rows - first)
        name = f"features/part-00000-{len(parts):05}-{RUN}.parquet"
        if len(parts) >= DIFFERENT and count == PART:
            again = len(parts) % DIFFERENT
            os.link(folder / parts[again]["file"], folder / name)
            parts.append(parts[again] | {"file": name})
            files.append(files[again] | {"name": name})
            continue
        numbers = random.standard_normal((count, HIDDEN), numpy.float32) @ mixing
        numbers += random.standard_normal((count, WIDTH), numpy.float32) + 1.5
        numpy.maximum(numbers, 0, out=numbers)
        numbers = pyarrow.ListArray.from_arrays(numpy.arange(0, numbers.size + 1, WIDTH, dtype=numpy.int32), numbers.ravel())
        paths = [f"/photos/{row // 1000:04}/{row:07}.jpg" for row in range(first, first + count)]
        table = pyarrow.table({"path": paths, "label": [path.split("/")[2] for path in paths], "features": numbers})
        pyarrow.parquet.write_table(table, folder / name, use_dictionary=["label"])
        content = (folder / name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        parts.append({"file": name, "rows": count, "sha256": sha256})
        files.append({"name": name, "bytes": len(content), "sha256": sha256})
    name = f"_failures-{RUN}.jsonl"
    (folder / name).write_bytes(b"")
    files.append({"name": name, "bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()})
    model = {"name": "random", "weights_sha256": "", "preprocessing": "", "side": 1, "features": WIDTH}
    timings = {"elapsed": 0, "read": 0, "decode": 0, "infer": 0}
    manifest = {"run": RUN, "is_exclusive": True, "files": files, "version": "0.1.0", "source": "/photos", "model": model}
    manifest |= {"photos": rows, "reused": 0, "failures": 0, "parts": parts, "timings": timings}
    (folder / "_manifest.json").write_text(json.dumps(manifest))
    (folder / "_SUCCESS").write_text(RUN)


def numbers_of(file):
    table = pyarrow.parquet.read_table(file)
    return table, table["features"].combine_chunks().flatten().to_numpy().reshape(-1, WIDTH)


def write(table, projection, file):
    lists = pyarrow.FixedSizeListArray.from_arrays(projection.ravel(), projection.shape[1])
    pyarrow.parquet.write_table(table.select(["path", "label"]).append_column("projection", lists), file, use_dictionary=["label"])


def covariance_eigh(source, out):
    from sklearn.decomposition import PCA

    table, numbers = numbers_of(source / "features")
    numbers = numbers.astype(numpy.float64)
    pca = PCA(svd_solver="covariance_eigh").fit(numbers)
    numbers = (numbers - pca.mean_) @ pca.components_[:KEPT].T
    write(table, numbers, out / "projection.parquet")
    return pca.explained_variance_ratio_


def incremental(source, out):
    from sklearn.decomposition import IncrementalPCA

    files = sorted((source / "features").iterdir())
    pca = IncrementalPCA(KEPT)
    for file in files:
        _, numbers = numbers_of(file)
        if len(numbers) >= KEPT:  # it takes no fewer
            pca.partial_fit(numbers.astype(numpy.float64))
    for file in files:
        table, numbers = numbers_of(file)
        write(table, pca.transform(numbers.astype(numpy.float64)), out / file.name)
    return pca.explained_variance_ratio_


def spark(source):
    """Spark's own programs end as the JVM that they began: what is measured is that."""
    here = pathlib.Path(__file__).parent
    local = [word for end in ("host", "bindAddress") for word in ("--conf", f"spark.driver.{end}=127.0.0.1")]
    shell = [f"{os.environ['SPARK_HOME']}/bin/spark-submit", "--master", "local[*]", "--driver-memory", "8g", "--driver-java-options", "-Dscala.usejavacp=true", "--conf", "spark.ui.enabled=false", *local]
    settings = ["--conf", f"spark.fruits.source={source}/features", "--conf"]
    return lambda out: [*shell, *settings, f"spark.fruits.out={out}", "--class", "org.apache.spark.repl.Main", "spark-shell", "-I", here / "pca.scala"]


def run(command):
    """Seconds, CPU seconds, most bytes of memory, and the shares of the variance; nothing if it takes too long. What is waited for counts this process' memory, too: it was that before it began."""
    with tempfile.TemporaryFile("w+") as printed:
        start, memory, ended = time.perf_counter(), 0, 0
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.DEVNULL)
        while not ended:
            most = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())
            memory = 1024 * int(most[1]) if most else memory
            time.sleep(0.01)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if not ended and time.perf_counter() - start > LONGEST:
                process.kill()
                process.wait()
                return None
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        printed.seek(0)
        ratios = re.findall(r'"explained_variance_ratio": ?(\[.*?\])', printed.read())
        return seconds, usage.ru_utime + usage.ru_stime, memory, numpy.array(json.loads(ratios[-1]))


def main(fruits, rows, before=None):
    rows = int(rows)
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 0.6
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        source = folder / "features"
        features(source, rows)
        ours = lambda binary: lambda out: [binary, "pca", source, "--components", str(KEPT), "--json", "--out", out]
        theirs = lambda name: lambda out: [sys.executable, __file__, name, source, out]
        commands = {"ours": ours(fruits)} | ({"before": ours(before)} if before else {})
        commands |= {name: theirs(name) for name in PEERS}
        commands |= {"spark": spark(source)} if "SPARK_HOME" in os.environ else {}
        commands = {name: command for name, command in commands.items() if 4 * rows * WIDTH * COPIES.get(name, 0) < free}
        found, ratios = {name: [] for name in commands}, {}
        for number in range(ROUNDS):
            for name, command in commands.items():
                if number and (not found[name] or found[name][0][0] > LONG):
                    continue
                out = folder / f"{name}-{number}"
                if answer := run(command(out)):
                    *measured, ratios[name] = answer
                    found[name].append(measured)
                subprocess.run(["rm", "-rf", out], check=True)
        load = os.getloadavg()[0]
        for name, measured in found.items():
            if not measured:
                print(f"{rows:,} rows, {name}: not done after {LONGEST} s (load {load:.1f})", flush=True)
                continue
            seconds, cpu, memory = (statistics.median(values) for values in zip(*measured))
            apart = ""
            if "covariance_eigh" in ratios:
                kept = min(len(ratios["covariance_eigh"]), len(ratios[name]))
                apart = f", shares {numpy.abs(ratios[name][:kept] / ratios['covariance_eigh'][:kept] - 1).max():.1e} apart"
            print(f"{rows:,} rows, {name}: {seconds:.1f} s, {cpu:.1f} CPU s, {memory / 2**20:.0f} MiB{apart} (load {load:.1f})", flush=True)


# The rest needs NumPy's BLAS only in processes of their own.
import numpy  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402

PEERS = {"covariance_eigh": covariance_eigh, "incremental": incremental}

if __name__ == "__main__":
    if sys.argv[1] in PEERS:
        out = pathlib.Path(sys.argv[3])
        out.mkdir()
        print(json.dumps({"explained_variance_ratio": PEERS[sys.argv[1]](pathlib.Path(sys.argv[2]), out).tolist()}))
    else:
        main(*sys.argv[1:])
