#!/usr/bin/env bash
# The target is killed and started again under load: the connection comes back, and nothing that was written is lost.

. "$(dirname "$0")/native.sh"

truncate -s 64M "$tap_folder/store"
require "the target starts" export_target "$tap_folder/store"

bench --rw randrw --queues 2 --iodepth 64 --runtime 6 --size 32m --fast-io-fail-tmo 60 >"$tap_folder/bench" 2>&1 &
bench_pid=$!

times_in_log() { [ "$(grep -c "$1" "$tap_folder/bench")" -ge "$2" ]; }

# All of its queues are connected: a first connection that is cut would not be tried again.
check "the host connects, and writes" wait_until 20 is_written
for round in 1 2 3; do
  stop_tercetd KILL
  wait_until 20 times_in_log "connection lost" "$round"
  report $? "kill $round: the loss is noticed"
  start_tercetd --listen "$address:$port" --export "$nqn=$tap_folder/store"
  wait_until 20 times_in_log "connected again" "$round"
  report $? "kill $round: the connection comes back"
done

wait "$bench_pid"
status=$?
expect_equal "the bench ends well: every read had what was written last" 0 "$status"
[ "$status" -eq 0 ] || diagnose <"$tap_folder/bench"
check "the target ends in good order" stop_tercetd
done_testing
