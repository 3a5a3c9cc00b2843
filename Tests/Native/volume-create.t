#!/usr/bin/env bash
# Creating a volume: all members are asked before any is written, and a creation that dies is done anew by the next one.

. "$(dirname "$0")/volume.sh"

# serve NUMBER STORE: starts a target with a store of its own kind.
serve() {
  "$tercetd" --reactors 1 --listen "$address:$((port + $1))" --state-directory "$tap_folder/state$1" \
    --export "$nqn.$1=$2" >>"$tap_folder/target$1.log" 2>&1 </dev/null &
  target_pids[$1]=$!
  wait_until 30 "$tercet" discover -a "$address" -s "$((port + $1))"
}

# untouched: nothing has been written to the first two members.
untouched() {
  cmp -s "$tap_folder/disk0" "$tap_folder/pattern" && cmp -s "$tap_folder/disk1" "$tap_folder/pattern"
}

head -c 64M /dev/urandom >"$tap_folder/pattern"
head -c 4096 "$tap_folder/pattern" >"$tap_folder/pattern.small"
for number in 0 1; do
  cp "$tap_folder/pattern" "$tap_folder/disk$number"
  require "target $number starts" start_member "$number"
done

# refused NAME STORE PATTERN [OPTION...]: a third member that does not do.
refused() {
  local name=$1 store=$2 pattern=$3
  shift 3
  require "a third member is served: $name" serve 2 "$store"
  expect_refusal "no volume is created with it" "$pattern" volume create --region-size 64k "$@"
  check "... and nothing was written to the others" untouched
  kill_member 2
}

cp "$tap_folder/pattern" "$tap_folder/disk2"
refused "one that is read-only" "$tap_folder/disk2,readonly" "member 2 .*: the namespace is write protected"
refused "one that is smaller" ram:32M "member 2.*(size|blocks|small)"
refused "one that is too small for --size" ram:32M "member 2.*(size|blocks|small)" --size 48m
refused "one of another block size" ram:64M,block=4096 "member 2.*blocks of 4096 bytes"
expect_refusal "no volume is created where nobody listens" "member 2 .*: nobody accepts" volume create
check "... and nothing was written to the others" untouched

# One namespace in two places.
require "a third member is served" start_member 2
expect_refusal "a namespace is no two members" "member 2: has the same identity as member 1" \
  timeout 60 "$tercet" volume create "${members[@]:0:4}" "${members[@]:2:2}"
check "... and nothing was written to it" cmp "$tap_folder/disk1" "$tap_folder/pattern"

# Three daemons that call their namespaces the same, as those do that were started from one copied configuration with identifiers.
kill_member 0; kill_member 1; kill_member 2
for number in 0 1 2; do
  cat >"$tap_folder/alike$number.json" <<JSON
{ "listeners": [ { "address": "$address", "port": $((port + number)) } ], "subsystems": [ { "nqn": "$nqn.$number", "allowAnyHost": true,
  "namespaces": [ { "nsid": 1, "backing": "$tap_folder/disk$number", "uuid": "6ba7b811-9dad-11d1-80b4-00c04fd430c8" } ] } ] }
JSON
  "$tercetd" --config "$tap_folder/alike$number.json" >>"$tap_folder/target$number.log" 2>&1 </dev/null &
  target_pids[$number]=$!
  require "target $number starts alike" wait_until 30 "$tercet" discover -a "$address" -s "$((port + number))"
done
expect_refusal "members that call themselves the same are named, with the cause" \
  "has the same identity as member 0: it is the same namespace, or their targets were started alike" volume create
kill_member 0; kill_member 1; kill_member 2

