#!/usr/bin/env bash
# Puts deck.gl, with which pages draw very many points, where fruits looks for it: beside the network's weights. Does nothing if it is there. Without
# npm, which fetches it, pages have a plain plot.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

VERSION=9.4.0
LIBRARY=$FRUITS_DATA/deck.gl-$VERSION.js.gz
if [ ! -f "$LIBRARY" ]; then
    system_package npm npm
    if ! command -v npm >/dev/null; then
        say "without npm, pages draw without WebGL; once Node.js is there, run bootstrap/explorer.sh"
        exit
    fi
    say "fetching deck.gl $VERSION"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    if ! npm pack --silent --ignore-scripts --pack-destination "$download" "@deck.gl/core@$VERSION" >/dev/null; then
        say "npm does not get deck.gl: pages draw without WebGL until bootstrap/explorer.sh has run"
        exit
    fi
    python3 "$REPO/bootstrap/explorer.py" "$download/deck.gl-core-$VERSION.tgz" \
        28328885fe8dd7c5411eb681930a3395a41f26aa0a636cb5d1a4c2ef5f59dd38 "$LIBRARY"
fi
echo "explorer: $LIBRARY"
