#!/usr/bin/env bash
# tercet and tercetd on a device that can do as little as some real ones.

. "$(dirname "$0")/native.sh"

export SOFTVERBS_MAX_SGE=1 SOFTVERBS_MAX_SGE_RD=1 SOFTVERBS_MAX_RD_ATOM=1 SOFTVERBS_MAX_MR=16

require "the target starts" export_target ram:32M
for size in 512 4k 128k; do
  check "bench --verify with $size: 1 SGE, 1 READ at a time, 16 memory regions" \
    bench --rw randrw --bs "$size" --iodepth 32 --queues 2 --runtime 0.5
done
check "the target ends in good order" stop_tercetd
done_testing
