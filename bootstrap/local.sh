#!/usr/bin/env bash
# The main job on this machine: sets up what is missing, runs the first two notebooks on a folder of photos, ends with their reports.
#
#   bootstrap/local.sh [PHOTOS]      a folder with photos in folders named by label; default: data-sample
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

photos=${1:-$REPO/data-sample}
[ -d "$photos" ] || die "$photos is not a folder"
photos=$(cd "$photos" && pwd)
name=$REPO/reports/$(basename "$photos")

"$REPO/bootstrap/weights.sh"
"$REPO/bootstrap/kernel/install.sh" "$VENV"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export FRUITS_PHOTOS=$photos FRUITS_OUT=$scratch/out FRUITS_FEATURES=$scratch/out
for job in "01-features-and-pca:$name.html" "02-reading-the-pca:$name-pca.html"; do
    say "running notebooks/${job%%:*}.ipynb on $photos"
    "$VENV/bin/python" "$REPO/bootstrap/run_notebook.py" "$REPO/notebooks/${job%%:*}.ipynb" "${job#*:}"
done
say "reports:"
echo "$name.html"
echo "$name-pca.html"
