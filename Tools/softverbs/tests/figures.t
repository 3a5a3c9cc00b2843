#!/usr/bin/env bash
# The figures of the README, with both sides polling on two processors. SOFTVERBS_TIMINGS=1 holds them to their aims, for a
# machine that has nothing else to do.
. "$(dirname "$0")/tap.sh"
if [ "$(nproc)" -lt 2 ]; then echo "ok 1 - figures # SKIP needs two processors"; echo "1..1"; exit 0; fi
renice -n -20 $$ >/dev/null 2>&1
with 60 build/tests/figures 0.1
