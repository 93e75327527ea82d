#!/usr/bin/env -S python3 -IS
"""Stands before cargo for evcxr and the rust-analyzer in it.

A cell that uses nothing but the prebuilt crates is one call of rustc. Cargo would say the same after looking at some 500 crates, several
times a cell. Once a cell has asked for another crate by `:dep`, everything goes to cargo itself.

Of what `cargo metadata` says, rust-analyzer gets the crates whose types people have in variables; a variable of another crate's type
needs its type written out.
"""

from __future__ import annotations  # Python 3.7 is enough

import filecmp
import json
import os
import re
import subprocess
import sys

# kit.py borrows from here, where they are not set.
KIT, TOOLCHAIN = os.environ.get("FRUITS_KIT", ""), os.environ.get("FRUITS_TOOLCHAIN", "")
KEPT = {"fruits-kernel", "fruits-core", "ndarray", "polars", "polars-core", "polars-error", "polars-lazy", "polars-plan", "polars-utils"}


def root_of(metadata: dict) -> dict:
    """The package that a cell becomes."""
    return next(package for package in metadata["packages"] if package["id"] == metadata["workspace_members"][0])


def prune(metadata: dict) -> None:
    """Leaves the package itself, what it names as its dependencies, and the crates that people have values of; of these the libraries."""
    root = root_of(metadata)
    names = KEPT | {root["name"]} | {dependency["name"] for dependency in root["dependencies"]} - {"tokio"}
    metadata["packages"] = [package for package in metadata["packages"] if package["name"] in names]
    for package in metadata["packages"]:
        package["targets"] = [target for target in package["targets"] if {"lib", "rlib", "dylib", "cdylib"} & set(target["kind"])]
    kept = {package["id"] for package in metadata["packages"]}
    metadata["resolve"]["nodes"] = [node for node in metadata["resolve"]["nodes"] if node["id"] in kept]
    for node in metadata["resolve"]["nodes"]:
        node["deps"] = [dep for dep in node["deps"] if dep["pkg"] in kept]
        node["dependencies"] = [dep for dep in node["dependencies"] if dep in kept]


def without_blanks(line: str) -> str:
    return re.sub(r"\s", "", line)


def run_cargo(arguments: list[str], **options) -> subprocess.CompletedProcess:
    os.environ["CARGO_HOME"] = os.environ["FRUITS_CARGO_HOME"]
    return subprocess.run([f"{TOOLCHAIN}/bin/cargo", *arguments], **options)


def compile_cell(command: str, optimisation: str, kit: dict) -> int:
    """What cargo would do for `cargo build` and `cargo check`, in the form in which evcxr reads it."""
    out = os.path.abspath("target/cells")
    os.makedirs(out, exist_ok=True)
    machine = kit["triple"].split("-")[0]
    system = [f"/lib/{machine}-linux-gnu", f"/usr/lib/{machine}-linux-gnu", "/lib64", "/usr/lib64"]
    rustc = [
        *(f"{TOOLCHAIN}/bin/rustc", "--crate-name=ctx", "--edition=2024", "src/lib.rs", "--crate-type=cdylib", f"--out-dir={out}"),
        *("--error-format=json", "--json=diagnostic-rendered-ansi"),
        *("--emit=metadata" if command == "check" else "--emit=link", "-Cprefer-dynamic", f"-Copt-level={optimisation}"),
        *("-Ccodegen-units=1", "-Cdebug-assertions=on", "-Cstrip=debuginfo", f"-Ldependency={KIT}/crates"),
        # Rust's own linker, called as such, needs no C compiler and nothing of one.
        *("-Clinker=rust-lld", "-Clinker-flavor=ld.lld", *(f"-L{folder}" for folder in [f"{KIT}/link", *system])),
        *(f"--extern={name.replace('-', '_')}={KIT}/crates/{file}" for name, file in kit["dependencies"].items()),
    ]
    done = subprocess.run(rustc, stderr=subprocess.PIPE, text=True)
    for line in done.stderr.splitlines():
        print(f'{{"reason":"compiler-message","message":{line}}}' if line.startswith("{") else line)
    path_file = os.environ.get("EVCXR_EXECUTION_SO_PATH")
    if done.returncode == 0 and path_file:
        with open(path_file, "w") as file:
            file.write(f"{out}/libctx.so")
    return done.returncode


def check_artifacts(kit: dict) -> None:
    """Other crates are compiled beside the artifacts that this kernel was made of."""
    library = f"{kit['target']}/{kit['triple']}/debug/deps/libfruits_kernel.so"
    if not os.path.exists(library):
        sys.exit("error: this kernel was built on another machine; cells can use other crates where bootstrap/kernel/install.sh has run")
    if not filecmp.cmp(library, f"{KIT}/crates/libfruits_kernel.so"):
        sys.exit("error: fruits-core was built again since this kernel began; restart the kernel to use another crate")


def look_up(arguments: list[str]) -> int:
    """evcxr asks whether there is such a crate, by a package that has no other dependency; the lock file is not to forget them."""
    is_new = not os.path.exists("Cargo.lock")
    if not is_new:
        os.rename("Cargo.lock", "Cargo.lock.kept")
    status = run_cargo(arguments).returncode
    if not is_new:
        os.replace("Cargo.lock.kept", "Cargo.lock")
    elif os.path.exists("Cargo.lock"):
        os.remove("Cargo.lock")
    return status


def bring_artifacts(kit: dict) -> None:
    """Lets cargo find what is built already: links to what it only reads, copies of what it writes into."""
    if os.path.exists("Cargo.lock"):
        return
    target = kit["target"]
    for profile in ("debug", f"{kit['triple']}/debug"):
        os.makedirs(f"target/{profile}", exist_ok=True)
        subprocess.run(["cp", "-as", f"{target}/{profile}/deps", f"target/{profile}/"], check=True)
        subprocess.run(["cp", "-a", f"{target}/{profile}/build", f"{target}/{profile}/.fingerprint", f"target/{profile}/"], check=True)
    subprocess.run(["cp", f"{KIT}/Cargo.lock", "."], check=True)


def main() -> int:
    arguments = sys.argv[1:]
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    if command in ("config", "rustc"):
        return 1  # rust-analyzer then asks rustc, which is quicker and says the same
    if command not in ("metadata", "build", "check") or not os.path.exists("src/lib.rs"):
        return run_cargo(arguments).returncode
    with open(f"{KIT}/kit.json") as file:
        kit = json.load(file)
    with open("Cargo.toml") as file:
        manifest, _, dependencies = file.read().partition("[dependencies]")
    lines = {without_blanks(line) for line in dependencies.splitlines()} - {""}
    if lines <= set(kit["lines"]):
        if command == "metadata":
            with open(f"{KIT}/metadata.json") as file:
                sys.stdout.write(file.read().replace("@SESSION@", json.dumps(os.getcwd())[1:-1]).replace("@KIT@", KIT))
            return 0
        return compile_cell(command, re.search(r"^opt-level = (.*)$", manifest, re.MULTILINE)[1].strip('"'), kit)
    if not os.path.exists("Cargo.lock"):
        check_artifacts(kit)
    if 'name = "evcxr_dummy_validate_dep"' in manifest:
        return look_up(arguments)
    bring_artifacts(kit)
    if command != "metadata":
        return run_cargo(arguments).returncode
    done = run_cargo(arguments, stdout=subprocess.PIPE)
    if done.returncode == 0:
        metadata = json.loads(done.stdout)
        prune(metadata)
        json.dump(metadata, sys.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
