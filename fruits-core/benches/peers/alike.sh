#!/usr/bin/env bash
# Exact search beside others on this machine. By hand: it takes gigabytes of memory and disk, and many minutes.
#
#   fruits-core/benches/peers/alike.sh [ROWS]       default 1000000
source "$(dirname "${BASH_SOURCE[0]}")/../../../bootstrap/env.sh"
HERE=$REPO/fruits-core/benches/peers

steps base
venv alike "$HERE/alike.txt"
say "building with the release profile"
cd "$REPO"
peer=$(cargo build --release --bench search-peer --message-format=json |
    sed -n 's/.*"name":"search-peer".*"executable":"\([^"]*\)".*/\1/p')
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH
"$VENV/bin/python" "$HERE/search.py" "$peer" "${1:-1000000}"
