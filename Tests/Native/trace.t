#!/usr/bin/env bash
# The trace of a daemon: written when it is asked for by a signal, and when the daemon traps; printed by tercet trace.
. "$(dirname "$0")/native.sh"

# A backtrace takes the runtime longer than the trap that is tested.
export SWIFT_BACKTRACE=enable=no
traces=$tap_folder/traces
mkdir -p "$traces"
program=$project/.build/release/tercet

# The path that the log names last.
logged_path() { grep -o "$traces/tercetd-[0-9]*-[0-9]*\.trace" "$tercetd_log" | tail -n 1; }
# written COUNT: whether so many traces are there.
written() { [ "$(find "$traces" -name '*.trace' | wc -l)" -eq "$1" ]; }
events() { "$program" trace "$(logged_path)" "$@"; }
# values KIND NAME: the values of that name in events of that kind, one a line.
values() {
  "$program" trace "$(logged_path)" --kind "$1" --json | python3 -c '
import json, sys
for thread in json.load(sys.stdin)["threads"]:
    for event in thread["events"]:
        print(event["values"][sys.argv[1]])' "$2"
}

# transfers: the identifiers of the commands with the opcodes of Write and Read, one a line.
transfers() { paste <(values capsule-in opcode) <(values capsule-in cid) | awk '$1 == 1 || $1 == 2 { print $2 }'; }

require "a target listens" export_target ram:16M --reactors 1 --state-directory "$traces"
check "a host reads and writes" bench --rw randrw --bs 4k --iodepth 4 --size 1m --number-ios 200
kill -USR1 "$tercetd_pid"
check "a signal writes a trace" wait_until 10 written 1
check "the log names it" wait_until 10 logged_path
expect_equal "only its user may read it" 600 "$(stat -c %a "$(logged_path)")"
expect_output "it names the thread" '^== reactor-0 of process [0-9]+, [0-9]+ events' events
expect_output "it tells of the host's reads" '  capsule-in +queue [0-9]+, request [0-9]+, opcode 0x02, cid [0-9]+, nsid 1$' \
  events --kind capsule-in
expect_output "and of its connections" 'connection-established ' events --kind connection-established
expect_equal "each answer is a command's" "" "$(comm -13 <(values capsule-in cid | sort) <(values answer cid | sort))"
# Asynchronous Event Requests have none yet.
expect_equal "each read and write has its answer" "" "$(comm -23 <(transfers | sort) <(values answer cid | sort))"
check "the daemon goes on" bench --rw randread --bs 4k --iodepth 4 --size 1m --number-ios 100
kill -USR1 "$tercetd_pid"
check "the next trace has a file of its own" wait_until 10 written 2

expect_refusal "a file that is no trace is refused" "is no trace" "$program" trace "$0"
expect_refusal "a file that is not there is named" "none.trace" "$program" trace "$tap_folder/none.trace"
expect_refusal "a kind that does not exist is refused" "capsule-in" "$program" trace --kind none "$(logged_path)"
head -c 100000 "$(logged_path)" >"$tap_folder/cut.trace"
expect_output "a trace that was cut off says so" 'not written to its end' "$program" trace "$tap_folder/cut.trace"

kill -ILL "$tercetd_pid"
check "a daemon that traps has ended" wait_until 20 tercetd_has_ended
check "and has written a third trace" written 3
check "the standard error names it" grep -q "the last events are in $traces" "$tercetd_log"
expect_output "it can be printed" '^== reactor-0' events
tercetd_pid=
done_testing
