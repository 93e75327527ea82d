#!/usr/bin/env bash
# Sourced: builds what notebook kernels need, evcxr and a kit with fruits-core compiled for cells; quick if all is there. Sets KIT, the kit's
# folder, EVCXR, the program, and TOOLCHAIN, the compiler's folder.
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"

HERE=$REPO/bootstrap/kernel
KITS=$FRUITS_CACHE/kernel
EVCXR_VERSION=0.22.0

tool evcxr_jupyter "$EVCXR_VERSION" # about 15 minutes on two cores
# shellcheck disable=SC2034 # for those who source this
EVCXR=$BUILT/tools/bin/evcxr_jupyter
TOOLCHAIN=$(rustc --print sysroot)
if [ ! -d "$TOOLCHAIN/lib/rustlib/src/rust/library" ]; then
    say "adding Rust's own sources, which evcxr reads to know types"
    rustup component add rust-src
fi

# evcxr compiles cells in a crate with this name, these dependencies and these profiles. One like it, built here, leaves what cells use.
build=$KITS/build
mkdir -p "$build/src" "$build/.cargo"
exec {lock}>"$KITS/lock"
flock "$lock" # one installation at a time
sed -n '/^\[profile.dev.package/,$p' "$REPO/Cargo.toml" >"$build/.cargo/config.toml"
dependencies="fruits-core = { package = \"fruits-kernel\", path = \"$HERE/facade\" }
tokio = \"1\""
cat >"$build/Cargo.toml" <<EOF
[package]
name = "ctx"
version = "1.0.0"
edition = "2024"

[profile.dev]
opt-level = 0
debug = false
strip = "debuginfo"
rpath = true
lto = false
debug-assertions = true
codegen-units = 16
panic = 'unwind'
incremental = true
overflow-checks = true

[dependencies]
$dependencies

[workspace]
EOF
touch "$build/src/lib.rs"
cp "$REPO/Cargo.lock" "$build/Cargo.lock"
say "building fruits-core and its dependencies for the kernel"
(cd "$build" && cargo build --quiet)

# A kit's name says what it was made of, so an unchanged one stays, and kernels that run keep the one that they began with.
name=kit-$(cat "$HERE"/{kit.sh,kit.py,cargo.py,launch.sh,prelude.rs} "$build/Cargo.toml" <(rustc -vV) \
    <(stat -c '%i %Y' "$CARGO_TARGET_DIR/$FRUITS_TARGET/debug/deps/libfruits_kernel.so") | sha256sum | cut -c1-12)
KIT=$KITS/$name
if [ ! -d "$KIT" ]; then
    rm -rf "$KIT.part"
    python3 "$HERE/kit.py" "$build" "$CARGO_TARGET_DIR" "$FRUITS_TARGET" "$TOOLCHAIN" "$KIT.part"
    mkdir "$KIT.part/bin" "$KIT.part/config"
    # With the interpreter that there is now: a kernel's path need not have one.
    sed "1s|.*|#!$(python3 -c 'import sys; print(sys.executable)') -IS|" "$HERE/cargo.py" >"$KIT.part/bin/cargo"
    chmod +x "$KIT.part/bin/cargo"
    cp "$BUILT/bin/cc" "$KIT.part/bin/" # for cells with other crates
    cp "$HERE/launch.sh" "$build/.cargo/config.toml" "$KIT.part/"
    rustc -vV >"$KIT.part/rustc"
    cat >"$KIT.part/config/evcxr.toml" <<EOF
[evcxr]
opt_level = "0"
prelude = """
$(cat "$HERE/prelude.rs")
"""

[dependencies]
$dependencies
EOF
    mv -T "$KIT.part" "$KIT"
fi
# Kernels hold a lock on their kit, and kernelspecs go by the link.
ln -sfn "$name" "$KITS/current"
for old in "$KITS"/kit-*; do
    if [ "$old" != "$KIT" ] && flock --nonblock "$old" true; then rm -rf "$old"; fi
done

# What Jupyter reads to know the kernel.
kernelspec() { # FOLDER KIT TOOLCHAIN EVCXR WEIGHTS
    mkdir -p "$1"
    cat >"$1/kernel.json" <<EOF
{
  "argv": ["$2/launch.sh", "{connection_file}"],
  "display_name": "Rust (fruits)",
  "language": "rust",
  "interrupt_mode": "message",
  "env": {
    "FRUITS_TOOLCHAIN": "$3",
    "FRUITS_EVCXR": "$4",
    "FRUITS_WEIGHTS": "$5"
  }
}
EOF
}
