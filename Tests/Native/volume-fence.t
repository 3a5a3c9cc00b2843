#!/usr/bin/env bash
# Two hosts want one volume: the later one is refused, unless it says --take-over; then the earlier one stops and says so.
# ROUNDS says how often.

. "$(dirname "$0")/volume.sh"

rounds=${ROUNDS:-5}
first=
at_exit 'kill -KILL "$first"'
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create

is_serving() { grep -q serving "$tap_folder/first.txt"; }
has_ended() { ! kill -0 "$first" 2>/dev/null; }

# start_first SEED: a first host attaches the volume and writes.
start_first() {
  : >"$tap_folder/first.txt"
  "$tercet" volume bench "${members[@]}" --runtime 600 --size 16m --rwmixread 0 --seed "$1" >"$tap_folder/first.txt" 2>&1 \
    </dev/null &
  first=$!
  wait_until 20 is_serving
}

# Every command that attaches or changes a volume leaves alone what a host has.
head -c 100000 /dev/urandom >"$tap_folder/input"
commands=("read" "write --input $tap_folder/input" "heal" "scrub" "detach" "bench --runtime 1" "grow"
  "exercise --record $tap_folder/record" "replace --replace 0 --with $address:$port/$nqn.0/1" "create --overwrite" "destroy")
start_first 1
refuse() { expect_refusal "${1%% *}: no host is fenced without being asked" "host [0-9a-f-]{36} has the volume.*--take-over" volume $1; }
for command in "${commands[@]}"; do refuse "$command"; done
expect_output "status tells what is there all the same" "in use" volume status
output_has "... and who has it" "attached: host [0-9a-f-]{36} has it"
check "the first host goes on" kill -0 "$first"
kill -KILL "$first" && wait "$first" 2>/dev/null
check "a host that has died is no obstacle" volume heal

for round in $(seq "$rounds"); do
  start_first "$round"
  check "round $round: a second host takes the volume" volume heal --take-over
  wait_until 20 has_ended || diagnose "the first host goes on"
  wait "$first"
  expect_equal "round $round: the first host ends with status 1" 1 $?
  grep -q deposed "$tap_folder/first.txt"
  report $? "round $round: ... and says that it is deposed" || diagnose <"$tap_folder/first.txt"
  check "round $round: the members are equal" members_are_equal
done

check "the targets end in good order" stop_members
done_testing
