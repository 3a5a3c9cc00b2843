#!/usr/bin/env bash
# 200 rounds of SIGKILL under traffic, of either side.
. "$(dirname "$0")/tap.sh"
with 100 build/tests/kill 200 ${SEED:-}
