#!/usr/bin/env bash
# Every check of the project, or some parts of them, side by side. Installs what it misses; quick when run again.
#
#   tests/run.sh [PART...]     lints, rust, spark, command, notebooks, hub, bundle, cloud; without any, all
source "$(dirname "${BASH_SOURCE[0]}")/../bootstrap/env.sh"

all=(lints rust spark command notebooks hub bundle cloud)
for part; do
    [[ " ${all[*]} " == *" $part "* ]] || die "there is no part $part; there are: ${all[*]}"
done
parts=("${@:-${all[@]}}")
steps --times "${parts[@]/#/test-}"
