#!/usr/bin/env bash
# Installs the notebook kernel "Rust (fruits)" into a Jupyter data folder, by default the user's own.
#
#   bootstrap/kernel/install.sh [PREFIX]     PREFIX/share/jupyter/kernels/fruits; a virtual environment is a prefix
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"

PREFIX=${1:-$HOME/.local}
EVCXR_VERSION=0.22.0
HERE=$REPO/bootstrap/kernel
KITS=$FRUITS_CACHE/kernel

tool evcxr_jupyter "$EVCXR_VERSION" # about 15 minutes on two cores
toolchain=$(rustc --print sysroot)
if [ ! -d "$toolchain/lib/rustlib/src/rust/library" ]; then
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
name=kit-$(cat "$HERE"/{install.sh,kit.py,cargo.py,launch.sh,prelude.rs} "$build/Cargo.toml" <(rustc -vV) \
    <(stat -c '%i %Y' "$CARGO_TARGET_DIR/$FRUITS_TARGET/debug/deps/libfruits_kernel.so") | sha256sum | cut -c1-12)
kit=$KITS/$name
if [ ! -d "$kit" ]; then
    rm -rf "$kit.part"
    python3 "$HERE/kit.py" "$build" "$CARGO_TARGET_DIR" "$FRUITS_TARGET" "$toolchain" "$kit.part"
    mkdir "$kit.part/bin" "$kit.part/config"
    # With the interpreter that there is now: a kernel's path need not have one.
    sed "1s|.*|#!$(python3 -c 'import sys; print(sys.executable)') -IS|" "$HERE/cargo.py" >"$kit.part/bin/cargo"
    chmod +x "$kit.part/bin/cargo"
    cp "$HERE/launch.sh" "$build/.cargo/config.toml" "$kit.part/"
    rustc -vV >"$kit.part/rustc"
    rustc --print target-libdir >"$kit.part/libdir"
    cat >"$kit.part/config/evcxr.toml" <<EOF
[evcxr]
opt_level = "0"
prelude = """
$(cat "$HERE/prelude.rs")
"""

[dependencies]
$dependencies
EOF
    mv -T "$kit.part" "$kit"
fi
# Kernels hold a lock on their kit, and kernelspecs go by the link.
ln -sfn "$name" "$KITS/current"
for old in "$KITS"/kit-*; do
    if [ "$old" != "$kit" ] && flock --nonblock "$old" true; then rm -rf "$old"; fi
done

spec=$PREFIX/share/jupyter/kernels/fruits
mkdir -p "$spec"
cat >"$spec/kernel.json" <<EOF
{
  "argv": ["$KITS/current/launch.sh", "{connection_file}"],
  "display_name": "Rust (fruits)",
  "language": "rust",
  "interrupt_mode": "message",
  "env": {
    "FRUITS_TOOLCHAIN": "$toolchain",
    "FRUITS_EVCXR": "$FRUITS_CACHE/tools/bin/evcxr_jupyter",
    "FRUITS_WEIGHTS": "$FRUITS_DATA/mobilenet_v2.safetensors"
  }
}
EOF
say "kernel: $spec"
