#!/usr/bin/env bash
# The map of photos beside umap-learn, openTSNE and scikit-learn on this machine. By hand: it takes ten minutes.
#
#   fruits-core/benches/peers/map.sh PHOTOS
source "$(dirname "${BASH_SOURCE[0]}")/../../../bootstrap/env.sh"
HERE=$REPO/fruits-core/benches/peers
[ $# = 1 ] || die "usage: map.sh PHOTOS"

steps base weights
venv map "$HERE/map.txt"
say "building with the release profile"
cd "$REPO"
peer=$(cargo build --release --bench map-peer --message-format=json |
    sed -n 's/.*"name":"map-peer".*"executable":"\([^"]*\)".*/\1/p')
cargo build --release --bin fruits
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH FRUITS_WEIGHTS=$FRUITS_DATA/mobilenet_v2.safetensors
"$VENV/bin/python" "$HERE/map.py" "$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/release/fruits" "$peer" "$1"
