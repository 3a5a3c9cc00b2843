#!/usr/bin/env bash
# A volume whose members go away before it is detached: the command ends, and says what it leaves.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create --region-size 64k
head -c 1000000 /dev/urandom >"$tap_folder/input"
check "something is written" volume write --input "$tap_folder/input"

# One member is away, so that heal waits for as long as it is told. Then the others go as well.
kill_member 2
timeout 120 "$tercet" volume heal "${members[@]}" --for 4 >"$tap_folder/heal" 2>&1 </dev/null &
heal=$!
require "the volume is served by two members" wait_until 30 grep -q "volume: serving" "$tap_folder/heal"
kill_member 0
kill_member 1
status=0
wait "$heal" || status=$?
diagnose <"$tap_folder/heal"
expect_equal "the command fails, in a time of its own" 1 "$status"
check "... and says that the volume was not left clean, and who was missing" \
  grep -qE "not detached within 10 s: members \{0,1,2\}.* the next attach" "$tap_folder/heal"
for number in 0 1 2; do require "target $number starts again" start_member "$number"; done
expect_output "the next attach brings all members into sync" "all members are in sync" volume heal
expect_output "... and leaves the volume clean" "clean, members: in sync, in sync, in sync" volume status
check "... it holds what it held" volume read --block-count 1953 --output "$tap_folder/back"
check "... all of it" cmp -n 999936 "$tap_folder/input" "$tap_folder/back"
check "the members are equal" members_are_equal
check "the targets end in good order" stop_members
done_testing
