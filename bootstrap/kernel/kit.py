"""Makes what a kernel needs out of a build of the crate `ctx`, which is what evcxr calls the crate that a cell becomes.

    kit.py BUILD TARGET-FOLDER TRIPLE SYSROOT KIT

A kit is a folder of its own, so kernels that run are not disturbed by the next build:

    crates/        all compiled crates that a cell links or whose types it sees
    std/           the sources of Rust's standard library that rust-analyzer reads, and no others
    metadata.json  what `cargo metadata` says of BUILD, for rust-analyzer
    kit.json       where the dependencies of a cell lie; for cells with others, where cargo finds what is built already
    Cargo.lock
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from cargo import prune, root_of, without_blanks


def cargo(*arguments: str, folder: pathlib.Path) -> str:
    return subprocess.run(["cargo", *arguments], cwd=folder, stdout=subprocess.PIPE, check=True, text=True).stdout


def link(source: str, folder: pathlib.Path) -> None:
    target = folder / os.path.basename(source)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def main() -> None:
    build, target, triple, sysroot, kit = sys.argv[1:]
    build, kit = pathlib.Path(build), pathlib.Path(kit)
    metadata = json.loads(cargo("metadata", "--format-version=1", "--filter-platform", triple, folder=build))
    own = {dependency["rename"] or dependency["name"]: dependency["name"] for dependency in root_of(metadata)["dependencies"]}
    lines = (build / "Cargo.toml").read_text().partition("[dependencies]")[2].partition("[workspace]")[0].split("\n")

    crates, files = kit / "crates", {}
    crates.mkdir(parents=True)
    for line in cargo("build", "--quiet", "--message-format=json", folder=build).splitlines():
        message = json.loads(line)
        if message["reason"] != "compiler-artifact":
            continue
        package = next(package["name"] for package in metadata["packages"] if package["id"] == message["package_id"])
        for file in message["filenames"]:
            if file.endswith((".rlib", ".so")) and package != "ctx":
                link(file, crates)
                files[package] = os.path.basename(file)

    library = pathlib.Path(sysroot, "lib/rustlib/src/rust/library")
    for crate in ("core", "alloc", "std"):
        shutil.copytree(library / crate / "src", kit / "std" / crate / "src")
    prune(metadata)
    (kit / "metadata.json").write_text(json.dumps(metadata, ensure_ascii=False).replace(str(build), "@SESSION@"))
    kit_json = {
        "dependencies": {name: files[package] for name, package in own.items()},
        "lines": [without_blanks(line) for line in lines if line],
        "target": target,
        "triple": triple,
    }
    (kit / "kit.json").write_text(json.dumps(kit_json, indent=1))
    shutil.copy(build / "Cargo.lock", kit)


main()
