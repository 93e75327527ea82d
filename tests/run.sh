#!/usr/bin/env bash
# Every check of the project, or some parts of them, side by side. Installs what it misses; quick when run again.
#
#   tests/run.sh [PART...]     lints, rust, spark, command, notebooks, hub, bundle, cloud; without any, all
source "$(dirname "${BASH_SOURCE[0]}")/../bootstrap/env.sh"

parts=("$@")
[ $# -gt 0 ] || parts=(lints rust spark command notebooks hub bundle cloud)
steps --times "${parts[@]/#/test-}"
