#!/usr/bin/env bash
# One part of the checks: see run.sh, which brings what it needs.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPO"

export FRUITS_TEST_ALL=1 # a Rust test that finds something missing fails
# Kernels lie below the temporary folder; parts that run side by side shall not see each other's.
TMPDIR=$(mktemp -d)
trap 'rm -rf "$TMPDIR"' EXIT
export TMPDIR

case ${1:-} in
build) cargo test "${quiet[@]}" --workspace --no-run ;;
lints)
    cargo fmt --all --check
    cargo clippy "${quiet[@]}" --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc "${quiet[@]}" --workspace --no-deps
    ;;
rust)
    targets=()
    for file in fruits-core/tests/*.rs; do
        [ "$file" = fruits-core/tests/spark.rs ] || targets+=(--test "$(basename "$file" .rs)")
    done
    cargo test "${quiet[@]}" --workspace --lib --bins "${targets[@]}"
    cargo test "${quiet[@]}" --workspace --doc
    ;;
spark) cargo test "${quiet[@]}" --workspace --test spark ;;
command) # all that no other part has
    files=()
    for file in tests/test_*.py; do
        [[ $file =~ _(notebooks|kernel|spark|hub|bundle).py$ ]] || files+=("$file")
    done
    python -m pytest -q "${files[@]}"
    ;;
notebooks) python -m pytest -q tests/test_{notebooks,kernel,spark}.py ;;
hub) python -m pytest -q tests/test_hub.py ;;
bundle) python -m pytest -q tests/test_bundle.py ;;
cloud) "$FRUITS_CACHE/venv-cloud/bin/python" -m pytest -q tests/cloud ;;
*) die "there is no part ${1:-}" ;;
esac
