#!/usr/bin/env bash
# Target or host stands still for longer than the keep-alive time, under load, and goes on: the connection comes back, and
# every read has what was written last, though commands of the old association were under way.

. "$(dirname "$0")/native.sh"

truncate -s 64M "$tap_folder/store"
require "the target starts" export_target "$tap_folder/store"

times_at_target() { [ "$(grep -c "$1" "$tercetd_log")" -ge "$2" ]; }
stands_still() { [ "$(cut -d ' ' -f 3 "/proc/$1/stat")" = T ]; }

"$tercet" bench -a "$address" -s "$port" -n "$nqn" -k 2 --verify --rw randrw --queues 2 --iodepth 64 --size 32m --runtime 25 \
  --fast-io-fail-tmo 60 >"$tap_folder/bench" 2>&1 &
bench_pid=$!
at_exit "kill -KILL $bench_pid"
check "the host connects, and writes" wait_until 20 is_written

kill -STOP "$tercetd_pid"
check "the target stands still: the host notices" wait_until 20 times_in_bench "connection lost" 1
outlast 3
expect_equal "... and does not connect meanwhile" 0 "$(grep -c "connected again" "$tap_folder/bench")"
kill -CONT "$tercetd_pid"
check "... it goes on: the connection comes back" wait_until 30 times_in_bench "connected again" 1

ended="host disconnected.*keep-alive timeout"
before=$(grep -c "$ended" "$tercetd_log")
kill -STOP "$bench_pid"
check "the host stands still" wait_until 5 stands_still "$bench_pid"
check "... the target ends its association" wait_until 20 times_at_target "$ended" $((before + 1))
kill -CONT "$bench_pid"
check "... it goes on: the loss is noticed" wait_until 20 times_in_bench "connection lost" 2
check "... and the connection comes back" wait_until 30 times_in_bench "connected again" 2

wait "$bench_pid"
status=$?
expect_equal "the bench ends well: every read had what was written last" 0 "$status"
diagnose <"$tap_folder/bench"
check "the target ends in good order" stop_tercetd
done_testing
