#!/usr/bin/env bash
# What an operator does to a volume: compares and repairs it, pauses its resync, replaces a member, grows it, lets it go.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
# The fourth target stands by.
truncate -s 64M "$tap_folder/disk3"
target_pids+=(0)
require "a fourth target starts" start_member 3
spare=$address:$((port + 3))/$nqn.3/1

# value KEY COMMAND OPTION...: what a command's JSON has under a key.
value() {
  local key=$1
  shift
  volume "$@" --json 2>>"$tap_folder/errors" | python3 -c "import json, sys; print(json.load(sys.stdin)['$key'])"
}

require "a volume is created" volume create --region-size 64k
for command in create status heal scrub replace grow detach destroy exercise bench; do
  expect_output "$command has help" "OVERVIEW.*" "$tercet" volume "$command" --help
done
expect_output "status says where the data is" "data: bytes 0 to [0-9]+ of each member" volume status
check "it is loaded" "$tercet" volume exercise "${members[@]}" --record "$tap_folder/record" --runtime 1

regions=$(value regions_compared scrub)
expect_equal "a scrub compares all regions" 1024 "$regions"
printf 'rot' | dd of="$tap_folder/disk1" bs=1 seek=$((65536 * 7 + 100)) conv=notrunc status=none
expect_refusal "rot on one member is found" "1 regions differ" volume scrub
output_has "... and named" "1 differ, 0 repaired: regions 7"
expect_refusal "... and not served to a next host either" "the medium cannot be read" volume read --start-block 900 --block-count 1
expect_refusal "... as status says" "found to differ in regions 7:" volume status
expect_output "... and repaired from the member that is said to be right" "1 differ, 1 repaired" volume scrub --repair-from 0
expect_output "... and is gone" "0 differ" volume scrub
check "... and the region is served again" volume read --start-block 900 --block-count 1 --output "$tap_folder/back"
check "the members are equal" members_are_equal
expect_refusal "--repair-from names a member" "is 0, 1 or 2" volume scrub --repair-from 3

kill_member 2
head -c 16000000 /dev/urandom >"$tap_folder/input"
check "a member misses writes" volume write --input "$tap_folder/input" --start-block 65536
require "its target starts again" start_member 2
expect_output "resync keeps to its rate, and pauses" "paused with [0-9]+ regions left; [1-9]" volume heal --rate 4m --for 1
copied=$(sed -n 's/.*left; \([0-9]*\) bytes.*/\1/p' "$tap_folder/output")
expect_at_most "... having copied no more" 12000000 "${copied:-99999999}"
expect_equal "detach leaves it clean, and says who is behind" "[2]" "$(value members_behind detach)"
rest=$(value bytes_copied heal)
expect_at_most "the next one goes on where it stopped" $((245 * 65536 - copied)) "${rest:-99999999}"
check "the members are equal" members_are_equal

# A member whose target is gone for good.
kill_member 1
old=("${members[@]}")
expect_refusal "a member of the volume is no replacement" "is member 2 of the volume|holds volume" \
  volume replace --replace 1 --with "${members[5]}"
expect_output "a member is replaced while its target is gone" "member 1 is now .*; [1-9]" \
  volume replace --replace 1 --with "$spare"
members[3]=$spare
expect_output "the volume is clean on its members" "clean, members: in sync, in sync, in sync" volume status
disk1=$tap_folder/disk1
mv "$disk1" "$tap_folder/old1" && ln -s disk3 "$disk1"
check "the members are equal" members_are_equal
rm "$disk1" && mv "$tap_folder/old1" "$disk1"
require "the old target starts again" start_member 1
volume_of_old() { timeout 20 "$tercet" volume "$1" "${old[@]}" "${@:2}"; }
expect_output "the old member is refused in its old place" "member 1: was replaced" \
  volume_of_old read --start-block 65536 --output "$tap_folder/back"
check "the new members go on" volume heal

# Growth.
expect_refusal "a volume whose members have not grown does not grow" "has .* blocks already" volume grow
for number in 0 2 3; do truncate -s 96M "$tap_folder/disk$number"; done
has_size() { volume grow --old-size 64m --json >"$tap_folder/grown" 2>>"$tap_folder/errors"; }
check "the volume grows with its members" wait_until 30 has_size
expect_equal "... by a half" True "$(python3 -c "import json; print(190000 < json.load(open('$tap_folder/grown'))['blocks'] < 196608)")"
expect_output "... and is found at its new end" "clean, members: in sync, in sync, in sync" volume status
check "... it holds what it held" volume read --start-block 65536 --block-count 31250 --output "$tap_folder/back"
check "... all of it" cmp -n 16000000 "$tap_folder/input" "$tap_folder/back"
check "... and more" volume write --input "$tap_folder/input" --start-block 150000
expect_output "its members are equal" "0 differ" volume scrub

check "the volume is destroyed" volume destroy
check "the targets end in good order" stop_members
done_testing
