#!/usr/bin/env bash
# Every check of the project. Installs what it misses; quick when run again.
source "$(dirname "${BASH_SOURCE[0]}")/../bootstrap/env.sh"
cd "$REPO"
system_package chromium chromium # for the tests of what a page does

"$REPO/bootstrap/weights.sh"
export FRUITS_WEIGHTS=$FRUITS_DATA/mobilenet_v2.safetensors

say "format, lints, documentation"
cargo fmt --all --check
cargo clippy --quiet --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps

venv tests "$REPO/tests/requirements.txt"
tool s3s-fs 0.14.1 --features binary
CARGO_PROFILE_RELEASE_OPT_LEVEL=0 tool burn-onnx 0.22.0 # it converts one network
export FRUITS_TEST_PYTHON=$VENV/bin/python FRUITS_TEST_S3S_FS=$BUILT/tools/bin/s3s-fs # two that play S3

FRUITS_TEST_SPARK=$("$REPO/bootstrap/spark.sh" 3.3.4 | tail -n1):$("$REPO/bootstrap/spark.sh" 4.0.2 | tail -n1):$("$REPO/bootstrap/spark.sh" | tail -n1)
export FRUITS_TEST_SPARK

say "Rust tests"
cargo test --workspace

say "end-to-end tests"
"$REPO/bootstrap/kernel/install.sh" "$VENV"
# Built with -Cprefer-dynamic, the binary needs Rust's standard library at run time.
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH
JUPYTER_PATH=$VENV/share/jupyter FRUITS="$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/debug/fruits" \
    "$VENV/bin/python" -m pytest -q "$REPO/tests" --ignore "$REPO/tests/cloud"

say "tests of the cloud's templates and scripts"
venv cloud "$REPO/tests/cloud/requirements.txt"
"$VENV/bin/python" -m pytest -q "$REPO/tests/cloud"
