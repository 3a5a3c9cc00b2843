#!/usr/bin/env bash
# Two volume daemons that offer one volume to hosts, and agree through etcd which of them serves it: a host with paths to both writes and
# verifies while the one that serves is told to hand over, killed, stopped and continued, and while etcd is away.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"
. "$(dirname "$0")/etcd.sh"

writer=$(on_softverbs "$project/.build/release/path-writer")
daemon_pids=()
at_exit '[ ${#daemon_pids[@]} -eq 0 ] || kill -KILL "${daemon_pids[@]}"'
daemons=(a b)
for name in "${daemons[@]}"; do tap_logs+=("$tap_folder/$name.log"); done

# start_daemon NUMBER: starts a daemon, and waits until it offers the volume.
start_daemon() {
  local name=${daemons[$1]} before
  touch "$tap_folder/$name.log"
  before=$(grep -c 'notice: serving' "$tap_folder/$name.log")
  "$volumed" --nvme "$address:$((port + 10 + $1))" --control "$tap_folder/$name.sock" --daemon "$name" --place "$1" \
    --metrics "$tap_folder/$name.http" --volume db >>"$tap_folder/$name.log" 2>&1 </dev/null &
  daemon_pids[$1]=$!
  wait_until 30 eval "[ \$(grep -c 'notice: serving' '$tap_folder/$name.log') -gt $before ]"
}
asked() { "$tercet" volume "$1" --socket "$tap_folder/${daemons[$2]}.sock" "${@:3}"; }
serves() { asked list "$1" | grep -q "this daemon, ${daemons[$1]}: serving"; }
stands_by() { asked list "$1" | grep -q "this daemon, ${daemons[$1]}: standing by, leased"; }

# went_on PATH: whether the host has got on since the mark, and by that path.
mark=0
writing() { wc -l <"$tap_folder/writer"; }
went_on() { tail -n "+$((mark + 1))" "$tap_folder/writer" | grep -q "gap: .*by path $1"; }
longest_gap() { tail -n "+$((mark + 1))" "$tap_folder/writer" | sed -n 's/^gap: \([0-9]*\) ms.*/\1/p' | sort -n | tail -n 1; }
# gap_of LIMIT NAME: the longest gap since the mark, in milliseconds. The limits are those of a machine that does much else.
gap_of() {
  local gap
  gap=$(longest_gap)
  diagnose "$2: ${gap:-less than 100} ms"
  expect_at_most "the host's gap: $2" "$1" "${gap:-0}"
  mark=$(writing)
}

start_etcd 0 http "m0=http://$etcd_address:2389"
require "etcd starts" wait_until 30 etcd_client "$etcd_address:2379" endpoint health
export TERCET_REGISTRY=etcd://$etcd_address:2379
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" timeout 60 "$tercet" volume create db "${members[@]}" --region-size 64k
require "a daemon offers it" start_daemon 0
require "... and serves it" wait_until 10 serves 0
require "another one offers it too" start_daemon 1
check "... and stands by" wait_until 10 stands_by 1
expect_output "it names the owner" "^owner: a owns it since 20[^ ]*; this daemon, b: standing by, leased until 20.*; standing by: b" \
  asked explain 1 db
expect_output "there is a metric of it" '^tercet_volume_owned\{volume="db"\} 1' \
  curl -s --unix-socket "$tap_folder/a.http" http://localhost/metrics
expect_refusal "a third has no place of another" "place 1 is daemon b's" \
  "$volumed" --nvme "$address:$((port + 13))" --daemon c --place 1 --volume db
expect_refusal "one that stands by has nothing to hand over" "is not served here; a owns it: ask that daemon" asked hand-over 1 db
expect_refusal "none but those that stand by take it over" "daemon x stands by for it; standing by: b" asked hand-over 0 db --to x
uuid=$(asked list 0 | grep -oE '[0-9a-f]{8}-[0-9a-f-]{27}')
"$writer" "$address" "$((port + 10)),$((port + 11))" "nqn.2014-08.org.nvmexpress:uuid:$uuid" >"$tap_folder/writer" 2>&1 &
writer_pid=$!
at_exit 'kill -KILL $writer_pid'
tap_logs+=("$tap_folder/writer")
require "a host with paths to both writes" wait_until 10 grep -q writing "$tap_folder/writer"

mark=$(writing)
expect_output "the volume is handed over" "db: handed over to b, detached and passed in [0-9]+ ms" asked hand-over 0 db --to b
check "... and served by the other" wait_until 10 serves 1
expect_output "... and back" "handed over to a" asked hand-over 1 db
check "... served by the first" wait_until 10 serves 0
gap_of 8000 "two planned hand-overs"

kill -KILL "${daemon_pids[0]}" && wait "${daemon_pids[0]}" 2>/dev/null
check "its daemon is killed: the other serves it" wait_until 15 serves 1
check "... before the lease has ended: nobody listens there any more" grep -q "daemon a: nobody listens at $address:$((port + 10)) any more" "$tap_folder/b.log"
check "... and the host goes on" wait_until 15 went_on 1
gap_of 20000 "the owner is killed"
require "the first comes back" start_daemon 0
check "... and stands by" wait_until 10 stands_by 0

kill -STOP "${daemon_pids[1]}"
check "its daemon hangs: the other serves it" wait_until 15 serves 0
check "... and the host goes on" wait_until 15 went_on 0
kill -CONT "${daemon_pids[1]}"
check "... it wakes up, and stands by" wait_until 15 stands_by 1
check "... as it knows itself" grep -q "volume not served any more" "$tap_folder/b.log"
gap_of 20000 "the owner hangs"

awaited() { cat "$tap_folder/a.log" "$tap_folder/b.log" | grep -c "there is one with this name"; }
before=$(awaited)
kill_etcd 0
check "etcd is away for longer than the lease: nobody serves it" wait_until 10 grep -q "not served any more: the lease has ended" "$tap_folder/a.log"
start_etcd 0 http "m0=http://$etcd_address:2389"
somebody_serves() { serves 0 || serves 1; }
check "... it is back: somebody does" wait_until 20 somebody_serves
expect_equal "... and nobody waits for the end of its own former lease" "$before" "$(awaited)"
check "... and the host goes on" wait_until 15 went_on '[01]'
gap_of 30000 "etcd is away, and started again"

owner=1
serves 0 && owner=0
kill -TERM "${daemon_pids[$owner]}"
wait "${daemon_pids[$owner]}"
expect_equal "its daemon ends in good order" 0 $?
check "... and the other serves it" wait_until 10 serves $((1 - owner))
gap_of 8000 "the owner is told to end"
kill -TERM "$writer_pid"
wait "$writer_pid"
report $? "nothing that was acknowledged is lost, and nothing old was read" || diagnose <"$tap_folder/writer"
diagnose "$(tail -n 1 "$tap_folder/writer")"
kill_etcd 0
kill -TERM "${daemon_pids[$((1 - owner))]}"
wait "${daemon_pids[$((1 - owner))]}"
expect_equal "the last one ends in good order, though etcd is away" 0 $?
expect_output "the volume is clean" "clean, members: in sync, in sync, in sync" volume status
check "the members are equal" members_are_equal
check "the targets end in good order" stop_members
done_testing
