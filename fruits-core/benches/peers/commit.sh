#!/usr/bin/env bash
# What the driver of a job of 100 million photos in Spark does by itself. By hand: it takes half an hour.
#
#   fruits-core/benches/peers/commit.sh
#
# BEFORE: another binary of fruits, asked in the same run. PHOTOS, LATE, STEP: see commit.py.
source "$(dirname "${BASH_SOURCE[0]}")/../../../bootstrap/env.sh"
HERE=$REPO/fruits-core/benches/peers

steps base weights
say "building with the release profile"
cd "$REPO"
cargo build --release --bin fruits
peer=$(cargo build --release --bench commit-peer --message-format=json |
    sed -n 's/.*"name":"commit-peer".*"executable":"\([^"]*\)".*/\1/p')
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH
python3 "$HERE/commit.py" "$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/release/fruits" "$peer" ${BEFORE:+"$BEFORE"}
