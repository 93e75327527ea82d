#!/usr/bin/env bash
# JupyterHub for one person on this machine, on 127.0.0.1 alone, with the kernel "Rust (fruits)". Ctrl-C ends it and all it started.
#
#   bootstrap/hub.sh [USER] [PORT]     the name to log in with, default: who runs this; the port, default: 8000
#
# FRUITS_HUB_PASSWORD   the password;         default: a random one, shown once
# FRUITS_NOTEBOOKS      the folder to work in; default: ~/fruits. In it are copies of the notebooks, made of those that are not there yet, and
#                       links to the sample photos and to the reports
#
# USER is a name for logging in: notebooks run as the system's user who started this script, and can do what that user can.
password=${FRUITS_HUB_PASSWORD:-}
unset FRUITS_HUB_PASSWORD # only the hub is to know it, not what is installed and started here
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [[ $# = 1 && $1 =~ ^[0-9]+$ ]]; then set -- "$(id -un)" "$1"; fi
user=${1:-$(id -un)}
port=${2:-8000}
[[ $port =~ ^[0-9]+$ && $port -gt 0 && $port -lt 65536 ]] || die "$port is not a port; usage: hub.sh [USER] [PORT]"
folder=${FRUITS_NOTEBOOKS:-$HOME/fruits}
mkdir -p "$folder/notebooks" "$REPO/reports"
folder=$(cd "$folder" && pwd)
for notebook in "$REPO"/notebooks/*; do
    copy=$folder/notebooks/$(basename "$notebook")
    [ -e "$copy" ] || cp "$notebook" "$copy"
done
for link in data-sample reports; do
    [ -e "$folder/$link" ] || ln -sfn "$REPO/$link" "$folder/$link"
done

# A hub a port: its state, and a lock that is held as long as any of its processes lives.
state=$FRUITS_CACHE/hub/$port
mkdir -p "$state"
chmod 700 "$FRUITS_CACHE/hub" "$state"
exec {lock}>"$state/lock"
flock --nonblock "$lock" || die "a hub is running on port $port already"

steps hub kit weights
source "$REPO/bootstrap/hub/proxy.sh"
venv hub "$REPO/bootstrap/hub/requirements.txt"
mkdir -p "$VENV/share/jupyter/lab/settings"
cp "$REPO/bootstrap/hub/overrides.json" "$VENV/share/jupyter/lab/settings/"
"$REPO/bootstrap/nbconvert/install.sh" "$VENV/share/jupyter" "$VENV/etc/jupyter"
"$REPO/bootstrap/kernel/install.sh" "$VENV"

say "working in $folder"
say "what the hub does: $state/log"
if [ -z "$password" ]; then
    password=$(python3 -c 'import secrets; print(secrets.token_urlsafe(18))')
    say "password of $user: $password"
fi
say "http://127.0.0.1:$port (Ctrl-C ends it)"

# A process group of its own: Ctrl-C reaches this script alone, and the hub ends its proxy, servers and kernels in order.
cd "$state" || exit
set -m
FRUITS_HUB_PASSWORD=$password FRUITS_HUB_USER=$user FRUITS_HUB_PORT=$port FRUITS_HUB_PROXY=$PROXY FRUITS_NOTEBOOKS=$folder \
    "$VENV/bin/jupyterhub" --config "$REPO/bootstrap/hub/jupyterhub_config.py" </dev/null >"$state/log" 2>&1 &
hub=$!
trap 'kill "$hub" 2>/dev/null; stopped=1' INT TERM HUP
status=0
while kill -0 "$hub" 2>/dev/null; do wait "$hub" && status=0 || status=$?; done
[ -n "${stopped:-}" ] || { tail -n 5 "$state/log" >&2; exit "$status"; }
