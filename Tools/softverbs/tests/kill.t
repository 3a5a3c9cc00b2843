#!/usr/bin/env bash
# 200 rounds of SIGKILL under traffic, of either side. SOFTVERBS_TIMINGS=1 holds it to 100 ms, for a machine that has nothing
# else to do.
. "$(dirname "$0")/tap.sh"
renice -n -20 $$ >/dev/null 2>&1
with 120 build/tests/kill 200 ${SEED:-}
