#!/usr/bin/env bash
# Gathers what kernels need, of what crates.sh has built, in a folder of its own: see kit.py.
source "$(dirname "${BASH_SOURCE[0]}")/names.sh"
lock_kits

# A kit's name says what it was made of, so an unchanged one stays, and kernels that run keep the one that they began with.
name=kit-$(cat "$HERE"/{kit.sh,kit.py,first.py,cargo.py,launch.sh,relay.py,prelude.rs,worker.rs} "$BUILD/Cargo.toml" "$BUILD/.cargo/config.toml" <(rustc -vV) \
    <(stat -c '%i %Y' "$CARGO_TARGET_DIR/$FRUITS_TARGET/debug/deps/libfruits_kernel.so") | sha256sum | cut -c1-12)
kit=$KITS/$name
if [ ! -d "$kit" ]; then
    say "a kit for kernels into $kit"
    rm -rf "$kit.part"
    python3 "$HERE/kit.py" "$BUILD" "$CARGO_TARGET_DIR" "$FRUITS_TARGET" "$TOOLCHAIN" "$kit.part"
    mkdir "$kit.part/bin" "$kit.part/config"
    # With the interpreter that there is now: a kernel's path need not have one.
    sed "1s|.*|#!$(python3 -c 'import sys; print(sys.executable)') -IS|" "$HERE/cargo.py" >"$kit.part/bin/cargo"
    chmod +x "$kit.part/bin/cargo"
    cp "$BUILT/bin/cc" "$kit.part/bin/" # for cells with other crates
    cp "$HERE"/{launch.sh,relay.py} "$BUILD/.cargo/config.toml" "$kit.part/"
    rustc -vV >"$kit.part/rustc"
    # Dependencies that stand before the prelude are compiled with it; those of the configuration would be by themselves.
    cat >"$kit.part/config/evcxr.toml" <<END
[evcxr]
opt_level = "0"
prelude = '''
$(sed -n '/^\[dependencies\]/,/^$/{/=/s/^/:dep /p}' "$BUILD/Cargo.toml")
$(cat "$HERE/prelude.rs")
'''
END
    mv -T "$kit.part" "$kit"
fi
# A kernel is started once: it shows that there is one, and leaves in the kit what evcxr compiles before a kernel is ready.
if [ ! -d "$kit/cells" ]; then
    say "a first kernel"
    kernelspec "$kit/first/kernels/fruits" "$kit" "$TOOLCHAIN" "$EVCXR" "$FRUITS_DATA/mobilenet_v2.safetensors"
    FRUITS_KEEP_CELLS=1 JUPYTER_PATH=$kit/first "$VENV/bin/python" "$HERE/first.py" || { rm -rf "$kit" && die "the kernel does not start"; }
    rm -r "$kit/first"
fi
# Kernels hold a lock on their kit, and kernelspecs go by the link.
ln -sfn "$name" "$KITS/current"
for old in "$KITS"/kit-*; do
    if [ "$old" != "$kit" ] && flock --nonblock "$old" true; then rm -rf "$old"; fi
done
