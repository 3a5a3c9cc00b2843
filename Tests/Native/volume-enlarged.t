#!/usr/bin/env bash
# Namespaces become larger under a volume that is attached, and its host dies: the volume is found again, and grows.

. "$(dirname "$0")/volume.sh"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create --region-size 64k
head -c 4000000 /dev/urandom >"$tap_folder/input"
check "it is written" volume write --input "$tap_folder/input" --start-block 65536

# has_signpost NUMBER MEGABYTES: whether something is in the last 8 KiB of a namespace that was enlarged.
has_signpost() { ! cmp -s <(tail -c 8192 "$tap_folder/disk$1") <(head -c 8192 /dev/zero); }
all_have_signposts() { has_signpost 0 && has_signpost 1 && has_signpost 2; }

# enlarge_under_load SIZE: enlarges all namespaces while a host uses the volume, and kills the host.
enlarge_under_load() {
  timeout 120 "$tercet" volume bench "${members[@]}" --runtime 100 --size 16m >"$tap_folder/bench" 2>&1 </dev/null &
  local bench=$!
  wait_until 30 grep -q "volume: serving" "$tap_folder/bench" || return 1
  for number in 0 1 2; do truncate -s "$1" "$tap_folder/disk$number"; done
  wait_until 30 all_have_signposts || return 1
  pkill -KILL -P "$bench"
  wait "$bench" 2>/dev/null
  return 0
}

for size in 80M 96M; do
  require "the namespaces are enlarged to $size under a host, which dies" enlarge_under_load "$size"
  expect_output "status finds the volume" "in use, members: in sync, in sync, in sync" volume status
  expect_output "it is attached, without the size of before" "all members are in sync" volume heal
  check "... it holds what it held" volume read --start-block 65536 --block-count 7812 --output "$tap_folder/back"
  check "... all of it" cmp -n 3999744 "$tap_folder/input" "$tap_folder/back"
done
expect_output "it grows, without the size of before" "the volume has .* blocks of 512 bytes now, .* before" volume grow
expect_output "... and is found at its new end" "clean, members: in sync, in sync, in sync" volume status
check "... it holds what it held" volume read --start-block 65536 --block-count 7812 --output "$tap_folder/back"
check "... all of it" cmp -n 3999744 "$tap_folder/input" "$tap_folder/back"
check "... and has room for more" volume write --input "$tap_folder/input" --start-block 150000
check "the members are equal" members_are_equal

# Enlarged while nobody had the volume: what to do is said.
for number in 0 1 2; do truncate -s 128M "$tap_folder/disk$number"; done
all_are_larger() {
  for number in 0 1 2; do
    "$tercet" connect-test -a "$address" -s "$((port + number))" -n "$nqn.$number" | grep -q " 262144 blocks" || return 1
  done
}
require "the targets notice" wait_until 30 all_are_larger
expect_refusal "a volume that was enlarged while it was detached is not found" "say --old-size" volume heal
expect_output "... until the size of before is said" "all members are in sync" volume heal --old-size 96m
expect_output "... which is not needed again" "all members are in sync" volume heal
expect_output "... not for status either" "clean, members: in sync, in sync, in sync" volume status
check "it is destroyed" volume destroy
expect_refusal "... wherever its record was" "no superblock|holds no" volume heal --old-size 96m
check "the targets end in good order" stop_members
done_testing
