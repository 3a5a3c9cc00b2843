#!/usr/bin/env bash
# The figures of the README, with both sides polling on two processors; other work comes second, where that is allowed. The
# best of three attempts.
. "$(dirname "$0")/tap.sh"
if [ "$(nproc)" -lt 2 ]; then echo "1..0 # SKIP needs two processors"; exit 0; fi
renice -n -20 $$ >/dev/null 2>&1
for _ in 1 2 3; do
  with 30 build/tests/figures 0.1 >"$scratch/out" 2>&1 && break
done
cat "$scratch/out"
