"""What `fruits features` does, in Python at its best: Pillow and onnxruntime in a thread a core, Parquet at the end.

    pipeline.py PHOTOS OUT.parquet MODEL.onnx [THREADS] [BATCH]

Pillow and onnxruntime work without Python's lock. A session of one thread, called by all, was the fastest set-up of `peers.py`.
"""

import concurrent.futures
import os
import pathlib
import sys

import numpy
import onnxruntime
import pyarrow
import pyarrow.parquet
from PIL import Image


def main():
    photos, out, model = sys.argv[1:4]
    threads = int(sys.argv[4]) if len(sys.argv) > 4 else len(os.sched_getaffinity(0))
    batch = int(sys.argv[5]) if len(sys.argv) > 5 else 4
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    paths = sorted(str(path) for path in pathlib.Path(photos).rglob("*.jpg"))

    def features(some):
        pixels = [numpy.asarray(Image.open(path).convert("RGB").resize((224, 224)), dtype=numpy.float32) for path in some]
        batch = (numpy.stack(pixels) / 127.5 - 1).transpose(0, 3, 1, 2)
        return session.run(None, {"pixels": numpy.ascontiguousarray(batch)})[0]

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        rows = numpy.concatenate(list(pool.map(features, (paths[i : i + batch] for i in range(0, len(paths), batch)))))
    labels = [pathlib.Path(path).parent.name for path in paths]
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), rows.shape[1])
    pyarrow.parquet.write_table(pyarrow.table({"path": paths, "label": labels, "features": vectors}), out)


main()
