#!/usr/bin/env bash
# Starts one kernel, in a folder of its own that is removed at its end. Lies in a kit: see kit.py.
set -euo pipefail
export FRUITS_KIT=$(dirname "$(readlink -f "$0")")

if [ "$("$FRUITS_TOOLCHAIN/bin/rustc" -vV)" != "$(cat "$FRUITS_KIT/rustc")" ]; then
    echo "error: the Rust compiler is not the one that the notebook kernel was made with; run bootstrap/kernel/install.sh again" >&2
    exit 1
fi

# What kernels that were killed have left: the lock is held as long as any process of a kernel lives.
folder=${TMPDIR:-/tmp}/fruits-kernels-$(id -u)
mkdir -p -m 700 "$folder"
for lock in "$folder"/*/lock; do
    if [ -O "$lock" ] && flock --nonblock "$lock" true; then rm -rf "$(dirname "$lock")"; fi
done
session=$(mktemp -d "$folder/XXXXXXXX")
trap 'rm -rf "$session"' EXIT
exec {lock}>"$session/lock"
flock "$lock"

# evcxr takes cargo from the path, rust-analyzer looks in cargo's home first. Cargo reads settings from folders above the one it works in.
mkdir -p "$session/.cargo" "$session/work" "$session/std/core" # std: see cargo.py
cp "$FRUITS_KIT/config.toml" "$session/.cargo/"
export FRUITS_CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} CARGO_HOME=$FRUITS_KIT
export PATH=$FRUITS_KIT/bin:$FRUITS_TOOLCHAIN/bin:/usr/local/bin:/usr/bin:/bin
export EVCXR_TMPDIR=$session/work EVCXR_CONFIG_DIR=$FRUITS_KIT/config RUST_SRC_PATH=$session/std
# Cells link fruits-core and Rust's standard library dynamically.
LD_LIBRARY_PATH=$FRUITS_KIT/crates:$(echo "$FRUITS_TOOLCHAIN"/lib/rustlib/*/lib)
export LD_LIBRARY_PATH MALLOC_ARENA_MAX=1 # as in fruits-core/src/main.rs
"$FRUITS_EVCXR" --control_file "$1"
