#!/usr/bin/env bash
# The main job on this machine: sets up what is missing, runs the notebook on a folder of photos, ends with a report.
#
#   bootstrap/local.sh [PHOTOS]      a folder with photos in folders named by label; default: data-sample
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

photos=${1:-$REPO/data-sample}
[ -d "$photos" ] || die "$photos is not a folder"
photos=$(cd "$photos" && pwd)
report=$REPO/reports/$(basename "$photos").html

"$REPO/bootstrap/weights.sh"
"$REPO/bootstrap/kernel/install.sh" "$VENV"

say "running notebooks/01-features-and-pca.ipynb on $photos"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
FRUITS_PHOTOS=$photos FRUITS_OUT=$scratch/out \
    "$VENV/bin/python" "$REPO/bootstrap/run_notebook.py" "$REPO/notebooks/01-features-and-pca.ipynb" "$report"
say "report:"
echo "$report"
