#!/usr/bin/env bash
# A volume on three targets, as its operator meets it: created, written, read, looked at, refused, destroyed.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
expect_refusal "three members are needed" "members are given" "$tercet" volume status "${members[@]:0:4}"
expect_refusal "namespaces without a volume are no volume" "no superblock" volume bench --runtime 1
expect_refusal "the same namespace twice is refused" "same namespace" \
  "$tercet" volume create "${members[@]:0:4}" "${members[@]:0:2}"
require "a volume is created" volume create
expect_output "status shows three members in sync" "clean, members: in sync, in sync, in sync" volume status
output_has "... and that all is well" "health: healthy"
expect_refusal "it is not overwritten by mistake" "holds volume .*; say --overwrite" volume create
head -c 3000000 /dev/urandom >"$tap_folder/input"
check "a file is written" volume write --input "$tap_folder/input" --start-block 100
check "... and read" volume read --start-block 100 --block-count 5860 --output "$tap_folder/back"
check "... and is the same" cmp -n 3000000 "$tap_folder/input" "$tap_folder/back"
check "all members hold it, byte for byte" members_are_equal
check "... each readable alone, from its block 0" cmp -n 3000000 "$tap_folder/input" "$tap_folder/disk2" 0 51200
expect_refusal "a read beyond the end is refused" "beyond the end" volume read --start-block 1000000

expect_output "a verified load" "verified" volume bench --runtime 2
check "the members are equal" members_are_equal

kill_member 2
expect_output "with one target dead the volume is served" "blocks written" \
  volume write --input "$tap_folder/input" --start-block 20000
expect_refusal "... and status says that it is degraded" "health: degraded" volume status
output_has "... which member cannot be reached" "member 2 \($address:$((port + 2))/.*\): nobody accepts"
output_has "... and that it is behind" "in sync, in sync, behind"
expect_refusal "a volume whose members are not in their order is not well" "member 0 is member 1 of the volume" \
  "$tercet" volume status "${members[@]:2:2}" "${members[@]:0:2}" "${members[@]:4:2}"
require "the target starts again" start_member 2
expect_output "the member is brought up to date, and all are compared" "all members are in sync; [1-9]" volume heal --scrub
check "the members are equal" members_are_equal

kill_member 0
kill_member 1
waits_for_members() {
  local status=0
  timeout 5 "$tercet" volume read "${members[@]}" || status=$?
  [ "$status" -eq 124 ]
}
check "with two targets dead an attach waits" waits_for_members
output_has "... and says who cannot be reached" "member 0: not reachable"
require "one of them starts again" start_member 0
check "... and it is served" volume read --start-block 20000 --block-count 5860 --output "$tap_folder/back"
check "... with what was written" cmp -n 3000000 "$tap_folder/input" "$tap_folder/back"
require "the other one starts again" start_member 1
check "all are in sync again" volume heal

check "the volume is destroyed" volume destroy
expect_refusal "... and is no volume any more" "no superblock" volume status
output_has "... which cannot be served" "health: unavailable"
check "the targets end in good order" stop_members
done_testing
