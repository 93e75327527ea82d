# Sourced by what builds the notebook kernel and what installs it: where its parts lie, and what Jupyter reads to know it.
# shellcheck disable=SC2034 # for those who source this
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"

HERE=$REPO/bootstrap/kernel
KITS=$FRUITS_CACHE/kernel
BUILD=$KITS/build # evcxr compiles cells in a crate like the one that lies there
EVCXR_VERSION=0.22.0
EVCXR=$BUILT/tools/bin/evcxr_jupyter
TOOLCHAIN=$(rustc --print sysroot)

# Holds until this script ends, so that there is one installation at a time.
lock_kits() {
    mkdir -p "$KITS"
    exec {kits}>"$KITS/lock"
    flock "$kits"
}

kernelspec() { # FOLDER KIT TOOLCHAIN EVCXR WEIGHTS
    mkdir -p "$1"
    cat >"$1/kernel.json" <<END
{
  "argv": ["python3", "$2/relay.py", "$2/launch.sh", "{connection_file}"],
  "display_name": "Rust (fruits)",
  "language": "rust",
  "interrupt_mode": "message",
  "env": {
    "FRUITS_TOOLCHAIN": "$3",
    "FRUITS_EVCXR": "$4",
    "FRUITS_WEIGHTS": "$5"
  }
}
END
}
