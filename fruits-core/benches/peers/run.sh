#!/usr/bin/env bash
# The network, and a whole run, beside others on this machine. By hand: it installs gigabytes into an environment of its own.
#
#   fruits-core/benches/peers/run.sh [PHOTOS]       PHOTOS: a folder; default data-sample
#
# AVX2=1 hides AVX-512 and AMX from all contenders.
source "$(dirname "${BASH_SOURCE[0]}")/../../../bootstrap/env.sh"
HERE=$REPO/fruits-core/benches/peers
photos=$(cd "${1:-$REPO/data-sample}" && pwd)

steps base weights
export FRUITS_WEIGHTS=$FRUITS_DATA/mobilenet_v2.safetensors
venv peers "$HERE/requirements.txt"
say "building with the release profile"
cd "$REPO"
cargo build --release --bin fruits
peer=$(cargo build --release --bench peer --message-format=json |
    sed -n 's/.*"name":"peer".*"executable":"\([^"]*\)".*/\1/p')
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$VENV/bin/python" "$REPO/fruits-core/examples/export_onnx.py" "$FRUITS_WEIGHTS" "$scratch/model.onnx"
options=()
if [ "${AVX2:-}" ]; then
    cc -O2 -shared -fPIC -o "$scratch/no_avx512.so" "$HERE/no_avx512.c"
    export LD_PRELOAD=$scratch/no_avx512.so
    options=(--f32 --no-torch --no-keras)
fi
"$VENV/bin/python" "$HERE/peers.py" "$photos" "$scratch/model.onnx" "$FRUITS_WEIGHTS" "$peer" "${options[@]}"
"$VENV/bin/python" "$HERE/whole.py" "$photos" "$scratch/model.onnx" "$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/release/fruits"
