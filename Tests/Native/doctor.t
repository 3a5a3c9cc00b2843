#!/usr/bin/env bash
# tercet doctor on this machine with softverbs: silent where nothing is wrong, and what it says of planted mistakes.
# Tests/HostDiagnosisTests has those that need another machine.
. "$(dirname "$0")/native.sh"

# doctor STATUS NAME PATTERN ARGUMENT...: it ends with that status and prints the pattern.
doctor() {
  local status=$1 name=$2 pattern=$3
  shift 3
  tap_run timeout 60 "$tercet" doctor "$@"
  [ "$tap_status" -eq "$status" ] && tap_matches "$pattern"
  tap_conclude $? "$name" "status $status: $pattern" tercet doctor "$@"
}

# configure ADDRESS [MORE]: a target's configuration.
configure() {
  cat >"$tap_folder/tercetd.json" <<JSON
{ "listeners": [ { "address": "$1", "port": $port } ], "reactors": 1${2:+, $2},
  "subsystems": [ { "nqn": "$nqn", "allowAnyHost": true, "namespaces": [ { "nsid": 1, "backing": "ram:1M" } ] } ] }
JSON
}

require "a target listens" export_target ram:1M --reactors 1
configure "$address"
doctor 0 "nothing is wrong" "^nothing is wrong: .*; 1 targets reached$" \
  --config "$tap_folder/tercetd.json" --target "$address:$port"
expect_equal "... and that is all" 1 "$(wc -l <"$tap_folder/output")"
doctor 0 "... in JSON" '^\[$|^\[\]$' --json

doctor 4 "a target that is not there" "^error: target 127.0.0.1:1: it is not reached: .*" --target 127.0.0.1:1
output_has "... why it matters" "^  why it matters: no path to its volumes"
output_has "... and the remedy" "^  remedy: ping 127.0.0.1; on the target: tercet target show"
configure 192.0.2.77
doctor 4 "a listener that is none of this host" "^error: listener 192.0.2.77:$port: its address is none of this host; there are: .*127" \
  --config "$tap_folder/tercetd.json"
configure "$address" '"sharedReceiveEntries": 65536'
doctor 4 "more receive buffers than the device has" "entries of a shared receive queue, and the configuration needs 65536" \
  --config "$tap_folder/tercetd.json"
configure "$address"
few_descriptors() { (ulimit -n 40 && timeout 60 "$tercet" doctor --config "$tap_folder/tercetd.json"); }
tap_run few_descriptors
[ "$tap_status" -eq 4 ] && tap_matches "^error: limit of file descriptors of the user [^:]+: it is 40, and [0-9]+ are needed"
tap_conclude $? "few descriptors" "status 4" few_descriptors
doctor 1 "a configuration that cannot be read" "tercet: $tap_folder/none: there is no such file" --config "$tap_folder/none"
doctor 2 "wrong usage" "no address; allowed: ADDRESS" --target nowhere

done_testing
