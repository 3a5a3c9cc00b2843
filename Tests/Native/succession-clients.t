#!/usr/bin/env bash
# What clients of two volume daemons that share a volume meet between two owners: an NBD client whose daemon was stopped is told nothing that
# may be old, and a host's reservation command that the owner can no longer keep goes to the next one.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

writer=$(on_softverbs "$project/.build/release/path-writer")
daemon_pids=()
at_exit '[ ${#daemon_pids[@]} -eq 0 ] || kill -KILL "${daemon_pids[@]}"'
daemons=(a b)
for name in "${daemons[@]}"; do tap_logs+=("$tap_folder/$name.log"); done
export TERCET_REGISTRY=sqlite:$tap_folder/registry.db

# start_daemon NUMBER: starts a daemon, and waits until it offers the volume.
start_daemon() {
  local name=${daemons[$1]}
  "$volumed" --nvme "$address:$((port + 10 + $1))" --nbd "$tap_folder/$name.nbd" --control "$tap_folder/$name.sock" --daemon "$name" \
    --place "$1" --lease "$lease" --volume db >"$tap_folder/$name.log" 2>&1 </dev/null &
  daemon_pids[$1]=$!
  wait_until 30 grep -q 'notice: serving' "$tap_folder/$name.log"
}
asked() { "$tercet" volume "$1" --socket "$tap_folder/${daemons[$2]}.sock" "${@:3}"; }
serves() { asked list "$1" | grep -q "this daemon, ${daemons[$1]}: serving"; }
stands_by() { asked list "$1" | grep -q "this daemon, ${daemons[$1]}: standing by, leased"; }
hosts() { timeout 40 "$writer" "$address" "$((port + 10)),$((port + 11))" "nqn.2014-08.org.nvmexpress:uuid:$uuid" "$1"; }
by_nbd() { echo "nbd+unix:///db?socket=$tap_folder/${daemons[$1]}.nbd"; }
start_both() {
  require "a daemon offers the volume" start_daemon 0
  require "... and serves it" wait_until 10 serves 0
  require "another one offers it too" start_daemon 1
  require "... and stands by" wait_until 10 stands_by 1
}

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" timeout 60 "$tercet" volume create db "${members[@]}" --region-size 64k
lease=2
start_both

check "something is written by NBD" qemu-io -f raw -c "write -P 1 0 4k" "$(by_nbd 0)"
mkfifo "$tap_folder/commands"
qemu-io -f raw "$(by_nbd 0)" <"$tap_folder/commands" >"$tap_folder/client" 2>&1 &
client_pid=$!
at_exit 'kill -KILL "$client_pid"'
exec 7>"$tap_folder/commands"
require "a client connects" wait_until 10 grep -q "NBD session began .*session=2" "$tap_folder/a.log"
# All threads of a process stop a little after the signal.
has_stopped() { ! grep -L '^State:.T' /proc/"$1"/task/*/status | grep -q .; }
kill -STOP "${daemon_pids[0]}"
require "its daemon hangs" wait_until 10 has_stopped "${daemon_pids[0]}"
echo "read -P 1 0 4k" >&7
check "... the other serves" wait_until 15 serves 1
check "... and something else is written there" wait_until 10 qemu-io -f raw -c "write -P 2 0 4k" "$(by_nbd 1)"
kill -CONT "${daemon_pids[0]}"
exec 7>&-
wait "$client_pid"
check "the client's next read, which the daemon finds when it wakes up, fails" grep -q "read failed" "$tap_folder/client"
expect_equal "... and tells nothing" 0 "$(grep -c "read 4096/4096" "$tap_folder/client")"
check "the daemon stands by" wait_until 15 stands_by 0
expect_output "who reads at the other finds what is new" "read 4096/4096" qemu-io -f raw -c "read -P 2 0 4k" "$(by_nbd 1)"
kill -TERM "${daemon_pids[@]}"
wait "${daemon_pids[@]}"

# A registry that another program has: what a host reserves cannot be kept for owners to come, and the volume cannot be passed on.
# Its time for a call is a quarter of the lease, and the host waits for longer.
lease=4
start_both
uuid=$(asked list 0 | grep -oE '[0-9a-f]{8}-[0-9a-f-]{27}')
python3 - "$tap_folder/registry.db" "$tap_folder/a.log" >"$tap_folder/lock" 2>&1 <<'PYTHON' &
import sqlite3, sys, time
registry = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
registry.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
end = time.monotonic() + 10
while time.monotonic() < end and "cannot be stored" not in open(sys.argv[2]).read(): time.sleep(0.01)
PYTHON
lock_pid=$!
require "the registry is locked" wait_until 10 grep -q locked "$tap_folder/lock"
hosts reserve >"$tap_folder/reserved" 2>&1 &
hosts_pid=$!
check "a reservation of a host cannot be kept, as the log says" wait_until 15 grep -q "its reservation cannot be stored" "$tap_folder/a.log"
asked hand-over 0 db --to b >"$tap_folder/handed" 2>&1
wait "$hosts_pid"
expect_equal "... the host hears of no error but its path's, and makes it where the volume is served" reserved "$(cat "$tap_folder/reserved")"
diagnose <"$tap_folder/handed"
wait "$lock_pid"
expect_output "... and it holds" "^kept$" hosts check
expect_output "the host gives it up" "^released$" hosts release
kill -TERM "${daemon_pids[@]}"
wait "${daemon_pids[@]}"
expect_equal "the daemons end in good order" 0 $?
check "the targets end in good order" stop_members
done_testing
