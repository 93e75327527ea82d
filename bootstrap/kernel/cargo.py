#!/usr/bin/env -S python3 -IS
"""Stands before cargo for evcxr and the rust-analyzer in it.

A cell that uses nothing but the prebuilt crates is one call of rustc. Cargo would say the same after looking at some 500 crates, several
times a cell. Once a cell has asked for another crate by `:dep`, everything goes to cargo itself.

Of what `cargo metadata` says, rust-analyzer gets the crates whose types people have in variables; a variable of another crate's type
needs its type written out.
"""

from __future__ import annotations  # Python 3.7 is enough

import json
import os
import sys

# Everything else is imported where it is used: evcxr calls this some twenty times until a kernel is ready.

COMMANDS = {"build", "check", "config", "locate-project", "metadata", "rustc"}
PIPE = -1  # subprocess.PIPE
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
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"] if node["id"] in kept}
    for node in nodes.values():
        node["deps"] = [dep for dep in node["deps"] if dep["pkg"] in kept]
        node["dependencies"] = [dep for dep in node["dependencies"] if dep in kept]
    reached, ahead = set(), [root["id"]]  # of a crate in two versions, one may be nobody's any more
    while ahead:
        reached.add(ahead[-1])
        ahead += [dep["pkg"] for dep in nodes[ahead.pop()]["deps"] if dep["pkg"] not in reached]
    metadata["packages"] = [package for package in metadata["packages"] if package["id"] in reached]
    metadata["resolve"]["nodes"] = [node for name, node in nodes.items() if name in reached]


def without_blanks(line: str) -> str:
    return "".join(line.split())


def optimisation(manifest: str) -> str:
    """What evcxr, and by `:opt` its user, wants for cells, as TOML."""
    return next(line.removeprefix("opt-level = ") for line in manifest.splitlines() if line.startswith("opt-level = "))


def run_cargo(arguments: list[str], **options) -> subprocess.CompletedProcess:
    import subprocess

    os.environ["CARGO_HOME"] = os.environ["FRUITS_CARGO_HOME"]
    return subprocess.run([f"{TOOLCHAIN}/bin/cargo", *arguments], **options)


def pass_on(arguments: list[str]) -> None:
    """Becomes cargo."""
    os.environ["CARGO_HOME"] = os.environ["FRUITS_CARGO_HOME"]
    os.execv(f"{TOOLCHAIN}/bin/cargo", ["cargo", *arguments])


def say_errors() -> None:
    """evcxr prints the error of a cell that ends by `?`, and Rust a panic; fruits_core says both in the form that relay.py knows, with the line."""
    import re

    with open("src/lib.rs") as file:
        source = file.read()
    pattern = r'fn from\(error: T\) -> Self \{(\s*)eprintln!\(("[^"]*"), error\);'
    changed = re.sub(pattern, r"#[track_caller] fn from(error: T) -> Self {\1::fruits_core::cell_failed(&format!(\2, error));", source)
    begin = "let evcxr_variable_store = unsafe {&mut *evcxr_variable_store};"
    changed = changed.replace(begin, f"::fruits_core::begin_cell(); {begin}")
    if changed != source:
        with open("src/lib.rs", "w") as file:
            file.write(changed)


def compile_cell(command: str, level: str, kit: dict) -> int:
    """What cargo would do for `cargo build` and `cargo check`, in the form in which evcxr reads it."""
    out = os.path.abspath("target/cells")
    os.makedirs(out, exist_ok=True)
    kept = kept_cell(command, level)
    if os.path.exists(f"{kept}/messages"):
        with open(f"{kept}/messages") as file:
            messages = file.read()
        is_compiled = os.path.exists(f"{kept}/libctx.so")
        if is_compiled:
            copy(f"{kept}/libctx.so", f"{out}/libctx.so")
    else:
        messages, is_compiled = call_rustc(command, level, kit, out)
        if os.environ.get("FRUITS_KEEP_CELLS"):
            os.makedirs(kept, exist_ok=True)
            if is_compiled and command == "build":
                copy(f"{out}/libctx.so", f"{kept}/libctx.so")
            with open(f"{kept}/messages", "w") as file:
                file.write(messages)
    sys.stdout.write(messages)
    path_file = os.environ.get("EVCXR_EXECUTION_SO_PATH")
    if is_compiled and path_file:
        with open(path_file, "w") as file:
            file.write(f"{out}/libctx.so")
    return 0 if is_compiled else 101


def kept_cell(command: str, level: str) -> str:
    """Where the result of a cell is, if it is one of those that evcxr compiles before a kernel is ready, the same in every kernel."""
    from zlib import adler32, crc32

    with open("src/lib.rs", "rb") as file:
        source = file.read()
    return f"{KIT}/cells/{command}-{level}-{len(source)}-{crc32(source):08x}{adler32(source):08x}"


def copy(source: str, target: str) -> None:
    with open(source, "rb") as a, open(target, "wb") as b:
        b.write(a.read())


