#!/usr/bin/env bash
# Two hosts want one volume: the later one gets it, the earlier one stops and says so. ROUNDS says how often.

. "$(dirname "$0")/volume.sh"

rounds=${ROUNDS:-5}
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create

is_serving() { grep -q serving "$tap_folder/first.txt"; }
has_ended() { ! kill -0 "$first" 2>/dev/null; }

for round in $(seq "$rounds"); do
  : >"$tap_folder/first.txt"
  volume bench --runtime 60 --size 16m --rwmixread 0 --seed "$round" >"$tap_folder/first.txt" 2>&1 </dev/null &
  first=$!
  wait_until 20 is_serving
  check "round $round: a second host takes the volume" volume heal
  wait_until 20 has_ended || diagnose "the first host goes on"
  wait "$first"
  expect_equal "round $round: the first host ends with status 1" 1 $?
  grep -q deposed "$tap_folder/first.txt"
  report $? "round $round: ... and says that it is deposed" || diagnose <"$tap_folder/first.txt"
  check "round $round: the members are equal" members_are_equal
done

check "the targets end in good order" stop_members
done_testing
