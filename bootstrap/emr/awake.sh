#!/usr/bin/env bash
# Tells EMR that the cluster is in use as long as a notebook computes: auto-termination sees Spark's jobs, not these.
#
#   awake.sh [SECONDS] [FILE] [KIT]     how often to look; the file that EMR watches; whose kernels count, all if not given
set -euo pipefail
seconds=${1:-60} file=${2:-/emr/metricscollector/isbusy} kit=${3:-}

# Processor time that kernels and what they started have used so far, in hundredths of a second: fields 14 and 15 of /proc/PID/stat.
used() {
    # Processes come and go meanwhile: what cannot be read does not count.
    { grep -lsz "^FRUITS_KIT=$kit" /proc/[0-9]*/environ || true; } | while read -r environ; do
        cat "${environ%environ}stat" 2>/dev/null || true
    done | sed 's/.*) //' | awk '{ sum += $12 + $13 } END { print sum + 0 }'
}

before=$(used)
while sleep "$seconds"; do
    now=$(used)
    # More than a hundredth of a core; a kernel that waits for its next cell uses next to nothing.
    if ((now - before > seconds)); then touch "$file"; fi
    before=$now
done
