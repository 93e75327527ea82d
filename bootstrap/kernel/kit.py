"""Makes what a kernel needs out of a build of the crate `ctx`, which is what evcxr calls the crate that a cell becomes.

    kit.py BUILD TARGET-FOLDER TRIPLE SYSROOT KIT

A kit is a folder of its own, so kernels that run are not disturbed by the next build. It names nothing outside but TARGET-FOLDER, so it can
be used elsewhere, too:

    spark/         the program `fruits` for the tasks of Spark
    crates/        fruits-core as a dynamic library, and what the compiler knows of the crates in it
    cells/         what evcxr compiles before a kernel is ready
    link/          where cells find the system's libraries
    std/, src/     the sources that rust-analyzer reads: Rust's standard library and the crates whose types people have in variables
    metadata.json  what `cargo metadata` says of BUILD, for rust-analyzer
    public.json    the names of fruits-core that completion offers: see relay.py
    kit.json       the dependencies of a cell; for cells with others, where cargo finds what is built already
    Cargo.lock
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from cargo import prune, root_of, without_blanks

# The linker knows the system's libraries by names that only development packages bring.
LIBRARIES = {"c": 6, "m": 6, "gcc_s": 1, "dl": 2, "pthread": 0, "rt": 1, "util": 1}


def cargo(*arguments: str, folder: pathlib.Path) -> str:
    return subprocess.run(["cargo", *arguments], cwd=folder, stdout=subprocess.PIPE, check=True, text=True).stdout


def link(source: str, folder: pathlib.Path) -> None:
    target = folder / os.path.basename(source)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def what_cells_see(files: list[str], is_facade: bool, target: str, triple: str) -> str | None:
    """Of the files of a crate the one that the compiler reads for a cell: the library itself, a macro, else metadata."""
    if not files[0].startswith(f"{target}/{triple}/"):
        return next((file for file in files if file.endswith(".so")), None)  # build scripts and macros, and what those were made of
    ends = (".so",) if is_facade else (".rmeta", ".rlib")
    return next((file for end in ends for file in files if file.endswith(end)), None)


def bring_sources(metadata: dict, kit: pathlib.Path) -> None:
    """Copies the sources of the packages to `src` and says so in the metadata; BUILD's own stay."""
    for package in metadata["packages"]:
        if package["id"] in metadata["workspace_members"]:
            continue
        old = os.path.dirname(package["manifest_path"])
        folder = f"src/{package['name']}-{package['version']}"
        new = kit / folder
        new.mkdir(parents=True)
        shutil.copy(package["manifest_path"], new)
        for file in pathlib.Path(old).rglob("*.rs"):
            if not {"tests", "benches", "examples", "target"} & set(file.relative_to(old).parts):
                (new / file.relative_to(old)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, new / file.relative_to(old))
        package["manifest_path"] = package["manifest_path"].replace(old, f"@KIT@/{folder}")
        for crate in package["targets"]:
            crate["src_path"] = crate["src_path"].replace(old, f"@KIT@/{folder}")


def public_names(sources: pathlib.Path) -> dict:
    """The names of public functions and of public fields in a crate's sources."""
    text = "\n".join(file.read_text() for file in sorted(sources.rglob("*.rs")))
    functions = re.findall(r"^\s*pub (?:const )?(?:async )?fn (\w+)", text, re.MULTILINE)
    return {"functions": sorted(set(functions)), "fields": sorted(set(re.findall(r"^\s*pub (\w+):", text, re.MULTILINE)))}


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
        file = what_cells_see(message["filenames"], package == "fruits-kernel", target, triple)
        if package == "ctx" and message["executable"]:
            (kit / "spark").mkdir()
            shutil.copy(message["executable"], kit / "spark" / "fruits")
        elif file and package != "ctx":
            link(file, crates)
            files[package] = os.path.basename(file)

    (kit / "link").mkdir()
    for name, version in LIBRARIES.items():
        (kit / "link" / f"lib{name}.so").write_text(f"INPUT(-l:lib{name}.so.{version})\n")
    library = pathlib.Path(sysroot, "lib/rustlib/src/rust/library")
    for crate in ("core", "alloc", "std"):
        shutil.copytree(library / crate / "src", kit / "std" / crate / "src")
    prune(metadata)
    bring_sources(metadata, kit)
    (names,) = (kit / "src").glob("fruits-core-*")
    (kit / "public.json").write_text(json.dumps(public_names(names)))
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
