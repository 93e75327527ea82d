#!/usr/bin/env bash
# Runs a command in the environment of the tests: see the README for what it is good for.
#
#   tests/with.sh COMMAND [ARGUMENT...]
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[ $# -gt 0 ] || die "usage: tests/with.sh COMMAND [ARGUMENT...]"
exec "$@"
