#!/usr/bin/env bash
# How many writes of metadata a volume makes beside the writes of its host: counted, not timed.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create --region-size 64k

# Counts of 100,000 random 4 KiB writes within 1,000 regions, none of which has been written since the attach.
volume bench --rwmixread 0 --bs 4k --iodepth 32 --size 64000k --number-ios 100000 --runtime 600 --json \
  >"$tap_folder/json" 2>"$tap_folder/errors" || diagnose <"$tap_folder/errors"
read -r writes copies metadata < <(python3 -c "
import json
counts = json.load(open('$tap_folder/json'))
print(counts['writes'], counts['member_writes'], counts['metadata_writes'])")
diagnose "writes of metadata: $metadata, of data: $copies"
expect_equal "what was to be written was, on each member" "100000 300000" "$writes $copies"
expect_at_most "the metadata is less than 2 % of what members had to write" $(((metadata + copies) / 50)) "$metadata"
expect_equal "... and there was some: each region is marked before it is written" 1 $((metadata >= 3 * 2))

# What that costs in time is said, and not judged: the writes of the last second, when regions have been marked, and the same
# where there are two regions, so that next to none is marked.
seconds=${SECONDS_EACH:-3}
writes_of() { # region size
  volume create --overwrite --region-size "$1" >/dev/null && volume bench --no-verify --rwmixread 0 --bs 4k --iodepth 32 \
    --size 62m --runtime "$seconds" --json 2>>"$tap_folder/errors" | python3 -c "
import json, sys
counts = json.load(sys.stdin)
print(counts['seconds'][$seconds - 1]['ios'], counts['metadata_writes'])"
}
for _ in 1 2 3; do
  read -r many marked <<<"$(writes_of 64k)"
  read -r few unmarked <<<"$(writes_of 32m)"
  diagnose "writes a second: $many in 992 regions ($marked writes of metadata so far), $few in 2 regions ($unmarked)"
done
expect_at_most "regions that are larger need less metadata" "${marked:-0}" "${unmarked:-1}"
check "the targets end in good order" stop_members
done_testing
