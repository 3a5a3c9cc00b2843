#!/usr/bin/env bash
# A million I/Os more cost not one allocation more.

. "$(dirname "$0")/native.sh"

require "the target starts" export_target ram:64M
require "the counter compiles" cc -O2 -shared -fPIC -o "$tap_folder/count.so" "$project/Tests/Native/c/count-allocations.c"

# allocations IOS: prints how many allocations tercet makes for so many I/Os.
allocations() {
  COUNT_ALLOCATIONS=$tap_folder/count timeout 300 "$tercet" bench -a "$address" -s "$port" -n "$nqn" --rw randrw \
    --iodepth 32 --number-ios "$1" --runtime 280 >"$tap_folder/bench" 2>&1 || return
  cat "$tap_folder/count"
}

# The script that puts tercet on softverbs sets LD_PRELOAD; the counter comes first.
sed -i "s|LD_PRELOAD=|LD_PRELOAD=$tap_folder/count.so:|" "$tercet"

few=$(allocations 10000)
start=$SECONDS
many=$(allocations 1010000)
took=$((SECONDS - start))
diagnose "$few allocations for 10000 I/Os, $many for 1010000, in $took s"
diagnose <"$tap_folder/bench"
# What keeps the connection alive and waits for the end takes some, by the second: ten on a machine that has much to do.
expect_at_most "a million I/Os make no more allocations than time itself" $((200 + 20 * took)) "$((many - few))"
check "the target ends in good order" stop_tercetd
done_testing
