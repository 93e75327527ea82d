#!/usr/bin/env bash
# Starts one kernel. Each has a build folder of its own, filled with links to the prebuilt artifacts and removed at its end:
# two kernels that share one break each other.
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" >&2

KIT=$FRUITS_CACHE/kernel
session=$(mktemp -d "$KIT/sessions/XXXXXXXX")
trap 'rm -rf "$session"' EXIT
mkdir -p "$session/target"
cp "$KIT/prebuild/Cargo.lock" "$session/"
for profile in "debug" "$FRUITS_TARGET/debug"; do
    mkdir -p "$session/target/$profile"
    for part in deps build .fingerprint; do
        cp -al "$CARGO_TARGET_DIR/$profile/$part" "$session/target/$profile/"
    done
done

# Cells link fruits-core and Rust's standard library dynamically, and evcxr loads them from another folder than they were linked for.
LD_LIBRARY_PATH=$session/target/$FRUITS_TARGET/debug/deps:$(rustc --print target-libdir)
export LD_LIBRARY_PATH EVCXR_TMPDIR=$session EVCXR_CONFIG_DIR=$KIT/config
evcxr_jupyter --control_file "$1"
