#!/usr/bin/env bash
# Starts one kernel. Each has a build folder of its own, made of the prebuilt artifacts and removed at its end: two kernels that share
# one break each other.
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" >&2

KIT=$FRUITS_CACHE/kernel
(cd "$KIT/prebuild" && cargo build --quiet) # nothing to do, unless the sources have changed

session=$(mktemp -d "$KIT/sessions/XXXXXXXX")
trap 'rm -rf "$session"' EXIT
cp "$KIT/prebuild/Cargo.lock" "$session/"
for profile in debug "$FRUITS_TARGET/debug"; do
    mkdir -p "$session/target/$profile"
    # Compilers replace what lies in deps, so links will do there; cargo and build scripts write into the files of the others.
    cp -al "$CARGO_TARGET_DIR/$profile/deps" "$session/target/$profile/"
    cp -a "$CARGO_TARGET_DIR/$profile"/{build,.fingerprint} "$session/target/$profile/"
done

# rust-analyzer looks for cargo in cargo's home first; evcxr asks rustup, and where there is none, takes the first on the path: see cargo.py.
mkdir -p "$session/home/bin"
ln -s "$REPO/bootstrap/kernel/cargo.py" "$session/home/bin/cargo"
toolchain=$(rustc --print sysroot)/bin
export FRUITS_CARGO=$toolchain/cargo FRUITS_CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} CARGO_HOME=$session/home
export PATH=$session/home/bin:$toolchain:$FRUITS_CACHE/tools/bin:$VENV/bin:/usr/local/bin:/usr/bin:/bin

# Cells link fruits-core and Rust's standard library dynamically, and evcxr loads them from another folder than they were linked for.
LD_LIBRARY_PATH=$session/target/$FRUITS_TARGET/debug/deps:$(rustc --print target-libdir)
export MALLOC_ARENA_MAX=1 # as in fruits-core/src/main.rs
export LD_LIBRARY_PATH EVCXR_TMPDIR=$session EVCXR_CONFIG_DIR=$KIT/config
evcxr_jupyter --control_file "$1"
