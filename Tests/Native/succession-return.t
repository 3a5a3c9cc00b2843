#!/usr/bin/env bash
# A volume goes back to the daemon that prefers it: when that is there again and has been for a while, not while hosts use it where it is to
# be quiet, and not while a host of the owner has no path there.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

writer=$(on_softverbs "$project/.build/release/path-writer")
daemon_pids=()
at_exit '[ ${#daemon_pids[@]} -eq 0 ] || kill -KILL "${daemon_pids[@]}"'
daemons=(a b)
for name in "${daemons[@]}"; do tap_logs+=("$tap_folder/$name.log"); done
export TERCET_REGISTRY=sqlite:$tap_folder/registry.db

# start_daemon NUMBER OPTIONS...: starts a daemon, and waits until it offers the volume.
start_daemon() {
  local name=${daemons[$1]} number=$1 before
  shift
  touch "$tap_folder/$name.log"
  before=$(grep -c 'notice: serving' "$tap_folder/$name.log")
  "$volumed" --nvme "$address:$((port + 10 + number))" --control "$tap_folder/$name.sock" --daemon "$name" --place "$number" \
    --stay 2 --volume db "$@" >>"$tap_folder/$name.log" 2>&1 </dev/null &
  daemon_pids[$number]=$!
  wait_until 30 eval "[ \$(grep -c 'notice: serving' '$tap_folder/$name.log') -gt $before ]"
}
asked() { "$tercet" volume "$1" --socket "$tap_folder/${daemons[$2]}.sock" "${@:3}"; }
serves() { asked list "$1" | grep -q "this daemon, ${daemons[$1]}: serving"; }
end_daemon() { kill -TERM "${daemon_pids[$1]}" && wait "${daemon_pids[$1]}"; }
# load PORTS: a host with paths to these writes.
load() {
  "$writer" "$address" "$1" "nqn.2014-08.org.nvmexpress:uuid:$uuid" >"$tap_folder/writer" 2>&1 &
  writer_pid=$!
  wait_until 10 grep -q writing "$tap_folder/writer"
}
at_exit '[ -z "${writer_pid:-}" ] || kill -KILL "$writer_pid"'
tap_logs+=("$tap_folder/writer")
end_load() {
  kill -TERM "$writer_pid"
  wait "$writer_pid"
}
# stays NUMBER SECONDS: whether a daemon serves for so long.
stays() {
  local end=$((EPOCHSECONDS + $2))
  while [ "$EPOCHSECONDS" -lt "$end" ]; do
    serves "$1" || return 1
    sleep 0.2
  done
}

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" timeout 60 "$tercet" volume create db "${members[@]}" --region-size 64k
expect_refusal "a daemon does not prefer what it does not offer" "volume other: the daemon is to prefer it, and does not offer it" \
  "$volumed" --nvme "$address:$((port + 13))" --daemon c --place 2 --volume db --prefer other
require "a daemon offers it" start_daemon 0
require "... and serves it" wait_until 10 serves 0
uuid=$(asked list 0 | grep -oE '[0-9a-f]{8}-[0-9a-f-]{27}')

require "a host with a path to this one alone writes" load $((port + 10))
require "the daemon comes that prefers it, at any time" start_daemon 1 --prefer db --fail-back always
check "the volume stays: the host would have no path" stays 0 5
end_load
report $? "nothing is lost" || diagnose <"$tap_folder/writer"
check "the host has gone: the volume goes back" wait_until 15 serves 1
check "... as its owner says" grep -q "not served any more: it goes back to b, which prefers it" "$tap_folder/a.log"
require "a host with paths to both writes" load $((port + 10)),$((port + 11))
expect_output "it is handed over" "handed over to a" asked hand-over 1 db
check "... and goes back under load" wait_until 20 serves 1
end_load
report $? "nothing is lost, and nothing old was read" || diagnose <"$tap_folder/writer"

end_daemon 1
check "its daemon ends: the other serves it" wait_until 10 serves 0
require "the daemon is back, and takes it when it is quiet" start_daemon 1 --prefer db
require "a host with paths to both writes" load $((port + 10)),$((port + 11))
check "it stays while it is used" stays 0 9
end_load
report $? "nothing is lost" || diagnose <"$tap_folder/writer"
check "nobody uses it: it goes back" wait_until 25 serves 1
end_daemon 0
expect_equal "a daemon ends in good order" 0 $?
end_daemon 1
expect_equal "the other ends in good order" 0 $?
check "the targets end in good order" stop_members
done_testing
