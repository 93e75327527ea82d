"""The network beside others that run the same weights on the same photos, in one run: `run.sh` calls it.

    peers.py PHOTOS MODEL.onnx WEIGHTS.safetensors OURS [--f32] [--no-torch] [--no-keras]

Every round asks each contender once, one after the other, so that all see the same moods of the machine. Medians; of the set-ups of one
contender the best counts. Stream: many photos, as fast as they go. One: a photo alone, in milliseconds.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy
from PIL import Image

CORES = len(os.sched_getaffinity(0))
# Multiply-adds of a photo: see benches/engine/main.rs.
MULTIPLY_ADDS = 299.5e6
PHOTOS, ROUNDS = 56, 7


class Ours:
    def __init__(self, binary, pixels, precision, threads):
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen([binary, precision, pixels], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def together(*works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def onnxruntime_setups(model, photos, threads):
    import onnxruntime

    def session(count):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    whole, singles = session(threads), [session(1) for _ in range(threads)]
    for batch in (1, 4):
        batches = [photos[i : i + batch] for i in range(0, len(photos), batch)]
        run = lambda session, some: [session.run(None, {"pixels": x}) for x in some]
        yield f"1 session of {threads}, batch {batch}", "stream", lambda b=batches: run(whole, b)
        if threads > 1:
            shares = [batches[i::threads] for i in range(threads)]
            yield f"{threads} sessions of 1, batch {batch}", "stream", lambda s=shares: together(*(lambda i=i: run(singles[i], s[i]) for i in range(threads)))
            yield f"1 session of 1, {threads} callers, batch {batch}", "stream", lambda s=shares: together(*(lambda i=i: run(singles[0], s[i]) for i in range(threads)))
    yield f"1 session of {threads}", "one", lambda: whole.run(None, {"pixels": photos[:1]})


def openvino_setups(model, photos, threads, precision):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(model, "CPU", settings | {"PERFORMANCE_HINT": "THROUGHPUT"})
    for batch in (1, 4):
        queue = openvino.AsyncInferQueue(compiled)

        def run(queue=queue, batch=batch):
            for i in range(0, len(photos), batch):
                queue.start_async({"pixels": photos[i : i + batch]})
            queue.wait_all()

        yield f"throughput, batch {batch}", "stream", run
    request = core.compile_model(model, "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    yield "latency", "one", lambda: request.infer({"pixels": photos[:1]})


def torch_setups(model, photos, threads, precision):
    import torch
    from torch_network import network

    torch.set_num_threads(threads)
    module = network(model)
    if precision == "bf16":
        module = module.bfloat16()
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    inputs = torch.from_numpy(photos).to(kind).contiguous(memory_format=torch.channels_last)
    traced = torch.jit.freeze(torch.jit.trace(module, inputs[:1]))
    for batch in (1, 8):

        def run(batch=batch):
            with torch.inference_mode():
                for i in range(0, len(inputs), batch):
                    traced(inputs[i : i + batch])

        yield f"jit, batch {batch}", "stream", run
    with_one = lambda: traced(inputs[:1])
    yield "jit", "one", lambda: torch.inference_mode()(with_one)()


def keras_setups(weights, photos, threads):
    import tensorflow  # noqa: I001

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../tests/golden"))
    from make import network

    model = network(weights)
    pixels = numpy.ascontiguousarray(photos.transpose(0, 2, 3, 1))
    yield "predict, batch 32", "stream", lambda: model.predict(pixels, batch_size=32, verbose=0)
    yield "predict", "one", lambda: model.predict(pixels[:1], verbose=0)


def main():
    folder, model, weights, ours = sys.argv[1:5]
    files = sorted(pathlib.Path(folder).rglob("*.jpg"))
    files = files[:: max(1, len(files) // PHOTOS)][:PHOTOS]
    pixels = numpy.stack([numpy.asarray(Image.open(file).convert("RGB").resize((224, 224))) for file in files])
    with tempfile.NamedTemporaryFile() as raw:
        pixels.tofile(raw.name)
        compare(pixels, raw.name, model, weights, ours)


def compare(pixels, raw, model, weights, ours):
    photos = numpy.ascontiguousarray((pixels.astype(numpy.float32) / 127.5 - 1).transpose(0, 3, 1, 2))
    precisions = ["f32", "bf16"] if "--f32" not in sys.argv else ["f32"]
    for threads in sorted({1, CORES}):
        contenders = {}
        add = lambda name, setups: contenders.update({(name, setup, what): work for setup, what, work in setups})
        binaries = {precision: Ours(ours, raw, precision, threads) for precision in precisions}
        for precision, binary in binaries.items():
            for what in ("stream", "one"):
                contenders[f"ours {precision}", "", what] = lambda binary=binary, what=what: binary.ask(what)
        add("onnxruntime f32", onnxruntime_setups(model, photos, threads))
        for precision in precisions:
            add(f"openvino {precision}", openvino_setups(model, photos, threads, precision))
            if "--no-torch" not in sys.argv:
                add(f"torch {precision}", torch_setups(weights, photos, threads, precision))
        if threads == CORES and "--no-keras" not in sys.argv:
            add("keras f32", keras_setups(weights, photos, threads))
        times, limits = {key: [] for key in contenders}, []
        for round in range(ROUNDS + 1):
            time.sleep(0.1)
            limits.append(binaries["f32"].ask("limit"))
            for (name, setup, what), work in contenders.items():
                time.sleep(0.1)  # threads of the one before may still spin
                taken = work() if name.startswith("ours") else seconds(work)
                if round > 0:
                    times[name, setup, what].append(taken)
        limit = statistics.median(limits) / MULTIPLY_ADDS
        print(f"\n{threads} threads, {len(photos)} photos, medians of {ROUNDS} rounds; limit of f32 {limit:.0f} photos/s")
        medians = {key: statistics.median(values) for key, values in times.items()}
        for what in ("stream", "one"):
            best = {}
            for (name, setup, of), taken in sorted(medians.items(), key=lambda item: -item[1]):
                if of == what:
                    best[name] = (taken, setup)
            reference = best["ours f32"][0]
            for name, (taken, setup) in sorted(best.items(), key=lambda item: item[1]):
                value = f"{len(photos) / taken:8.1f} photos/s" if what == "stream" else f"{1e3 * taken:8.2f} ms"
                share = f", {100 * len(photos) / taken / limit:5.1f} % of the limit" if what == "stream" else ""
                print(f"{what:<7}{name:<16}{value}, ours f32 is {taken / reference:4.2f} x as fast{share}  {setup}")
        for binary in binaries.values():
            binary.process.stdin.close()
            binary.process.wait()


if __name__ == "__main__":
    main()
