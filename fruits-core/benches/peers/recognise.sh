#!/usr/bin/env bash
# Recognition beside scikit-learn on this machine. By hand: it takes an hour.
#
#   fruits-core/benches/peers/recognise.sh PHOTOS      photos of videos: see recognise.py
source "$(dirname "${BASH_SOURCE[0]}")/../../../bootstrap/env.sh"
HERE=$REPO/fruits-core/benches/peers
[ $# = 1 ] || die "usage: recognise.sh PHOTOS"

steps base weights
venv alike "$HERE/alike.txt"
say "building with the release profile"
cd "$REPO"
peer=$(cargo build --release --bench recognise-peer --message-format=json |
    sed -n 's/.*"name":"recognise-peer".*"executable":"\([^"]*\)".*/\1/p')
cargo build --release --bin fruits
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH FRUITS_WEIGHTS=$FRUITS_DATA/mobilenet_v2.safetensors
"$VENV/bin/python" "$HERE/recognise.py" "$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/release/fruits" "$peer" "$1"