def call_rustc(command: str, level: str, kit: dict, out: str) -> tuple[str, bool]:
    """Compiles a cell: what there is to say, as cargo says it, and whether it compiles."""
    import subprocess

    machine = kit["triple"].split("-")[0]
    system = [f"/lib/{machine}-linux-gnu", f"/usr/lib/{machine}-linux-gnu", "/lib64", "/usr/lib64"]
    rustc = [
        *(f"{TOOLCHAIN}/bin/rustc", "--crate-name=ctx", "--edition=2024", "src/lib.rs", "--crate-type=cdylib", f"--out-dir={out}"),
        *("--error-format=json", "--json=diagnostic-rendered-ansi"),
        *("--emit=metadata" if command == "check" else "--emit=link", "-Cprefer-dynamic", f"-Copt-level={level}"),
        *("-Ccodegen-units=1", "-Cdebug-assertions=on", "-Cstrip=debuginfo", f"-Ldependency={KIT}/crates"),
        # Rust's own linker, called as such, needs no C compiler and nothing of one.
        *("-Clinker=rust-lld", "-Clinker-flavor=ld.lld", *(f"-L{folder}" for folder in [f"{KIT}/link", *system])),
        *(f"--extern={name.replace('-', '_')}={KIT}/crates/{file}" for name, file in kit["dependencies"].items()),
    ]
    done = subprocess.run(rustc, stderr=PIPE, text=True)
    lines = [f'{{"reason":"compiler-message","message":{line}}}' if line.startswith("{") else line for line in done.stderr.splitlines()]
    return "".join(line + "\n" for line in lines), done.returncode == 0


def check_artifacts(kit: dict) -> None:
    """Other crates are compiled beside the artifacts that this kernel was made of."""
    import filecmp

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
    import subprocess

    target = kit["target"]
    for profile in ("debug", f"{kit['triple']}/debug"):
        os.makedirs(f"target/{profile}", exist_ok=True)
        subprocess.run(["cp", "-as", f"{target}/{profile}/deps", f"target/{profile}/"], check=True)
        subprocess.run(["cp", "-a", f"{target}/{profile}/build", f"{target}/{profile}/.fingerprint", f"target/{profile}/"], check=True)
    subprocess.run(["cp", f"{KIT}/Cargo.lock", "."], check=True)


def stored_metadata(has_dependencies: bool) -> str:
    """What `cargo metadata` says for cells that use what is built, or nothing at all."""
    with open(f"{KIT}/metadata.json") as file:
        text = file.read().replace("@SESSION@", json.dumps(os.getcwd())[1:-1]).replace("@KIT@", KIT)
    if has_dependencies:
        return text
    metadata = json.loads(text)
    root = root_of(metadata)
    nodes = [node | {"deps": [], "dependencies": []} for node in metadata["resolve"]["nodes"] if node["id"] == root["id"]]
    return json.dumps(metadata | {"packages": [root | {"dependencies": []}], "resolve": metadata["resolve"] | {"nodes": nodes}})


def bring_std() -> None:
    """Lets rust-analyzer find the standard library, which it does without at first: see launch.sh."""
    link = os.environ["RUST_SRC_PATH"]
    if os.readlink(link) != f"{KIT}/std":
        os.symlink(f"{KIT}/std", f"{link}.new")
        os.replace(f"{link}.new", link)


def main() -> int:
    arguments = sys.argv[1:]
    command = next((argument for argument in arguments if argument in COMMANDS), "")
    if command in ("config", "rustc"):
        return 1  # rust-analyzer then asks rustc, which is quicker and says the same
    if command == "" or not os.path.exists("src/lib.rs"):
        pass_on(arguments)
    with open("Cargo.toml") as file:
        manifest, _, dependencies = file.read().partition("[dependencies]")
    lines = {without_blanks(line) for line in dependencies.splitlines()} - {""}
    if lines:
        bring_std()
    if command == "locate-project":
        print(json.dumps({"root": os.path.abspath("Cargo.toml")}))
        return 0
    with open(f"{KIT}/kit.json") as file:
        kit = json.load(file)
    if lines >= set(kit["lines"]) and command in ("build", "check"):
        say_errors()
    if lines <= set(kit["lines"]):
        if command == "metadata":
            sys.stdout.write(stored_metadata(bool(lines)))
            return 0
        return compile_cell(command, optimisation(manifest).strip('"'), kit)
    if not os.path.exists("Cargo.lock"):
        check_artifacts(kit)
    if 'name = "evcxr_dummy_validate_dep"' in manifest:
        return look_up(arguments)
    bring_artifacts(kit)
    if command != "metadata":
        # The kit's settings of profiles, which stand above those of the manifest, say how all but the cell is compiled.
        return run_cargo([*arguments, "--config", f"profile.dev.package.ctx.opt-level={optimisation(manifest)}"]).returncode
    done = run_cargo(arguments, stdout=PIPE)
    if done.returncode == 0:
        metadata = json.loads(done.stdout)
        prune(metadata)
        json.dump(metadata, sys.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
