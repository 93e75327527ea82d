"""The map beside umap-learn, openTSNE and scikit-learn's t-SNE on the same features, in one run: `map.sh` calls it.

    map.py FRUITS OURS PHOTOS

Features of PHOTOS, and those repeated to 20,000 rows with noise: a third of each feature's standard deviation. Every contender runs in a process of its own,
one after the other, on all processors, by cosine where it can, from the PCA where it can, else as its authors chose; programs that compile when they are
first called do so before, on other rows. Seconds are of the map alone, memory is the process's largest, its rows included. Trustworthiness and continuity are of 15 neighbours
by cosine, of all rows of PHOTOS, and of 500 of the 20,000.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

CORES = len(os.sched_getaffinity(0))
WIDTH, ROWS, K = 1280, 20_000, 15
PEERS = {
    "umap-learn": "umap.UMAP(metric='cosine', init='pca', random_state=42, n_jobs=1)",
    "umap-learn, other bits each time": f"umap.UMAP(metric='cosine', n_jobs={CORES})",
    "openTSNE": f"openTSNE.TSNE(metric='cosine', initialization='pca', negative_gradient_method='fft', random_state=42, n_jobs={CORES})",
    "scikit-learn": f"sklearn.manifold.TSNE(metric='cosine', init='random', random_state=42, n_jobs={CORES})",
}
PEER = r"""
import re, sys, time, warnings
import numpy
warnings.filterwarnings("ignore")
rows = numpy.fromfile(sys.argv[1], numpy.float32).reshape(-1, int(sys.argv[2]))
if "umap" in sys.argv[4]:
    import umap
    some = numpy.random.default_rng(0).normal(size=(5000, 1280)).astype(numpy.float32)
    for count in 5000, 600:
        {warm}.fit_transform(some[:count])
elif "open" in sys.argv[4]:
    import openTSNE
else:
    import sklearn.manifold
start = time.perf_counter()
model = {model}
points = model.fit(rows) if "open" in sys.argv[4] else model.fit_transform(rows)
print(time.perf_counter() - start, re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
numpy.asarray(points, numpy.float32).tofile(sys.argv[3])
"""


def run(command, threads=CORES):
    """Seconds, and the most memory in MiB."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True).stdout.split()
    return float(said[0]), float(said[1]) / 1024


def quality(rows, points, sample):
    """Trustworthiness and continuity (Venna and Kaski, 2001) of some rows, by ranks among all."""
    n = len(rows)
    rows = rows / numpy.linalg.norm(rows, axis=1, keepdims=True)
    chosen = numpy.linspace(0, n - 1, min(sample, n)).astype(int)
    wrong = numpy.zeros(2)
    for row in chosen:
        far = 1 - rows @ rows[row]
        near = ((points - points[row]) ** 2).sum(1)
        far[row] = near[row] = numpy.inf
        for side, (one, other) in enumerate([(far, near), (near, far)]):
            picked = numpy.argpartition(other, K)[:K]
            ranks = numpy.array([(one < one[pick]).sum() + 1 for pick in picked])
            wrong[side] += numpy.maximum(ranks - K, 0).sum()
    return 1 - wrong * 2 / (len(chosen) * K * (2 * n - 3 * K - 1))


def features(fruits, photos, folder):
    subprocess.run([fruits, "features", photos, "--out", folder / "out"], check=True, stderr=subprocess.DEVNULL)
    table = pyarrow.dataset.dataset(folder / "out" / "features", format="parquet").to_table().sort_by("path")
    return numpy.stack([numpy.array(row, numpy.float32) for row in table["features"].to_pylist()])


def main(fruits, ours, photos):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        some = features(fruits, photos, folder)
        random = numpy.random.default_rng(0)
        noise = 0.3 * some.std(0) * random.standard_normal((ROWS, WIDTH), numpy.float32)
        many = (some[numpy.arange(ROWS) % len(some)] + noise).astype(numpy.float32)
        for name, rows, sample in [(photos, some, len(some)), ("repeated with noise", many, 500)]:
            rows.tofile(folder / "rows")
            print(f"\n{len(rows)} x {WIDTH}, {name}, {CORES} threads: seconds, MiB, trustworthiness, continuity", flush=True)
            done, bits = [], set()
            for threads in [CORES, CORES, CORES, 1, 2, 4]:
                done.append(run([ours, folder / "rows", str(WIDTH), folder / "points"], threads))
                bits.add(hashlib.sha256((folder / "points").read_bytes()).hexdigest())
            points = numpy.fromfile(folder / "points", numpy.float32).reshape(-1, 2)
            seconds, memory = sorted(done[:3])[1]
            trust, continuity = quality(rows, points, sample)
            print(f"    ours: {seconds:.2f} s (one thread {done[3][0]:.2f} s), {memory:.0f}, {trust:.5f}, {continuity:.5f}", flush=True)
            print(f"    ours, three times and with 1, 2, 4 threads: {len(bits)} different map{'s' * (len(bits) > 1)}", flush=True)
            for peer, model in PEERS.items():
                warm = model.replace("umap.UMAP(", "umap.UMAP(n_epochs=5, ")
                code = PEER.format(model=model, warm=warm)
                took, memory = run([sys.executable, "-c", code, folder / "rows", str(WIDTH), folder / "points", peer])
                points = numpy.fromfile(folder / "points", numpy.float32).reshape(-1, 2)
                trust, continuity = quality(rows, points, sample)
                print(f"    {peer}: {took:.2f} s, {memory:.0f}, {trust:.5f}, {continuity:.5f}; {took / seconds:.2f}x ours", flush=True)


if __name__ == "__main__":
    import numpy
    import pyarrow.dataset

    main(*sys.argv[1:])
