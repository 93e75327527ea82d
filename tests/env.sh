# Sourced: the environment of the tests, where everything is that they need once run.sh has brought it.
source "$(dirname "${BASH_SOURCE[0]}")/../bootstrap/env.sh"

export FRUITS_WEIGHTS=$FRUITS_DATA/mobilenet_v2.safetensors
export FRUITS=$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/debug/fruits
# Two that play S3, and Spark. With the last of its versions, things are made to die.
export FRUITS_TEST_PYTHON=$FRUITS_CACHE/venv-tests/bin/python FRUITS_TEST_S3S_FS=$BUILT/tools/bin/s3s-fs
export FRUITS_TEST_SPARK=$FRUITS_CACHE/spark-3.3.4:$FRUITS_CACHE/spark-4.0.2:$FRUITS_CACHE/spark-3.5.9
export JUPYTER_PATH=$FRUITS_CACHE/venv-tests/share/jupyter PATH=$FRUITS_CACHE/venv-tests/bin:$PATH
# Built with -Cprefer-dynamic, the binary needs Rust's standard library at run time.
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH
