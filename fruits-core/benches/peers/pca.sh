#!/usr/bin/env bash
# PCA of features on disk beside scikit-learn's and Spark's on this machine. By hand: it takes many minutes, and 1 GB of disk.
#
#   fruits-core/benches/peers/pca.sh [ROWS...]      default 22688 200000 1000000
#
# BEFORE: another binary of fruits, asked in the same rounds.
source "$(dirname "${BASH_SOURCE[0]}")/../../../bootstrap/env.sh"
HERE=$REPO/fruits-core/benches/peers
[ $# -gt 0 ] || set -- 22688 200000 1000000

steps base
venv alike "$HERE/alike.txt"
SPARK_HOME=$("$REPO/bootstrap/spark.sh" | tail -n 1)
export SPARK_HOME
say "building with the release profile"
cd "$REPO"
cargo build --release --bin fruits
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH
for rows; do
    "$VENV/bin/python" "$HERE/pca.py" "$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/release/fruits" "$rows" ${BEFORE:+"$BEFORE"}
done
