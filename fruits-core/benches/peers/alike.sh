#!/usr/bin/env bash
# Exact search, and what is found of planted faults, beside others on this machine. By hand: it takes 20 GB of memory and many minutes.
#
#   fruits-core/benches/peers/alike.sh [ROWS [PHOTOS]]      default 1000000; PHOTOS: see plant.py, which is left out without any
source "$(dirname "${BASH_SOURCE[0]}")/../../../bootstrap/env.sh"
HERE=$REPO/fruits-core/benches/peers

steps base weights
venv alike "$HERE/alike.txt"
say "building with the release profile"
cd "$REPO"
peer=$(cargo build --release --bench search-peer --message-format=json |
    sed -n 's/.*"name":"search-peer".*"executable":"\([^"]*\)".*/\1/p')
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH
"$VENV/bin/python" "$HERE/search.py" "$peer" "${1:-1000000}"
if [ $# -gt 1 ]; then
    cargo build --release --bin fruits
    export FRUITS_WEIGHTS=$FRUITS_DATA/mobilenet_v2.safetensors
    "$VENV/bin/python" "$HERE/plant.py" "$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/release/fruits" "$2"
fi
