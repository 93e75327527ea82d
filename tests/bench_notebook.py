"""How fast a notebook answers, by hand: `tests/with.sh python tests/bench_notebook.py PHOTOS [ROUNDS]`.

Starts kernels one after the other, ours and stock evcxr with plain `:dep fruits-core` that finds its 500 crates compiled, and prints
medians in seconds, the extraction cell's time over the binary's, and the memory of the kernel and of the process that runs the cells.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

REPO = pathlib.Path(__file__).resolve().parent.parent
CELLS = [
    ("first result", 'ImageFolder::open("{photos}").await?'),
    ("let", 'let photos = ImageFolder::open("{photos}").await?;'),
    ("table", "photos"),
    ("model", "let model = MobileNetV2::imagenet()?;"),
    ("extraction", "let features = photos.features(&model).await?;"),
    ("features", "features"),
    ("use polars", "use fruits_core::polars::prelude::*;"),
    ("group-by", 'features.table().clone().lazy().group_by([col("label")]).agg([len()]).sort(["label"], Default::default()).collect()?'),
    ("pca", "let pca = Pca::fit(&features)?;"),
    ("figure", "pca.scatter(&features)?"),
    ("1 + 1", "1 + 1"),
]


def stock(folder):
    """A kernelspec of evcxr as it comes, in a folder where cargo finds everything compiled."""
    kit = kit_of("fruits")
    session, facts = folder / "session", json.loads((kit / "kit.json").read_text())
    for profile in ["debug", f"{facts['triple']}/debug"]:
        (session / "target" / profile).mkdir(parents=True)
        for part in ["deps", "build", ".fingerprint"]:
            subprocess.run(["cp", "-as" if part == "deps" else "-a", f"{facts['target']}/{profile}/{part}", session / "target" / profile], check=True)
    (folder / ".cargo").mkdir()
    shutil.copy(kit / "config.toml", folder / ".cargo")
    shutil.copy(kit / "Cargo.lock", session)
    (folder / "evcxr.toml").write_text('[evcxr]\nopt_level = "0"\n')
    spec = folder / "kernels" / "stock"
    spec.mkdir(parents=True)
    library = subprocess.run(["rustc", "--print", "target-libdir"], capture_output=True, text=True).stdout.strip()
    environment = {"EVCXR_TMPDIR": str(session), "EVCXR_CONFIG_DIR": str(folder), "MALLOC_ARENA_MAX": "1"}
    environment["LD_LIBRARY_PATH"] = f"{session}/target/{facts['triple']}/debug/deps:{library}"
    argv = [KernelSpecManager().get_kernel_spec("fruits").env["FRUITS_EVCXR"], "--control_file", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "stock", "language": "rust", "interrupt_mode": "message", "env": environment}))
    os.environ["JUPYTER_PATH"] = f"{folder}:{os.environ['JUPYTER_PATH']}"
    return [
        (":dep", f':dep fruits-core = {{ path = "{REPO}/fruits-core" }}\n:dep tokio = "1"'),
        ("use", "use fruits_core::prelude::*;"),
    ]


def kit_of(kernel):
    (launch,) = (word for word in KernelSpecManager().get_kernel_spec(kernel).argv if word.endswith("launch.sh"))
    return pathlib.Path(launch).resolve().parent


def memory(pid):
    """Resident MB of a process and its children, largest first."""
    sizes, pids = [], [pid]
    while pids:
        pid = pids.pop()
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        sizes.append(int(status["VmRSS"].split()[0]) // 1024)
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            pids += map(int, (task / "children").read_text().split())
    return sorted(sizes, reverse=True)


def one_round(kernel, cells, photos):
    times, failed = {}, []
    start = time.perf_counter()
    manager = KernelManager(kernel_name=kernel)
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=600)
    times["ready"] = time.perf_counter() - start
    for name, cell in cells:
        start = time.perf_counter()
        watch = lambda message: message["msg_type"] == "error" and failed.append((name, message["content"]["evalue"]))
        client.execute_interactive(cell.replace("{photos}", photos), output_hook=watch, timeout=600)
        times[name] = time.perf_counter() - start
    sizes = memory(manager.provisioner.pid)
    client.stop_channels()
    manager.shutdown_kernel()
    for name, why in failed:
        print(f"{kernel}: cell {name} failed: {why}", flush=True)
    return times, sizes[:2]


def main():
    photos, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        first_cells = stock(folder)
        binary = []
        for i in range(rounds):
            out = subprocess.run([os.environ["FRUITS"], "features", photos, "--out", folder / f"out{i}", "--json"], capture_output=True, text=True, check=True)
            binary.append(json.loads(out.stdout.splitlines()[-1])["seconds"])
        ours = [one_round("fruits", CELLS, photos) for _ in range(rounds)]
        print("all rounds, ours:", [{name: round(seconds, 2) for name, seconds in times.items()} for times, _ in ours], flush=True)
        plain = [one_round("stock", first_cells + CELLS, photos) for _ in range(min(rounds, 2))]
    median = lambda runs, name: statistics.median(times[name] for times, _ in runs) if name in runs[0][0] else None
    print(f"medians of {rounds}, stock of {len(plain)}, {os.cpu_count()} cores; seconds; ours, stock")
    for name in ["ready", *(name for name, _ in first_cells + CELLS)]:
        a, b = median(ours, name), median(plain, name)
        print(f"{name:<14}" + (f"{a:7.2f}" if a is not None else "      -") + (f"{b:9.2f}" if b is not None else "        -"))
    a, b = (median(ours, "ready") + median(ours, "first result"), sum(median(plain, name) for name in ["ready", ":dep", "use", "first result"]))
    print(f"ready and first result {a:.2f}, stock {b:.2f}; extraction cell over the binary's {statistics.median(binary):.2f}: {median(ours, 'extraction') - statistics.median(binary):.2f}")
    print("memory, kernel and child, MB:", *(statistics.median(sizes[i] for _, sizes in ours) for i in (0, 1)), "stock:", *(statistics.median(sizes[i] for _, sizes in plain) for i in (0, 1)))
    kit = kit_of("fruits")
    print("kit:", subprocess.run(["du", "-shL", kit], capture_output=True, text=True).stdout.split()[0])


main()
