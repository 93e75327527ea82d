#!/usr/bin/env bash
# Installs the notebook kernel "Rust (fruits)" into a Jupyter data folder, by default the user's own.
#
#   bootstrap/kernel/install.sh [PREFIX]     PREFIX/share/jupyter/kernels/fruits; a virtual environment is a prefix
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"

PREFIX=${1:-$HOME/.local}
EVCXR_VERSION=0.22.0
KIT=$FRUITS_CACHE/kernel

tool evcxr_jupyter "$EVCXR_VERSION" # about 15 minutes on two cores
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    say "adding Rust's own sources, which evcxr reads to know types"
    rustup component add rust-src
fi

# evcxr compiles cells in a crate with these profiles. A crate like it, built once, leaves the artifacts that cells will use.
mkdir -p "$KIT/config" "$KIT/sessions/.cargo" "$KIT/prebuild/src"
sed -n '/^\[profile.dev.package/,$p' "$REPO/Cargo.toml" >"$KIT/sessions/.cargo/config.toml"
mkdir -p "$KIT/prebuild/.cargo"
cp "$KIT/sessions/.cargo/config.toml" "$KIT/prebuild/.cargo/config.toml"
cat >"$KIT/config/evcxr.toml" <<EOF
[evcxr]
opt_level = "0"

[dependencies]
fruits-core = { package = "fruits-kernel", path = "$REPO/bootstrap/kernel/facade" }
tokio = "1"
EOF
cat >"$KIT/prebuild/Cargo.toml" <<EOF
[package]
name = "prebuild"
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
fruits-core = { package = "fruits-kernel", path = "$REPO/bootstrap/kernel/facade" }
tokio = "1"

[workspace]
EOF
touch "$KIT/prebuild/src/lib.rs"
cp "$REPO/Cargo.lock" "$KIT/prebuild/Cargo.lock"
say "building fruits-core and its dependencies for the kernel"
(cd "$KIT/prebuild" && cargo build --quiet)

spec=$PREFIX/share/jupyter/kernels/fruits
mkdir -p "$spec"
cat >"$spec/kernel.json" <<EOF
{
  "argv": ["$REPO/bootstrap/kernel/launch.sh", "{connection_file}"],
  "display_name": "Rust (fruits)",
  "language": "rust",
  "interrupt_mode": "message",
  "env": {"FRUITS_CACHE": "$FRUITS_CACHE", "FRUITS_DATA": "$FRUITS_DATA"}
}
EOF
say "kernel: $spec"
