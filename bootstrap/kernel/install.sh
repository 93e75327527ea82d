#!/usr/bin/env bash
# Installs the notebook kernel "Rust (fruits)" into a Jupyter data folder, by default the user's own.
#
#   bootstrap/kernel/install.sh [PREFIX]     PREFIX/share/jupyter/kernels/fruits; a virtual environment is a prefix
source "$(dirname "${BASH_SOURCE[0]}")/names.sh"

steps kit weights explorer
spec=${1:-$HOME/.local}/share/jupyter/kernels/fruits
kernelspec "$spec" "$KITS/current" "$TOOLCHAIN" "$EVCXR" "$FRUITS_DATA/mobilenet_v2.safetensors"
echo "kernel: $spec"
