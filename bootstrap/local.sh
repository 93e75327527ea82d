#!/usr/bin/env bash
# The main job on this machine: sets up what is missing, runs the first two notebooks on a folder of photos, ends with their reports.
#
#   bootstrap/local.sh [PHOTOS]      a folder with photos in folders named by label; default: data-sample
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

photos=${1:-$REPO/data-sample}
[ -d "$photos" ] || die "$photos is not a folder"
FRUITS_PHOTOS=$(cd "$photos" && pwd)
FRUITS_REPORT=$REPO/reports/$(basename "$FRUITS_PHOTOS")
FRUITS_OUT=$(mktemp -d)
trap 'rm -rf "$FRUITS_OUT"' EXIT
FRUITS_FEATURES=$FRUITS_OUT
export FRUITS_PHOTOS FRUITS_OUT FRUITS_FEATURES FRUITS_REPORT
steps notebooks
echo "reports:"
printf '%s\n' "$FRUITS_REPORT.html" "$FRUITS_REPORT-pca.html"
