#!/usr/bin/env bash
# How many copies a write needs: chosen when the volume is created.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
truncate -s 64M "$tap_folder/disk3"
target_pids+=(0)
require "a fourth target starts" start_member 3
expect_refusal "there are three members to hold copies" "is 1, 2 or 3" volume create --minimum-copies 4
minimum() { volume status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["members"][2]["minimum_copies"])'; }
require "a volume is created" volume create
expect_equal "a write needs two copies unless another number is chosen" 2 "$(minimum)"

require "a volume of three copies is created" volume create --overwrite --minimum-copies 3
expect_equal "... and says so" 3 "$(minimum)"
head -c 1000000 /dev/urandom >"$tap_folder/input"
check "it is written" volume write --input "$tap_folder/input"
kill_member 1
# write_waits [WORDS]: a write does not end, and has said so.
write_waits() {
  local status=0
  timeout 5 "$tercet" volume write "${members[@]}" --input "$tap_folder/input" >"$tap_folder/waits" 2>&1 || status=$?
  [ "$status" -eq 124 ] && { [ $# -eq 0 ] || grep -q "$1" "$tap_folder/waits"; }
}
check "with one target dead it waits for that member" write_waits "waiting for members {1}"
expect_output "a member that is away is replaced all the same" "member 1 is now .*; [1-9]" \
  volume replace --replace 1 --with "$address:$((port + 3))/$nqn.3/1"
members[3]=$address:$((port + 3))/$nqn.3/1
expect_output "... and the volume is clean" "clean, members: in sync, in sync, in sync" volume status
check "... and is written again" volume write --input "$tap_folder/input" --start-block 5000

require "its target starts again" start_member 1
members[3]=$address:$((port + 1))/$nqn.1/1
require "a volume of one copy is created" volume create --overwrite --minimum-copies 1
kill_member 1
check "one member may be away" volume write --input "$tap_folder/input"
kill_member 2
check "... but not two: the record needs two members, however many copies data has" write_waits
require "target 1 starts again" start_member 1
require "target 2 starts again" start_member 2
check "the targets end in good order" stop_members
done_testing
