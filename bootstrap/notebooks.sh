#!/usr/bin/env bash
# Runs the first two notebooks on the photos in FRUITS_PHOTOS and writes their reports: see local.sh.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$REPO/bootstrap/kernel/install.sh" "$VENV"
say "notebooks on $FRUITS_PHOTOS"
"$VENV/bin/python" "$REPO/bootstrap/run_notebook.py" \
    "$REPO/notebooks/01-features-and-pca.ipynb" "$FRUITS_REPORT.html" \
    "$REPO/notebooks/02-reading-the-pca.ipynb" "$FRUITS_REPORT-pca.html"
