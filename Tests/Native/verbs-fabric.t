#!/usr/bin/env bash
# The laws of a fabric hold on softverbs, over IPv4 and IPv6, and the registration cache never shows stale memory there.
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." || exit 1
program=$(ls -t .build/release/verbs-fabric-laws .build/debug/verbs-fabric-laws 2>/dev/null | head -n 1)
[ -n "$program" ] || { echo "Bail out! verbs-fabric-laws is not built"; exit 1; }
library=$PWD/Tools/softverbs/build/libsoftverbs.so
[ -e "$library" ] || { echo "Bail out! softverbs is not built"; exit 1; }
LD_PRELOAD=$library exec "$program" 127.0.0.1 127.0.0.2 ::1
