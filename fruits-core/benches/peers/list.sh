#!/usr/bin/env bash
# Listing a million photos on S3, and some on this machine as if they lay on a network. By hand: it takes half an hour.
#
#   fruits-core/benches/peers/list.sh
#
# BEFORE: another binary of list-peer, asked in the same rounds. PHOTOS, ROUNDS, KIND: see list.py.
source "$(dirname "${BASH_SOURCE[0]}")/../../../bootstrap/env.sh"
HERE=$REPO/fruits-core/benches/peers

steps base
say "building with the release profile"
cd "$REPO"
peer=$(cargo build --release --bench list-peer --message-format=json |
    sed -n 's/.*"name":"list-peer".*"executable":"\([^"]*\)".*/\1/p')
LD_LIBRARY_PATH=$(rustc --print target-libdir)
export LD_LIBRARY_PATH
python3 "$HERE/list.py" "$peer" ${BEFORE:+"$BEFORE"}
