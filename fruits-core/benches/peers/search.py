"""Exact search beside others on the same random features, in one run: `alike.sh` calls it.

    search.py OURS [ROWS]

Every round asks each contender once, one after the other, so that all see the same moods of the machine. Medians, by cosine, k = 10: the rows have
length 1, so that for others it is the inner product. OURS does not know that they have. What the limit is: for one query the bytes of all rows
from memory, for many the multiply-adds (in f32) of all pairs, for all pairs of half of them, each as fast as this machine was in the same round.
What takes long is done once. usearch is asked for one query only: of many it keeps all distances in memory, and takes nine times as long as ours.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

CORES = len(os.sched_getaffinity(0))
WIDTH, K, QUERIES = 1280, 10, 1000
ALL_PAIRS = (20_000, 100_000)
# What takes more seconds than this is done once.
LONG = 15


class Ours:
    def __init__(self, binary, files, threads):
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen([binary, *files, str(WIDTH)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        found = [int(row) for row in self.process.stdout.readline().split()] if words[0] == "search" else None
        return float(self.process.stdout.readline()), found

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Numpy:
    def __init__(self, rows, threads):
        self.rows, self.threads = rows, threads

    def search(self, queries, k=K, rows=None):
        import threadpoolctl

        rows = self.rows if rows is None else rows
        found = numpy.empty((len(queries), k), numpy.int64)
        with threadpoolctl.threadpool_limits(self.threads):
            for first in range(0, len(queries), 100):  # its products of all queries at once would be more than the rows
                products = queries[first : first + 100] @ rows.T
                best = numpy.argpartition(products, -k, axis=1)[:, -k:]
                order = numpy.argsort(-numpy.take_along_axis(products, best, 1), axis=1)
                found[first : first + 100] = numpy.take_along_axis(best, order, 1)
        return found


class Faiss:
    def __init__(self, rows, threads):
        import faiss

        self.faiss, self.threads = faiss, threads
        self.index = faiss.IndexFlatIP(WIDTH)
        self.index.add(rows)

    def search(self, queries, k=K):
        self.faiss.omp_set_num_threads(self.threads)
        return self.index.search(queries, k)[1]


class Usearch:
    def __init__(self, rows, threads):
        self.rows, self.threads = rows, threads

    def search(self, queries, k=K):
        from usearch.index import MetricKind, search

        return search(self.rows, queries, k, MetricKind.IP, exact=True, threads=self.threads).keys.reshape(len(queries), k)


def seconds(work):
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def say(what, limit, times):
    times = {name: statistics.median(each) for name, each in times.items()}
    best = min(value for name, value in times.items() if name != "ours")
    each = ", ".join(f"{name} {value:.3f} s" for name, value in times.items())
    print(f"{what}: {each}; ours {best / times['ours']:.2f}x the best of them, {statistics.median(limit) / times['ours']:.2f} of the limit", flush=True)


def compare(binary, folder, rows, queries, threads):
    files = [str(folder / "rows"), str(folder / "queries")]
    ours = Ours(binary, files, threads)
    contenders = {"numpy": Numpy(rows, threads), "faiss": Faiss(rows, threads), "usearch": Usearch(rows, threads)}
    many = f"{threads} thread{'s'[: threads - 1]}"
    for count, rounds in ((1, 7), (QUERIES, 3)):
        times, limits, found = {name: [] for name in ["ours", *contenders]}, [], {}
        if count > 1:
            del times["usearch"]
        for number in range(rounds):
            if count == 1:
                limits.append(rows.nbytes / ours.ask("bandwidth")[0])
            else:
                limits.append(count * rows.size / ours.ask("multiply-adds")[0])
            took, found["ours"] = ours.ask("search", count, K)
            times["ours"].append(took)
            for name, contender in contenders.items():
                if name not in times or number and times[name][0] > LONG:
                    continue
                took, answer = seconds(lambda: contender.search(queries[:count]))
                times[name].append(took)
                found[name] = answer.ravel().tolist()
        say(f"{many}, {count} of {len(rows):,} rows", limits, times)
        for name in found.keys() - {"ours"}:
            same = sum(a == b for a, b in zip(found["ours"], found[name]))
            print(f"    {name} has the same row {same} times of {len(found['ours'])}", flush=True)
    took, _ = ours.ask("memory")
    print(f"{many}: ours took {took / 2**20:.0f} MiB beside rows and queries", flush=True)
    del contenders["usearch"], contenders["faiss"]
    for count in ALL_PAIRS:
        # 100,000 by one thread take ten minutes.
        if count > len(rows) or count > 50_000 and threads == 1 and CORES > 1:
            continue
        import faiss

        index = faiss.IndexFlatIP(WIDTH)
        index.add(rows[:count])
        faiss.omp_set_num_threads(threads)
        some = rows[:count]
        works = {"faiss": lambda: index.search(some, K + 1)}
        if count < 50_000:
            works["numpy"] = lambda: contenders["numpy"].search(some, K + 1, some)
        times, limits = {name: [] for name in ["ours", *works]}, []
        for number in range(3):
            if number and times["ours"][0] > LONG:
                continue
            limits.append(count**2 / 2 * WIDTH / ours.ask("multiply-adds")[0])
            times["ours"].append(ours.ask("others", count, K)[0])
            for name, work in works.items():
                if number == 0 or times[name][0] <= LONG:
                    times[name].append(seconds(work)[0])
        say(f"{many}, all pairs of {count:,}", limits, times)
    ours.end()


def main(binary, count=1_000_000):
    random = numpy.random.default_rng(1)
    rows = numpy.empty((int(count), WIDTH), numpy.float32)
    for some in numpy.array_split(rows, 64):
        random.standard_normal(some.shape, numpy.float32, some)
        some /= numpy.linalg.norm(some, axis=1, keepdims=True)
    queries = random.standard_normal((QUERIES, WIDTH), numpy.float32)
    queries /= numpy.linalg.norm(queries, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows.tofile(folder / "rows")
        queries.tofile(folder / "queries")
        for threads in sorted({CORES, 1}, reverse=True):
            compare(binary, folder, rows, queries, threads)


if __name__ == "__main__":
    # Before numpy's BLAS counts the cores.
    import numpy

    main(*sys.argv[1:])
