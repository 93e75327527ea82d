#!/usr/bin/env python3
"""Stands before cargo for the rust-analyzer inside evcxr, which reads every crate of the graph to know the types of variables.

For `cargo metadata` it leaves only the crates whose types people have in variables, which takes seconds off a kernel's start; a
variable of another crate's type needs its type written out. Everything else goes to cargo itself.
"""

import json
import os
import subprocess
import sys

KEPT = {"ctx", "fruits-kernel", "fruits-core", "ndarray", "polars", "polars-core", "polars-error", "polars-utils", "polars-lazy", "polars-plan"}
CARGO = os.environ["FRUITS_CARGO"]
os.environ["CARGO_HOME"] = os.environ["FRUITS_CARGO_HOME"]


def prune(metadata: dict) -> dict:
    kept = {package["id"] for package in metadata["packages"] if package["name"] in KEPT}
    metadata["packages"] = [package for package in metadata["packages"] if package["id"] in kept]
    nodes = [node for node in metadata["resolve"]["nodes"] if node["id"] in kept]
    for node in nodes:
        node["deps"] = [dep for dep in node["deps"] if dep["pkg"] in kept]
        node["dependencies"] = [dep for dep in node["dependencies"] if dep in kept]
    metadata["resolve"]["nodes"] = nodes
    return metadata


def main() -> None:
    command = [CARGO, *sys.argv[1:]]
    if "metadata" not in sys.argv[1:]:
        os.execv(CARGO, command)
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode == 0 and b'"name":"ctx"' in done.stdout:
        json.dump(prune(json.loads(done.stdout)), sys.stdout)
    else:
        sys.stdout.buffer.write(done.stdout)
    sys.exit(done.returncode)


main()