# Three that were started from one copied configuration without identifiers, as three machines are: one NQN, one namespace. They are
# three all the same, in memory and on copied files, and a volume's members may well be such three.
alike() {
  for number in 0 1 2; do
    cat >"$tap_folder/alike$number.json" <<JSON
{ "listeners": [ { "address": "$address", "port": $((port + number)) } ], "subsystems": [ { "nqn": "$nqn", "allowAnyHost": true,
  "namespaces": [ { "nsid": 1, "backing": "${1/NUMBER/$number}" } ] } ] }
JSON
    "$tercetd" --config "$tap_folder/alike$number.json" >>"$tap_folder/target$number.log" 2>&1 </dev/null &
    target_pids[$number]=$!
    wait_until 30 "$tercet" discover -a "$address" -s "$((port + number))" || return
  done
}
alike_volume() {
  local command=$1 three=()
  shift
  for number in 0 1 2; do three+=(--member "$address:$((port + number))/$nqn/1"); done
  timeout 120 "$tercet" volume "$command" "${three[@]}" "$@"
}
# identity NUMBER: a target's serial number, and its namespace's UUID.
identity() {
  timeout 20 "$tercet" identify -a "$address" -s "$((port + $1))" -n "$nqn" | awk '$1 == "sn" || $1 == "uuid" { printf "%s ", $3 }'
}
for backing in ram:16M "$tap_folder/copyNUMBER"; do
  truncate -s 16M "$tap_folder/copy0"
  # A copy of a disk has its marks too.
  for number in 1 2; do cp --preserve=all "$tap_folder/copy0" "$tap_folder/copy$number"; done
  require "three targets start from one configuration, on $(basename "${backing%NUMBER}")" alike "$backing"
  for part in 1 2; do
    expect_equal "... they differ in their $([ "$part" = 1 ] && echo serial numbers || echo UUIDs)" 3 \
      "$(for number in 0 1 2; do identity "$number" | cut -d ' ' -f "$part"; done | grep . | sort -u | wc -l)"
  done
  check "... and make a volume" alike_volume create --region-size 64k
  check "... which is written" alike_volume write --input "$tap_folder/pattern.small"
  expect_output "... and whose members are equal" "256 regions compared, 0 differ" alike_volume scrub
  expect_output "... it is healthy" "health: healthy" alike_volume status
  kill_member 0; kill_member 1; kill_member 2
done
for number in 0 1 2; do require "target $number starts again" start_member "$number"; done

# A creation that dies. Each of its requests takes a while, so that it is met everywhere.
expected="volume [0-9a-f-]+: [0-9]+ blocks of 512 bytes"
unfinished=0
for milliseconds in 100 300 500 700 900 1000 1100 1200 1300 1400 1500 1600 1800 2000; do
  SOFTVERBS_FAULT=delay_us=20000 "$tercet" volume create "${members[@]}" --region-size 64k >"$tap_folder/create" 2>&1 \
    </dev/null &
  create=$!
  sleep "0.$(printf %03d $((milliseconds % 1000)))"
  [ "$milliseconds" -lt 1000 ] || sleep $((milliseconds / 1000))
  kill -KILL "$create" 2>/dev/null && unfinished=$((unfinished + 1))
  wait "$create" 2>/dev/null
  if volume status >"$tap_folder/whole" 2>&1; then
    report 0 "a creation that died after $milliseconds ms had left a whole volume"
  else
    expect_output "a creation that died after $milliseconds ms is done anew by the next" "$expected" \
      volume create --region-size 64k
  fi
  check "... whose volume can be used" volume write --input "$tap_folder/pattern.small"
  check "... and is destroyed for the next" volume destroy
  grep -q "^volume " "$tap_folder/create" && break
done 2>/dev/null
expect_at_most "some creations died" "$unfinished" 3

# The last thing that a creation does is to write the records: one that dies among them leaves some.
for missing in 0 1 2; do
  check "a volume is created" volume create --region-size 64k
  # The records are in the last 8 KiB.
  dd if=/dev/zero of="$tap_folder/disk$missing" bs=4096 seek=16382 count=2 conv=notrunc status=none
  expect_output "without the record of member $missing it is created anew" "$expected" volume create --region-size 64k
  expect_refusal "... but not once it is whole" "holds volume .*; say --overwrite" volume create --region-size 64k
  check "... unless that is asked for" volume create --region-size 64k --overwrite
  check "... it is destroyed" volume destroy
done
# One that has been attached may hold data: it is not taken for an unfinished one.
check "a volume is created" volume create --region-size 64k
check "... and attached" volume heal
# Its members are known by name where nvme-cli's file of connections has their addresses.
knows_members_by_name
by_name() {
  timeout 120 "$tercet" volume "$1" --member "$nqn.0/1" --member "$nqn.1/1" --member "$nqn.$2/1"
}
expect_output "its members are found by name" "health: healthy" by_name status 2
expect_refusal "... but one that the file does not know" "fabrics.conf knows no subsystem $nqn.9" by_name status 9
dd if=/dev/zero of="$tap_folder/disk2" bs=4096 seek=16382 count=2 conv=notrunc status=none
expect_refusal "without the record of a member it is not created anew" "holds volume .*; say --overwrite" \
  volume create --region-size 64k

check "the targets end in good order" stop_members
done_testing
