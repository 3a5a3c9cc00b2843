#!/usr/bin/env bash
# Programs in C, compiled against tercet.h alone, on libtercet and softverbs: a namespace, a volume of three members, several
# handles, and targets that stop and die.

. "$(dirname "$0")/volume.sh"

library=${LIBTERCET:-$project/.build/release/libTercet.so}
mkdir "$tap_folder/bin"
ln -s "$library" "$tap_folder/bin/libtercet.so"

# compile PROGRAM: with the header and the library alone.
compile() {
  cc -Wall -Wextra -Werror -pedantic -std=gnu11 -O1 -I"$project/Sources/CTercet/include" -o "$tap_folder/bin/$1" \
    "$project/Tests/Native/c/$1.c" -L"$tap_folder/bin" -ltercet -Wl,-rpath,"$tap_folder/bin" -lpthread
}

# passes NAME PROGRAM ARGUMENT...: passes if a program does, and shows its tests.
passes() {
  local name=$1 program
  program=$(on_softverbs "$tap_folder/bin/$2")
  shift 2
  check "$name" timeout 120 "$program" "$@"
  grep -E '^((not )?ok|#)' "$tap_folder/output" | diagnose
}

for program in roundtrip handles idle outage takeover exchange mapped; do
  require "$program compiles against the header and links to libtercet" compile "$program"
done
expect_output "the library is called libtercet.so" 'SONAME.*\[libtercet.so\]' readelf -d "$library"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
list=$(IFS=,; printf '%s' "$address:$port/$nqn.0/1,$address:$((port + 1))/$nqn.1/1,$address:$((port + 2))/$nqn.2/1")
passes "every call, on a volume" roundtrip volume "$list"
check "the members are equal" members_are_equal
passes "an idle volume, polled seldom" idle volume "$list"
SOFTVERBS_FAULT=no_files=1 passes "a volume, with memory that cannot be registered" \
  mapped "$tap_folder/mapped" volume "$list"

passes "a volume that another handle has" takeover volume "$list"

passes_and_restarts() {
  "$(on_softverbs "$tap_folder/bin/outage")" "${target_pids[1]}" volume "$list" >"$tap_folder/outage.txt" 2>&1 &
  local outage=$!
  wait_until 60 grep -q '^# start' "$tap_folder/outage.txt" && { wait "${target_pids[1]}" 2>/dev/null; start_member 1; }
  wait "$outage"
}
check "a member dies and returns" passes_and_restarts
grep -E '^((not )?ok|#)' "$tap_folder/outage.txt" | diagnose
check "the members are equal again" members_are_equal

# A member's namespace is exchanged for another one, by a reload of its target's configuration.
# configure_member BACKING UUID: writes the configuration of target 0.
configure_member() {
  cat >"$tap_folder/target0.json" <<JSON
{
  "listeners": [ { "address": "$address", "port": $port } ], "reactors": 1, "stateDirectory": "$tap_folder/state0",
  "subsystems": [ { "nqn": "$nqn.0", "allowAnyHost": true,
    "namespaces": [ { "nsid": 1, "backing": "$1", "uuid": "$2" } ] } ]
}
JSON
}
uuid=00010203-0405-4607-8809-0a0b0c0d0e0
truncate -s 64M "$tap_folder/other"
exchange() {
  rm -f "$tap_folder/exchange.txt"
  configure_member "$tap_folder/disk0" "${uuid}1"
  "$tercetd" --config "$tap_folder/target0.json" >>"$tap_folder/target0.log" 2>&1 </dev/null &
  target_pids[0]=$!
  wait_until 30 "$tercet" discover -a "$address" -s "$port" || return 1
  "$(on_softverbs "$tap_folder/bin/exchange")" volume "$list" >"$tap_folder/exchange.txt" 2>&1 &
  local program=$!
  wait_until 60 grep -q '^# exchange' "$tap_folder/exchange.txt" &&
    { configure_member "$tap_folder/other" "${uuid}2"; kill -HUP "${target_pids[0]}"; }
  wait "$program"
}
for fencing in reservations none; do
  check "the volume is made anew, fencing: $fencing" volume create --overwrite --fencing "$fencing"
  kill_member 0
  check "a member's namespace is exchanged" exchange
  grep -E '^((not )?ok|#)' "$tap_folder/exchange.txt" | diagnose
  kill_member 0
  require "its target starts as it was" start_member 0
  check "the member is brought up to date" volume heal
  check "the members are equal again" members_are_equal
done

check "the volume is destroyed" volume destroy
stop_members

port=$((port + 3))
require "a target starts" export_target ram:64M
passes "every call, on a namespace" roundtrip namespace "$address" "$port" "$nqn"
SOFTVERBS_FAULT=no_files=1 passes "a namespace, with memory that cannot be registered" \
  mapped "$tap_folder/mapped" namespace "$address" "$port" "$nqn"
passes "an idle namespace, polled seldom" idle namespace "$address" "$port" "$nqn"
passes "several handles, threads and processes" handles namespace "$address" "$port" "$nqn"
passes "a target that stops" outage "$tercetd_pid" namespace "$address" "$port" "$nqn"
check "the target ends in good order" stop_tercetd
done_testing
