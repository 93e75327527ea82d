# Sourced by the scripts of this project: where things go, and how what is missing gets there.
#
# FRUITS_CACHE   build artifacts, tools and virtual environments; default ~/.cache/fruits
# FRUITS_DATA    the network's weights;                           default ~/.local/share/fruits

set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
FRUITS_CACHE=${FRUITS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fruits}
FRUITS_DATA=${FRUITS_DATA:-${XDG_DATA_HOME:-$HOME/.local/share}/fruits}
mkdir -p "$FRUITS_CACHE" "$FRUITS_DATA"

say() { printf '== %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Stops with a sentence that helps if a tool that we cannot bring along is missing.
need() {
    command -v "$1" >/dev/null || die "$1 is needed: $2"
}

# One of Debian's or Fedora's packages, if this user may install it and its command is missing.
system_package() { # COMMAND PACKAGE
    command -v "$1" >/dev/null && return
    [ "$(id -u)" = 0 ] || return 0
    say "installing the system package $2"
    if command -v apt-get >/dev/null; then
        apt-get install -y -qq "$2" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$2" >/dev/null; }
    elif command -v dnf >/dev/null; then
        dnf install -y -q "$2" >/dev/null
    fi
}

# A virtual environment with exactly what a requirements file names; nothing happens if it is there.
venv() { # NAME REQUIREMENTS
    local folder=$FRUITS_CACHE/venv-$1 stamp
    stamp=$(sha256sum "$2" | cut -d' ' -f1)
    if [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "Python packages of ${2#"$REPO"/} into $folder"
        rm -rf "$folder"
        python3 -m venv "$folder" || die "python3 -m venv does not work: install your system's python3-venv package"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$2"
        echo "$stamp" >"$folder/stamp"
    fi
    VENV=$folder
}

# One of Rust's programs in this version, built once.
tool() { # CRATE VERSION [CARGO-OPTION...]
    local crate=$1 version=$2
    shift 2
    grep -qs "^\"$crate $version " "$BUILT/tools/.crates.toml" && return
    say "building $crate $version"
    env -u RUSTFLAGS -u CARGO_BUILD_TARGET CARGO_TARGET_DIR="$BUILT/tools-target" \
        cargo install --quiet --locked --root "$BUILT/tools" --version "$version" "$crate" "$@"
    rm -rf "$BUILT/tools-target"
}

need cargo "see https://rustup.rs"
need python3 "install Python 3.11 or newer"

system_package cmake cmake
system_package nasm nasm # without it libjpeg-turbo is built without SIMD: the same pixels, more slowly
venv bootstrap "$REPO/bootstrap/requirements.txt"

# Zig compiles C and links everything, against the glibc of 2012: what is built here runs on any Linux since, whatever this machine has.
BUILT=$FRUITS_CACHE/built-for-glibc-2.17
compiler() {
    local gcc_s zig part
    # Panics unwind through Rust's standard library, so all have to use the unwinder that it uses, which is the system's.
    gcc_s=$(ldd "$(rustc --print target-libdir)"/libstd-*.so | sed -n 's/.*libgcc_s\.so\.1 => \([^ ]*\).*/\1/p')
    zig=$(echo "$VENV"/lib/python3.*/site-packages/ziglang/zig)
    mkdir -p "$BUILT/bin"
    part=$(mktemp "$BUILT/bin/.cc-XXXXXX") # others may do the same at this moment
    cat >"$part" <<EOF
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
EOF
    chmod 755 "$part"
    mv "$part" "$BUILT/bin/cc"
}
compiler
export PATH=$BUILT/bin:$BUILT/tools/bin:$PATH:$VENV/bin # the environment has a cmake for those who may not install one

# One set of artifacts for tests, lints and the notebook kernel: evcxr builds with these flags, and always names a target.
FRUITS_TARGET=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=$BUILT/target CARGO_BUILD_TARGET=$FRUITS_TARGET RUSTFLAGS=-Cprefer-dynamic
