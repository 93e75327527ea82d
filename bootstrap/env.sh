# Sourced by the scripts of this project: where things go, and functions that bring what is missing. Brings nothing itself.
#
# FRUITS_CACHE   build artifacts, tools and virtual environments; default ~/.cache/fruits
# FRUITS_DATA    the network's weights;                           default ~/.local/share/fruits

set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export FRUITS_CACHE=${FRUITS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fruits}
export FRUITS_DATA=${FRUITS_DATA:-${XDG_DATA_HOME:-$HOME/.local/share}/fruits}

say() { printf '== %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Stops with a sentence that helps if a tool that we cannot bring along is missing.
need() {
    command -v "$1" >/dev/null || die "$1 is needed: $2"
}

need cargo "see https://rustup.rs"
need python3 "install Python 3.11 or newer"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed, this is $(python3 -V)"
mkdir -p "$FRUITS_CACHE" "$FRUITS_DATA" || die "there is no place for what is built: set FRUITS_CACHE and FRUITS_DATA"

# Brings steps of steps.toml, with all that they need, and says what happens.
steps() { # [--times] STEP [STEP...]
    python3 "$REPO/bootstrap/steps.py" "$@"
}

# In a step, what tools say of their progress is read and logged; by themselves they say nothing.
quiet=(--quiet)
[ -z "${FRUITS_STEP:-}" ] || quiet=()

# One of Debian's or Fedora's packages, if this user may install it and its command is missing.
system_package() { # COMMAND PACKAGE
    command -v "$1" >/dev/null && return
    [ "$(id -u)" = 0 ] || return 0
    say "installing the system package $2"
    (
        flock 9 # one at a time
        if command -v apt-get >/dev/null; then
            apt-get install -y -qq "$2" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$2" >/dev/null; }
        elif command -v dnf >/dev/null; then
            dnf install -y -q "$2" >/dev/null
        fi
    ) 9>"$FRUITS_CACHE/system.lock"
}

# A virtual environment with exactly what a requirements file names; nothing happens if it is there.
venv() { # NAME REQUIREMENTS
    local folder=$FRUITS_CACHE/venv-$1 stamp
    stamp=$(sha256sum "$2" | cut -d' ' -f1)
    if [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "Python packages of ${2#"$REPO"/} into $folder"
        rm -rf "$folder"
        python3 -m venv "$folder" || die "python3 -m venv does not work: install your system's python3-venv package"
        "$folder/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check --requirement "$2"
        echo "$stamp" >"$folder/stamp"
    fi
    VENV=$folder
}

# One of Rust's programs in this version, built once.
tool() { # CRATE VERSION [CARGO-OPTION...]
    local crate=$1 version=$2 target=$BUILT/tools-target/$1
    shift 2
    grep -qs "^\"$crate $version " "$BUILT/tools/.crates.toml" && return
    say "building $crate $version"
    env -u RUSTFLAGS -u CARGO_BUILD_TARGET CARGO_TARGET_DIR="$target" \
        cargo install "${quiet[@]}" --locked --root "$BUILT/tools" --version "$version" "$crate" "$@"
    rm -rf "$target"
}

# What is built here runs on any Linux since 2012, whatever this machine has: base.sh makes the compiler.
BUILT=$FRUITS_CACHE/built-for-glibc-2.17
VENV=$FRUITS_CACHE/venv-bootstrap
export PATH=$BUILT/bin:$BUILT/tools/bin:$PATH:$VENV/bin # the environment has a cmake for those who may not install one

# One set of artifacts for tests, lints and the notebook kernel: evcxr builds with these flags, and always names a target.
FRUITS_TARGET=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=$BUILT/target CARGO_BUILD_TARGET=$FRUITS_TARGET RUSTFLAGS=-Cprefer-dynamic
