#!/usr/bin/env bash
# The main job on this machine: sets up what is missing, runs the first two notebooks on a folder of photos, ends with their reports.
#
#   bootstrap/local.sh [PHOTOS]      a folder with photos in folders named by label; default: data-sample
#
# Reports and features are in reports/, under the folder's name, and what tells it from other folders of that name.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

photos=${1:-$REPO/data-sample}
[ -d "$photos" ] || die "$photos is not a folder"
FRUITS_PHOTOS=$(cd "$photos" && pwd)
name=$(basename "$FRUITS_PHOTOS")
[ "$FRUITS_PHOTOS" = "$REPO/data-sample" ] || name=$name-$(printf %s "$FRUITS_PHOTOS" | sha256sum | cut -c1-6)
FRUITS_REPORT=$REPO/reports/$name
FRUITS_OUT=$FRUITS_REPORT-features
FRUITS_FEATURES=$FRUITS_OUT
export FRUITS_PHOTOS FRUITS_OUT FRUITS_FEATURES FRUITS_REPORT
steps notebooks
echo "reports:"
printf '%s\n' "$FRUITS_REPORT.html" "$FRUITS_REPORT-pca.html"
echo "features, for Features::read, pandas and others:"
echo "$FRUITS_OUT"
