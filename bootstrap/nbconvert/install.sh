#!/bin/sh
# Lets "Save and Export Notebook As: HTML" of a Jupyter server give the pages that run_notebook.py gives.
#
#   install.sh DATA CONFIG     Jupyter's folders of data and of settings; settings that are there stay
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/nbconvert/templates" "$2"
rm -rf "$1/nbconvert/templates/offline"
cp -r "$here/offline" "$1/nbconvert/templates/"
# Older servers read the second.
for settings in jupyter_server_config.json jupyter_notebook_config.json; do
    [ -e "$2/$settings" ] || cp "$here/settings.json" "$2/$settings"
done
