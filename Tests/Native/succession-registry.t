#!/usr/bin/env bash
# Two volume daemons of one machine that agree through a SQLite registry: a host's reservation goes with the volume, a daemon's name is its
# own, one that ends is gone at once however long its lease, and a volume whose members cannot be reached is left to the other.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

writer=$(on_softverbs "$project/.build/release/path-writer")
daemon_pids=()
at_exit '[ ${#daemon_pids[@]} -eq 0 ] || kill -KILL "${daemon_pids[@]}"'
daemons=(a b)
for name in "${daemons[@]}" c; do tap_logs+=("$tap_folder/$name.log"); done
export TERCET_REGISTRY=sqlite:$tap_folder/registry.db

# start_daemon NUMBER SECONDS: starts a daemon with a lease of so many seconds, and waits until it offers the volume.
start_daemon() {
  local name=${daemons[$1]} before
  touch "$tap_folder/$name.log"
  before=$(grep -c 'notice: serving' "$tap_folder/$name.log")
  "$volumed" --nvme "$address:$((port + 10 + $1))" --control "$tap_folder/$name.sock" --daemon "$name" --place "$1" --lease "$2" \
    --volume db >>"$tap_folder/$name.log" 2>&1 </dev/null &
  daemon_pids[$1]=$!
  wait_until 30 eval "[ \$(grep -c 'notice: serving' '$tap_folder/$name.log') -gt $before ]"
}
asked() { "$tercet" volume "$1" --socket "$tap_folder/${daemons[$2]}.sock" "${@:3}"; }
serves() { asked list "$1" | grep -q "this daemon, ${daemons[$1]}: serving"; }
stands_by() { asked list "$1" | grep -q "this daemon, ${daemons[$1]}: standing by, leased"; }
somebody_serves() { serves 0 || serves 1; }
hosts() { timeout 40 "$writer" "$address" "$((port + 10)),$((port + 11))" "nqn.2014-08.org.nvmexpress:uuid:$uuid" "$1"; }
# One of a volume's own; connections have others.
descriptors() { ls -l "/proc/${daemon_pids[$1]}/fd" | grep -c eventfd; }
end_daemon() { kill -TERM "${daemon_pids[$1]}" && wait "${daemon_pids[$1]}"; }

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" timeout 60 "$tercet" volume create db "${members[@]}" --region-size 64k
require "a daemon with a long lease offers it" start_daemon 0 600
require "... and serves it" wait_until 10 serves 0
require "another one offers it too" start_daemon 1 600
require "... and stands by" wait_until 10 stands_by 1

uuid=$(asked list 0 | grep -oE '[0-9a-f]{8}-[0-9a-f-]{27}')
expect_output "a host reserves the volume" "^reserved$" hosts reserve
expect_output "... which keeps others from writing" "^kept$" hosts check
expect_output "the volume is handed over" "handed over to b" asked hand-over 0 db
expect_output "... with the reservation" "^kept$" hosts check
to_and_fro() { asked hand-over 1 db >/dev/null && wait_until 10 serves 0 && asked hand-over 0 db >/dev/null && wait_until 10 serves 1; }
require "it goes to and fro" to_and_fro
before=$(descriptors 1)
for turn in 1 2 3; do to_and_fro; done
expect_at_most "... and leaves nothing open" "$before" "$(descriptors 1)"
kill -KILL "${daemon_pids[1]}" && wait "${daemon_pids[1]}" 2>/dev/null
require "its daemon is killed: the other serves it" wait_until 15 serves 0
expect_output "... with the reservation" "^kept$" hosts check
expect_output "the host gives it up" "^released$" hosts release
require "the other daemon comes back" start_daemon 1 600
require "... and stands by" wait_until 10 stands_by 1
expect_output "the volume is handed over" "handed over to b" asked hand-over 0 db
expect_output "... without a reservation of former times" "^reserved$" hosts reserve

"$volumed" --nvme "$address:$((port + 13))" --control "$tap_folder/c.sock" --daemon b --place 5 --volume db >"$tap_folder/c.log" 2>&1 </dev/null &
other_pid=$!
at_exit 'kill -KILL "$other_pid"'
check "a daemon has no name of another" wait_until 20 grep -q "daemon b: there is one with this name" "$tap_folder/c.log"
kill -TERM "$other_pid"
wait "$other_pid"
expect_equal "... and ends in good order" 0 $?
check "... and the other one still serves" serves 1

began=$EPOCHSECONDS
end_daemon 1
expect_equal "the owner ends in good order" 0 $?
expect_at_most "... at once, however long its lease (s)" 5 $((EPOCHSECONDS - began))
check "the other serves" wait_until 10 serves 0
expect_refusal "nothing is handed to the one that has ended" "daemon b stands by for it; standing by: none" asked hand-over 0 db --to b
require "it begins anew" start_daemon 1 2
check "... and stands by at once" wait_until 10 stands_by 1
expect_output "the reservation is still there" "^kept$" hosts check
expect_output "the host gives it up" "^released$" hosts release

# The registry says what the volume has become since the daemons began.
for number in 0 1 2; do truncate -s 80M "$tap_folder/disk$number"; done
target_is_larger() { "$tercet" connect-test -a "$address" -s "$((port + $1))" -n "$nqn.$1" | grep -q " 163840 blocks"; }
for number in 0 1 2; do require "namespace $number is enlarged" wait_until 30 target_is_larger "$number"; done
expect_output "the volume grows, by a host that takes it over" "the volume has 16[0-9]* blocks" timeout 60 "$tercet" volume grow db --take-over
check "its owner serves it again" wait_until 20 serves 0
expect_output "... as large as it is" "^db: serving, 83[0-9]* bytes" asked list 0
expect_output "it is handed over" "handed over to b" asked hand-over 0 db
check "... and served by the other" wait_until 10 serves 1
expect_output "... as large as it is" "^db: serving, 83[0-9]* bytes" asked list 1
expect_output "hosts go on" "^reserved$" hosts reserve
expect_output "... with it" "^released$" hosts release
expect_output "... and back" "handed over to a" asked hand-over 1 db
require "... and served by the first" wait_until 10 serves 0

kill_member 1
kill_member 2
check "two members are away: the owner leaves the volume to others" wait_until 20 grep -q "not served any more: too few of its members" "$tap_folder/a.log"
for number in 1 2; do require "target $number comes back" start_member "$number"; done
check "somebody serves again" wait_until 30 somebody_serves
expect_output "hosts go on" "^reserved$" hosts reserve
end_daemon 0
expect_equal "a daemon ends in good order" 0 $?
end_daemon 1
expect_equal "the other ends in good order" 0 $?
check "the targets end in good order" stop_members
done_testing
