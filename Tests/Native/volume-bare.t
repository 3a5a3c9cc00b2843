#!/usr/bin/env bash
# Volumes on targets that offer little more than what the specifications make mandatory, or that say they offer what they
# then refuse: they are used, or refused with the reason.

. "$(dirname "$0")/volume.sh"

bare=$(on_softverbs "${BARE_TARGET:-$project/.build/release/bare-target}")

# start_bare NUMBER OPTION...: starts a bare target in a member's place.
start_bare() {
  local number=$1
  shift
  "$bare" --listen "$address:$((port + number))" --nqn "$nqn.$number" --file "$tap_folder/disk$number" "$@" \
    >>"$tap_folder/target$number.log" 2>&1 </dev/null &
  target_pids[$number]=$!
  wait_until 30 "$tercet" connect-test -a "$address" -s "$((port + number))" -n "$nqn.$number"
}

# on_bare OPTION...: starts three of them on empty namespaces.
on_bare() {
  [ ${#target_pids[@]} -eq 0 ] || stop_members
  target_pids=()
  for number in 0 1 2; do
    rm -f "$tap_folder/disk$number" && truncate -s 16M "$tap_folder/disk$number" && start_bare "$number" "$@" || return 1
  done
}
stop_members() { kill -KILL "${target_pids[@]}"; wait "${target_pids[@]}" 2>/dev/null; }

head -c 1000000 /dev/urandom >"$tap_folder/input"
head -c 16M /dev/urandom >"$tap_folder/noise"

# used NAME [CREATE OPTION...]: a volume is created, used, loses a member, heals, and is left clean.
used() {
  local name=$1
  shift
  for number in 0 1 2; do cp "$tap_folder/noise" "$tap_folder/disk$number"; done
  require "$name: a volume is created" volume create --region-size 64k "$@"
  check "... written" volume write --input "$tap_folder/input" --start-block 100
  check "... read" volume read --start-block 100 --block-count 1953 --output "$tap_folder/back"
  check "... and holds what was written" cmp -n 999936 "$tap_folder/input" "$tap_folder/back"
  check "... exercised, with zeroes and trims" timeout 120 "$tercet" volume exercise "${members[@]}" \
    --record "$tap_folder/record" --start-block 8192 --size 4m --runtime 1
  expect_output "... scrubbed" "0 differ" volume scrub
  check "the members are equal" members_are_equal
  kill_member 1
  check "... it is written while a member is away" volume write --input "$tap_folder/input" --start-block 4000
  check "... the member comes back" start_bare 1 "${offers[@]}"
  expect_output "... and is healed" "all members are in sync" volume heal
  check "the members are equal" members_are_equal
  expect_output "status says so" "clean, members: in sync, in sync, in sync" volume status
  expect_refusal "... it is not created over" "say --overwrite" volume create "$@"
  check "... destroyed" volume destroy
  rm -f "$tap_folder/record"
}

offers=()
require "targets without anything optional start" on_bare
expect_refusal "no volume is fenced there" \
  "member 0 .*: its target does not offer the reservations .*fencing none" volume create
used "without anything optional" --fencing none

# A larger namespace: these targets tell nobody, and are started anew.
grown() {
  stop_members
  for number in 0 1 2; do
    truncate -s 24M "$tap_folder/disk$number"
    require "target $number starts with a larger namespace" start_bare "$number" "${offers[@]}"
  done
  expect_output "the volume grows" "the volume has .* blocks" volume grow --old-size 16m
  expect_output "... and is in sync" "clean, members: in sync, in sync, in sync" volume status
}
check "a volume is created without anything optional" volume create --region-size 64k --fencing none
check "... written" volume write --input "$tap_folder/input" --start-block 100
grown
check "... read" volume read --start-block 100 --block-count 1953 --output "$tap_folder/back"
check "... and holds what was written" cmp -n 999936 "$tap_folder/input" "$tap_folder/back"
check "... written where it has grown" volume write --input "$tap_folder/input" --start-block 34000
check "the members are equal" members_are_equal

offers=(--offers reservations)
require "targets with reservations start" on_bare "${offers[@]}"
used "with reservations alone"

offers=(--offers reservations write-zeroes uuid)
require "targets with Write Zeroes that take no DEAC start" on_bare "${offers[@]}"
used "with Write Zeroes that take no DEAC"
check "a volume is created" volume create --region-size 64k

# Another host takes the volume over.
timeout 60 "$tercet" volume bench "${members[@]}" --runtime 60 --size 4m >"$tap_folder/bench" 2>&1 </dev/null &
bench=$!
require "a host has it attached" wait_until 30 grep -q "volume: serving" "$tap_folder/bench"
check "another takes it over" volume write --take-over --input "$tap_folder/input"
status=0
wait "$bench" || status=$?
expect_equal "... the first ends" 1 "$status"
check "... as deposed" grep -q "deposed" "$tap_folder/bench"

check "the volume is detached" volume heal
grown

# A member is replaced by a namespace of another target, which has no name of its own.
truncate -s 24M "$tap_folder/disk3"
require "a fourth target starts" start_bare 3 --offers reservations
expect_output "a member is replaced" "member 1 is now" volume replace --replace 1 --with "$address:$((port + 3))/$nqn.3/1"

# Targets that tell of a host which has died as of one that is there.
offers=(--offers reservations controllers)
require "targets start that remember controllers for ever" on_bare "${offers[@]}"
check "a volume is created" volume create --region-size 64k
timeout 60 "$tercet" volume bench "${members[@]}" --runtime 60 --size 4m >"$tap_folder/bench" 2>&1 </dev/null &
bench=$!
require "a host has it attached" wait_until 30 grep -q "volume: serving" "$tap_folder/bench"
pkill -KILL -P "$bench" || :
wait "$bench"
expect_refusal "when it has died, that is said to be possible" "has the volume attached, or it died, which its target does not tell" \
  volume write --input "$tap_folder/input"
expect_output "... it is taken over where that is wanted; what stays is told" "the reservation stays .* needs --take-over where targets do not tell" \
  volume write --take-over --input "$tap_folder/input"
expect_refusal "... so it is" "or it died" volume write --input "$tap_folder/input"
expect_output "... the members are in sync" "all members are in sync" volume heal --take-over
check "the members are equal" members_are_equal

# Targets that say that they offer everything, and refuse it.
offers=(--lies)
require "targets start that refuse what they say they offer" on_bare "${offers[@]}"
for number in 0 1 2; do cp "$tap_folder/noise" "$tap_folder/disk$number"; done
expect_refusal "no volume is fenced there" \
  "member 0 .*: its target does not tell who has the namespace reserved: .*Invalid Field" volume create
check "... and nothing was written" cmp "$tap_folder/noise" "$tap_folder/disk0"
expect_refusal "none is made without fencing either" "member 0 .*: zeroing of .* failed: Invalid Field" \
  volume create --fencing none
stop_members
done_testing
