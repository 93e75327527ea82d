#!/usr/bin/env bash
# Builds evcxr, the program that compiles and runs cells, and brings what the rust-analyzer in it reads.
source "$(dirname "${BASH_SOURCE[0]}")/names.sh"

if [ ! -d "$TOOLCHAIN/lib/rustlib/src/rust/library" ]; then
    say "adding Rust's own sources, which evcxr reads to know types"
    rustup component add rust-src
fi

# Of the rust-analyzer, what finds the types of variables is worth optimising a little; the rest is for editors, or waits for the network.
options=(--config profile.release.opt-level=1 --config 'profile.release.lto="off"')
for crate in evcxr evcxr_jupyter ra_ap_ide{,_assists,_completion,_diagnostics,_ssr} ra_ap_project_model tokio zeromq; do
    options+=(--config "profile.release.package.$crate.opt-level=0")
done
tool evcxr_jupyter "$EVCXR_VERSION" "${options[@]}"
