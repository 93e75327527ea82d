#!/usr/bin/env bash
# Spark for this machine alone: for trying out what a cluster does, and for tests. `Spark::local()` finds it. The last line is its folder.
#
#   bootstrap/spark.sh [VERSION]     3.3.4, 3.5.9 (default) or 4.0.2
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

version=${1:-3.5.9}
case $version in
3.3.4) sha256=1f866be47130a522355240949ed50d9812a8f327bd7619f043ffe07fbcf7f7b6 ;;
3.5.9) sha256=ea27adc39ddac9413b8951e45aa748cbed6c785971b81386efc41938f6243d93 ;;
4.0.2) sha256=938b4a1883383374d331ebfcb5d92debfa1891cf3d7a6d730520a1a2d23f1a90 ;;
*) die "$version is not one of 3.3.4, 3.5.9, 4.0.2" ;;
esac
system_package java default-jre-headless
need java "Spark needs Java 17: install your system's openjdk-17-jre-headless or java-17-openjdk-headless"

spark=$FRUITS_CACHE/spark-$version
if [ ! -d "$spark" ]; then
    say "Spark $version into $spark"
    venv spark "$REPO/bootstrap/spark/requirements.txt"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    # The Python package carries all of Spark; it is taken apart, not installed.
    echo "pyspark==$version --hash=sha256:$sha256" >"$download/wanted"
    "$VENV/bin/python" -m pip download "${quiet[@]}" --disable-pip-version-check --no-deps --no-build-isolation --require-hashes \
        --dest "$download" --requirement "$download/wanted"
    tar -xzf "$download/pyspark-$version.tar.gz" -C "$download" "pyspark-$version/deps"
    mv "$download/pyspark-$version/deps" "$spark"
fi
ln -sfn "$spark" "$FRUITS_DATA/spark"
echo "$spark"
