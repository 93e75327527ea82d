#!/usr/bin/env bash
# Builds what the nodes of a cluster need, into a folder whose name is a hash of what is in it. The last line printed is the folder:
#
#   fruits.tar.gz   for /opt/fruits: the binary with its weights, the notebook kernel with its compiler, the notebooks
#   node.sh         the bootstrap action that puts it there
#   manifest.json   versions, sizes, SHA-256
#
# FRUITS_PROFILE    cargo's profile for the binary; default: release
source "$(dirname "${BASH_SOURCE[0]}")/kernel/names.sh"

steps kit weights explorer
kit=$(readlink -f "$KITS/current")
say "building fruits"
libraries=lib/rustlib/$FRUITS_TARGET/lib
program=$(cd "$REPO" && cargo rustc --package fruits-core --profile "${FRUITS_PROFILE:-release}" --bin fruits --message-format=json \
    -- "-Clink-arg=-Wl,-rpath,\$ORIGIN/../toolchain/$libraries" | sed -n 's/.*"name":"fruits".*"executable":"\([^"]*\)".*/\1/p')
version=$(LD_LIBRARY_PATH=$TOOLCHAIN/$libraries "$program" --version)

bundles=$FRUITS_CACHE/bundle
mkdir -p "$bundles"
inputs=$(cat "$program" "$REPO"/bootstrap/{bundle.sh,emr/*.sh,emr/check_kernel.py,nbconvert/*.*,nbconvert/offline/*} "$REPO"/notebooks/*.ipynb <(
    echo "$kit"
    ls "$FRUITS_DATA"
) | sha256sum | cut -d' ' -f1)
if bundle=$(cat "$bundles/$inputs" 2>/dev/null) && [ -f "$bundle/manifest.json" ]; then
    say "the bundle is there"
    echo "$bundle"
    exit
fi

say "putting the bundle together"
root=$bundles/root part=$bundles/part
rm -rf "$root" "$part"
mkdir -p "$root"/{bin,emr,notebooks,toolchain/bin,toolchain/lib/rustlib/"$FRUITS_TARGET"/{bin,lib}} "$part"
cp "$program" "$EVCXR" "$FRUITS_DATA/mobilenet_v2.safetensors" "$root/bin/"
for library in "$FRUITS_DATA"/deck.gl-*.js.gz; do
    if [ -f "$library" ]; then cp "$library" "$root/bin/"; fi
done
cp "$REPO"/notebooks/*.ipynb "$root/notebooks/"
cp "$REPO"/bootstrap/emr/{jupyterhub.sh,awake.sh,check_kernel.py} "$root/emr/"
cp -r "$REPO/bootstrap/nbconvert" "$root/"
kernelspec "$root/kernelspec" /opt/fruits/{kit,toolchain,bin/evcxr_jupyter,bin/mobilenet_v2.safetensors}

# Of the compiler what compiles and links a cell: itself, its linker, and the standard library as a shared one.
cp "$TOOLCHAIN/bin/rustc" "$root/toolchain/bin/"
cp "$TOOLCHAIN"/lib/*.so* "$root/toolchain/lib/"
cp "$TOOLCHAIN/lib/rustlib/$FRUITS_TARGET/bin/rust-lld" "$root/toolchain/lib/rustlib/$FRUITS_TARGET/bin/"
cp "$TOOLCHAIN/$libraries"/{*.rmeta,libstd-*.so,libcompiler_builtins-*.rlib} "$root/toolchain/$libraries/"

# Where this machine keeps its files is of no use there.
cp -r "$kit" "$root/kit"
rm "$root/kit/bin/cc"
sed -i "s|$REPO|/opt/fruits/repository|g; s|$CARGO_TARGET_DIR|/opt/fruits/target|g" \
    "$root"/kit/{kit.json,metadata.json,config/evcxr.toml}

tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - . | gzip -n >"$part/fruits.tar.gz"
cp "$REPO/bootstrap/emr/node.sh" "$part/"
python3 - "$part" "$root" "$(rustc -V)" "$EVCXR_VERSION" "$version" <<'EOF'
import hashlib, json, os, pathlib, sys

part, root, rustc, evcxr, fruits = sys.argv[1:]
files = {name: pathlib.Path(part, name).read_bytes() for name in ("fruits.tar.gz", "node.sh")}
manifest = {
    "versions": {"fruits": fruits, "rustc": rustc, "evcxr_jupyter": evcxr, "glibc": "2.17 or newer"},
    "weights_sha256": hashlib.sha256(pathlib.Path(root, "bin/mobilenet_v2.safetensors").read_bytes()).hexdigest(),
    "unpacked_bytes": sum(file.stat().st_size for file in pathlib.Path(root).rglob("*") if file.is_file()),
    "files": {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()},
}
pathlib.Path(part, "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
EOF
bundle=$bundles/$(sha256sum "$part/manifest.json" | cut -c1-16)
# The one before is of no use any more: a cluster has its own copy.
find "$bundles" -mindepth 1 -maxdepth 1 ! -name part -exec rm -rf {} +
mv "$part" "$bundle"
echo "$bundle" >"$bundles/$inputs"
say "$(du -h "$bundle/fruits.tar.gz" | cut -f1) in fruits.tar.gz, after $SECONDS s"
echo "$bundle"
