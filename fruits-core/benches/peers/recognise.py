"""Recognition beside scikit-learn, on the same features and splits, in one run: `recognise.sh` calls it.

    recognise.py FRUITS OURS PHOTOS

PHOTOS are of videos: a folder a label, and names that say the video, as Fruits-360 has them (`35_100.jpg`, `r_35_100.jpg`). Splits: random halves; the first
video of each label against its others; and, of labels with a number at their end, the first piece of fruit against the others, labelled by variety. The
intervals of 95 % are of draws of videos (of photos, for halves). Then the fit of 20,000 rows with 131 labels: the features of PHOTOS again and again with
noise, so that all differ.
"""

import itertools
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

import numpy
import pyarrow.dataset
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

CLASSIFIERS = [
    ("cosine", 0.5),
    ("logistic", 1.0),
    ("logistic, tol 1e-7", 1.0),
    ("discriminant", 0.1),
    ("discriminant", 0.5),
    ("discriminant", 1.0),
    ("neighbour", 1),
]
# Of the network; their texture comes behind them.
FEATURES = 1280
ROWS, LABELS = 20_000, 131


class Ours:
    def __init__(self, binary, folder, rows, labels):
        self.folder = folder
        rows.tofile(folder / "rows.f32")
        (folder / "labels.txt").write_text("\n".join(labels) + "\n")
        command = [binary, folder / "rows.f32", folder / "labels.txt", str(rows.shape[1])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fit(self, name, parameter, train, test):
        files = []
        for part, numbers in [("train", train), ("test", test)]:
            files.append(self.folder / part)
            files[-1].write_text("".join(f"{number}\n" for number in numbers))
        print(name.partition(",")[0], parameter, *files, file=self.process.stdin, flush=True)
        return numpy.array(self.process.stdout.readline().rstrip("\n").split("\t")), float(self.process.stdout.readline())

    def memory(self):
        print("memory", file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def scikit_learn(name, parameter, rows, labels, train, test):
    """What is the same there; of the whitened cosine, what comes next: the nearest mean by cosine."""
    model = {
        # Its default tolerance stops before the optimum, and in f32 a small one does, too, where features are large: a minimum in f64 has our labels.
        "logistic": lambda: LogisticRegression(C=parameter, max_iter=1000),
        "logistic, tol 1e-7": lambda: LogisticRegression(C=parameter, max_iter=20_000, tol=1e-7),
        "discriminant": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=parameter),
        "cosine": lambda: make_pipeline(Normalizer(), NearestCentroid()),
        "neighbour": lambda: KNeighborsClassifier(parameter, metric="cosine"),
    }[name]()
    start = time.perf_counter()
    model.fit(rows[train], labels[train])
    seconds = time.perf_counter() - start
    return model.predict(rows[test]), seconds


def interval(right, units):
    random = numpy.random.default_rng(0)
    names, of = numpy.unique(units, return_inverse=True)
    sums, counts = numpy.bincount(of, right), numpy.bincount(of)
    draws = random.integers(0, len(names), (1000, len(names)))
    shares = sums[draws].sum(1) / counts[draws].sum(1)
    return numpy.quantile(shares, [0.025, 0.975])


def features(fruits, photos, views, folder):
    out = folder / views
    subprocess.run([fruits, "features", photos, "--out", out, "--views", views, "--texture"], check=True, stderr=subprocess.DEVNULL)
    table = pyarrow.dataset.dataset(out / "features", format="parquet").to_table()
    paths = table["path"].to_pylist()
    rows = numpy.stack([numpy.array(row, numpy.float32) for row in table["features"].to_pylist()])
    order = numpy.argsort(paths)
    return [paths[at] for at in order], numpy.array(table["label"].to_pylist())[order], rows[order]


def splits(paths, labels):
    """Name, label of each row, rows for training and for testing, and what is drawn for the interval."""
    video = numpy.array([re.sub(r"\d+_\d+\.\w+$", "", pathlib.Path(path).name) for path in paths])
    random = numpy.random.default_rng(0)
    half = numpy.zeros(len(labels), bool)
    for label in numpy.unique(labels):
        rows = numpy.flatnonzero(labels == label)
        half[random.permutation(rows)[: len(rows) // 2]] = True
    yield "random halves", labels, numpy.flatnonzero(half), numpy.flatnonzero(~half), numpy.arange(len(labels))
    first = {label: min(video[labels == label]) for label in numpy.unique(labels)}
    is_first = numpy.array([first[label] == own for label, own in zip(labels, video)])
    units = numpy.char.add(numpy.char.add(labels, "/"), video)
    yield "first video, others", labels, numpy.flatnonzero(is_first), numpy.flatnonzero(~is_first), units
    piece = numpy.array([re.search(r" (\d+)$", label)[1] if re.search(r" \d+$", label) else "" for label in labels])
    variety = numpy.array([re.sub(r" \d+$", "", label) for label in labels])
    several = {name for name in variety if len(set(piece[variety == name])) > 1}
    is_several = numpy.array([name in several for name in variety])
    first = {name: min(piece[variety == name]) for name in several}
    is_test = is_several & numpy.array([name in first and first[name] != own for name, own in zip(variety, piece)])
    yield "first piece, others", variety, numpy.flatnonzero(~is_test), numpy.flatnonzero(is_test), labels


def main(fruits, binary, photos):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for views in ["one", "turned"]:
            paths, labels, all_rows = features(fruits, photos, views, folder)
            kinds = [("without texture", all_rows[:, :FEATURES]), ("with texture", all_rows), ("texture alone", all_rows[:, FEATURES:])]
            for (kind, rows), (split, names, train, test, units) in itertools.product(kinds, splits(paths, labels)):
                rows = numpy.ascontiguousarray(rows)
                ours = Ours(binary, folder, rows, names)
                print(f"\n{split}, views {views}, {kind}: {len(train)} rows for training, {len(test)} for testing")
                for name, parameter in CLASSIFIERS:
                    predicted, seconds = ours.fit(name, parameter, train, test)
                    theirs, their_seconds = scikit_learn(name, parameter, rows, names, train, test)
                    right = predicted == names[test]
                    low, high = interval(right, units[test])
                    print(
                        f"  {name:24} {parameter:4}: {100 * right.mean():5.1f} % ({100 * low:.1f} to {100 * high:.1f}) in {seconds:5.2f} s;"
                        f" scikit-learn {100 * (theirs == names[test]).mean():5.1f} % in {their_seconds:5.2f} s; the same label for {100 * (theirs == predicted).mean():.2f} %",
                        flush=True,
                    )
                ours.end()
        large(binary, folder, all_rows[:, :FEATURES])


def large(binary, folder, rows):
    random = numpy.random.default_rng(0)
    which = random.integers(0, len(rows), ROWS)
    noisy = (rows[which] + rows.std(0) * random.normal(0, 0.3, (ROWS, rows.shape[1]))).astype(numpy.float32)
    # A label is the direction in which a row goes farthest, compared with the others: what can be learnt, and not without an effort.
    along = noisy @ random.normal(0, 1, (rows.shape[1], LABELS))
    labels = numpy.array([f"{label:03}" for label in numpy.argmax((along - along.mean(0)) / along.std(0), axis=1)])
    everything, test = numpy.arange(ROWS), numpy.arange(2000)
    ours = Ours(binary, folder, noisy, labels)
    print(f"\n{ROWS} x {rows.shape[1]}, {len(set(labels))} labels, once")
    predicted, mine = ours.fit("logistic", 1.0, everything, test)
    theirs, others = scikit_learn("logistic", 1.0, noisy, labels, everything, test)
    print(f"  ours {mine:.2f} s, {ours.memory() >> 20} MB at most; scikit-learn {others:.2f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB at most; ratio {others / mine:.2f};")
    print(f"  the same label for {100 * (theirs == predicted).mean():.2f} % of {len(test)}; {len(os.sched_getaffinity(0))} cores")
    ours.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
