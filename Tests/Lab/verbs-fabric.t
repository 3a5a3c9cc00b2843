#!/usr/bin/env bash
# The laws of a fabric hold on Soft-RoCE, over IPv4 and IPv6, and the registration cache never shows stale memory there.
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." || exit 1
program=$(ls -t .build/release/verbs-fabric-laws .build/debug/verbs-fabric-laws 2>/dev/null | head -n 1)
[ -n "$program" ] || { echo "Bail out! verbs-fabric-laws is not built"; exit 1; }
Tools/lab rdma 10.90.0.1/24 fd90::1/64 >&2 || { echo "Bail out! no RDMA device"; exit 1; }
exec "$program" 10.90.0.1 fd90::1
