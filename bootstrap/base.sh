#!/usr/bin/env bash
# What all else is built and run with: CMake, NASM, Python packages, and a C compiler for old machines.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

system_package cmake cmake
system_package nasm nasm # without it libjpeg-turbo is built without SIMD: the same pixels, more slowly
venv bootstrap "$REPO/bootstrap/requirements.txt"

# Zig compiles C and links everything, against the glibc of 2012. Panics unwind through Rust's standard library, so all have to use the
# unwinder that it uses, which is the system's.
gcc_s=$(ldd "$(rustc --print target-libdir)"/libstd-*.so | sed -n 's/.*libgcc_s\.so\.1 => \([^ ]*\).*/\1/p')
zig=$(echo "$VENV"/lib/python3.*/site-packages/ziglang/zig)
mkdir -p "$BUILT/bin"
part=$(mktemp "$BUILT/bin/.cc-XXXXXX") # others may do the same at this moment
cat >"$part" <<CC
#!/bin/sh
for argument do
    shift
    case \$argument in
    -lgcc_s) set -- "\$@" "$gcc_s" ;;
    --target=*) ;; # Rust's name of it, which Zig does not know
    *) set -- "\$@" "\$argument" ;;
    esac
done
export ZIG_GLOBAL_CACHE_DIR=$FRUITS_CACHE/zig
exec "$zig" cc -target $(uname -m)-linux-gnu.2.17 -fno-sanitize=undefined -Wl,--allow-shlib-undefined "\$@"
CC
chmod 755 "$part"
mv "$part" "$BUILT/bin/cc"
