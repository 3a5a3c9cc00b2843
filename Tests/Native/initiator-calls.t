#!/usr/bin/env bash
# Every call of the initiator against tercetd, also on a device that can do little; events that tell of changes; a
# discovery controller that one stays connected to.

. "$(dirname "$0")/native.sh"

calls=${CALLS:-$project/.build/release/initiator-calls}
require "the program is built" [ -x "$calls" ]
calls=$(on_softverbs "$calls")
configuration=$tap_folder/tercetd.json

# configure NAMESPACES MORE: writes the configuration; MORE are subsystems.
configure() {
  cat >"$configuration" <<JSON
{
  "listeners": [ { "address": "$address", "port": $port } ],
  "subsystems": [ { "nqn": "$nqn", "allowAnyHost": true, "namespaces": [ $1 ] } ${2:+, $2} ]
}
JSON
}
first='{ "nsid": 1, "backing": "ram:64M" }'
second='{ "nsid": 2, "backing": "ram:16M" }'
start() {
  configure "$first"
  start_tercetd --config "$configuration"
  wait_until 20 target_listens
}

# all_calls OPTION...: makes the calls; adds a namespace when it is asked for.
all_calls() {
  "$calls" "$address" "$port" "$nqn" "$@" >"$tap_folder/calls" 2>&1 </dev/null &
  local pid=$!
  if [ $# -gt 0 ] && wait_until 60 grep -q '^# change' "$tap_folder/calls"; then
    configure "$first, $second"
    kill -HUP "$tercetd_pid"
  fi
  wait "$pid"
}

require "the target starts" start
check "every call, and an event when a namespace is added" all_calls --await-change
diagnose <"$tap_folder/calls"
check "the target ends in good order" stop_tercetd

require "the target starts again" start
"$tercet" discover -a "$address" -s "$port" --persistent >"$tap_folder/discovery" 2>&1 </dev/null &
discovery=$!
at_exit "kill $discovery"
logs() { [ "$(grep -c '^Discovery log' "$tap_folder/discovery")" -ge "$1" ]; }
check "discover --persistent shows the log" wait_until 20 logs 1
expect_equal "the new subsystem is not in it" 0 "$(grep -c 'tercet:added' "$tap_folder/discovery")"
configure "$first" '{ "nqn": "nqn.2026-11.io.tercet:added", "allowAnyHost": true, "namespaces": [] }'
kill -HUP "$tercetd_pid"
check "an event brings the log again" wait_until 20 logs 2
check "the new subsystem is in it" wait_until 5 grep -q 'tercet:added' "$tap_folder/discovery"
stop_tercetd KILL
check "the loss of the discovery controller is told" wait_until 20 grep -q '^tercet: ' "$tap_folder/discovery"
check "the target returns" start
check "and the log is shown anew" wait_until 30 logs 3
kill "$discovery"
diagnose <"$tap_folder/discovery"
check "the target ends in good order" stop_tercetd

memory=$first
truncate -s 64M "$tap_folder/disk"
first="{ \"nsid\": 1, \"backing\": \"$tap_folder/disk\" }"
require "the target starts with a file" start
check "every call of a file" all_calls
diagnose <"$tap_folder/calls"
check "the target ends in good order" stop_tercetd
first=$memory

export SOFTVERBS_MAX_SGE=1 SOFTVERBS_MAX_SGE_RD=1 SOFTVERBS_MAX_RD_ATOM=1 SOFTVERBS_MAX_MR=16
require "the target starts on a device with little" start
check "every call with 1 SGE, 1 READ at a time, 16 memory regions" all_calls
diagnose <"$tap_folder/calls"
check "the target ends in good order" stop_tercetd
done_testing
