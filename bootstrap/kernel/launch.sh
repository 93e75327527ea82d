#!/usr/bin/env bash
# Starts one kernel, in a folder of its own that is removed at its end. Lies in a kit: see kit.py.
set -euo pipefail
FRUITS_KIT=$(dirname "$(readlink -f "$0")")
export FRUITS_KIT
exec {kit}<"$FRUITS_KIT"
flock --shared "$kit" # as long as the kernel lives, install.sh leaves its kit alone

die() {
    echo "error: $*" >&2
    exit 1
}
if [ "$("$FRUITS_TOOLCHAIN/bin/rustc" -vV)" != "$(cat "$FRUITS_KIT/rustc")" ]; then
    die "the Rust compiler is not the one that the notebook kernel was made with; run bootstrap/kernel/install.sh again"
fi

# Kernels lie in a folder that is this user's alone. What killed ones have left is removed: a kernel's folder is locked as long as any of
# its processes lives. The lock on the whole keeps kernels that start together apart.
folder=${TMPDIR:-/tmp}/fruits-kernels-$(id -u)
mkdir -m 700 "$folder" 2>/dev/null || true
[ ! -L "$folder" ] && [ -O "$folder" ] && [ "$(stat -c %a "$folder")" = 700 ] || die "$folder is not this user's alone"
exec {all}<"$folder"
flock "$all"
for old in "$folder"/*/; do
    if [ -d "$old" ] && flock --nonblock "$old" true; then rm -rf "$old"; fi
done
session=$(mktemp -d "$folder/XXXXXXXX")
trap 'rm -rf "$session"' EXIT
exec {lock}<"$session"
flock "$lock"
exec {all}<&-

# evcxr takes cargo from the path, rust-analyzer looks in cargo's home first. Cargo reads settings from folders above the one it works in.
mkdir -p "$session/.cargo" "$session/work" "$session/no-std/core"
cp "$FRUITS_KIT/config.toml" "$session/.cargo/"
# rust-analyzer reads all anew when a cell has other dependencies than the one before. The first that evcxr runs is its own and has none: it
# gets an empty standard library; cargo.py turns the link when there are some.
ln -s no-std "$session/std"
export FRUITS_CARGO_HOME=${CARGO_HOME:-${HOME:-}/.cargo} CARGO_HOME=$FRUITS_KIT
export PATH=$FRUITS_KIT/bin:$FRUITS_TOOLCHAIN/bin:/usr/local/bin:/usr/bin:/bin
export EVCXR_TMPDIR=$session/work EVCXR_CONFIG_DIR=$FRUITS_KIT/config RUST_SRC_PATH=$session/std
# Cells link fruits-core and Rust's standard library dynamically.
LD_LIBRARY_PATH=$FRUITS_KIT/crates:$FRUITS_TOOLCHAIN/lib/rustlib/$(sed -n 's/^host: //p' "$FRUITS_KIT/rustc")/lib
export LD_LIBRARY_PATH MALLOC_ARENA_MAX=1 # as in fruits-core/src/main/main.rs
export FRUITS=${FRUITS:-$FRUITS_KIT/spark/fruits} # what `Spark::local` starts in tasks
"$FRUITS_EVCXR" --control_file "$1"
