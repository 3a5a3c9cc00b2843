#!/usr/bin/env bash
# The laws of a fabric hold on softverbs, over IPv4 and IPv6, and the registration cache never shows stale memory there.
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." || exit 1
program=$(ls -t .build/release/verbs-fabric-laws .build/debug/verbs-fabric-laws 2>/dev/null | head -n 1)
[ -n "$program" ] || { echo "Bail out! verbs-fabric-laws is not built"; exit 1; }
library=$PWD/Tools/softverbs/build/libsoftverbs.so
[ -e "$library" ] || { echo "Bail out! softverbs is not built"; exit 1; }

# Once as it is, once as a device with little of everything.
LD_PRELOAD=$library "$program" --overflow 127.0.0.1 127.0.0.2 ::1 && status=0 || status=1
small=$(SOFTVERBS_MAX_SGE=2 SOFTVERBS_MAX_SGE_RD=1 SOFTVERBS_MAX_QP_WR=32 SOFTVERBS_MAX_CQE=256 SOFTVERBS_MAX_MR=16 \
  SOFTVERBS_MAX_RD_ATOM=1 SOFTVERBS_MAX_SRQ_WR=16 SOFTVERBS_MAX_INLINE=0 LD_PRELOAD=$library timeout 60 "$program" 127.0.0.1) || status=1
sed '/^ok/d; s/^not ok [0-9]* - /# small device: /; /^1\.\./d' <<<"$small"
exit $status
