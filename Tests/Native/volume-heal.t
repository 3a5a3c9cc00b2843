#!/usr/bin/env bash
# heal calls in sync what is: a member that cannot be reached is named, though nothing is dirty.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create --region-size 64k
head -c 1000000 /dev/urandom >"$tap_folder/input"
check "it is written, and clean" volume write --input "$tap_folder/input"

for member in 2 0; do
  kill_member "$member"
  gone="not healed: member $member \\($address:$((port + member))/.*\\) is not in sync"
  expect_refusal "heal does not call a volume in sync whose member $member is dead" "$gone" volume heal --for 2
  check "... nor says so on the way" eval "! grep -q 'all members are in sync' $tap_folder/output"
  expect_refusal "... nor compares those that are there" "$gone" volume heal --for 2 --scrub
  check "... nor calls them equal" eval "! grep -q 'differ' $tap_folder/output"
  expect_refusal "... and its JSON says so" '"in_sync" : false' volume heal --for 2 --json
  check "it is read meanwhile" volume read --block-count 1953 --output "$tap_folder/back"
  check "... and holds what was written" cmp -n 999936 "$tap_folder/input" "$tap_folder/back"
  expect_refusal "status ends with 1 for it" "health: degraded" volume status
  require "target $member starts again" start_member "$member"
  expect_output "heal brings it into sync" "all members are in sync" volume heal --for 60
  expect_output "... and the volume is well" "health: healthy" volume status
done

# A target that stands still is not there either.
kill -STOP "${target_pids[1]}"
expect_refusal "a member whose target is stopped is named" "not healed: member 1 .* is not in sync" volume heal --for 2
kill -CONT "${target_pids[1]}"
expect_output "it goes on, and is healed" "all members are in sync" volume heal --for 60
check "the targets end in good order" stop_members
done_testing
