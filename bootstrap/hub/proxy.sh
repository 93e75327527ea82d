# Sourced: brings the proxy that JupyterHub needs before it, into PROXY.
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"

system_package npm npm
need npm "JupyterHub's proxy is a Node.js program: install Node.js 20 or newer, with npm"
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || die "Node.js 20 or newer is needed, this is $(node --version)"
PROXY=$FRUITS_CACHE/hub-proxy
if ! cmp -s "$REPO/bootstrap/hub/package-lock.json" "$PROXY/stamp"; then
    say "JupyterHub's proxy into $PROXY"
    mkdir -p "$PROXY"
    cp "$REPO"/bootstrap/hub/package{,-lock}.json "$PROXY/"
    npm ci --prefix "$PROXY" --ignore-scripts --no-audit --no-fund --loglevel=error
    cp "$REPO/bootstrap/hub/package-lock.json" "$PROXY/stamp"
fi
