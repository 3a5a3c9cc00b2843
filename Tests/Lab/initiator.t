#!/usr/bin/env bash
# tercet, our initiator, over Soft-RoCE: against Linux's own target and against tercetd, on the same stores.
. "$(dirname "$0")/lab.sh"

tercet=${TERCET:-$project/.build/release/tercet}
calls=${CALLS:-$project/.build/release/initiator-calls}
lab_fabric

# tercet COMMAND OPTION...: against the target that is running.
tercet() {
  local command=$1
  shift
  timeout 120 "$tercet" "$command" -a "$address4" -s "$port" -n "$nqn" "$@"
}

bench() { tercet bench --rw randrw --verify --size 32m "$@"; }

# all_calls: makes every call of the initiator; a target of the kernel is given a namespace more when that is asked for.
all_calls() {
  local wants=() pid
  [ "$target" = tercetd ] || wants=(--await-change)
  timeout 180 "$calls" "$address4" "$port" "$nqn" "${wants[@]}" >"$tap_folder/calls" 2>&1 </dev/null &
  pid=$!
  if [ ${#wants[@]} -gt 0 ] && wait_until 120 grep -q '^# change' "$tap_folder/calls"; then
    null_block_device tercet9 16 1 && mkdir "$nvmet/subsystems/$nqn/namespaces/9" &&
      echo "$nvmet_device" >"$nvmet/subsystems/$nqn/namespaces/9/device_path" &&
      echo 1 >"$nvmet/subsystems/$nqn/namespaces/9/enable"
  fi
  wait "$pid"
}

# Whether the bench has its queues for the first time, or again: three connections, each seen from both ends.
connections() { [ "$(rdma resource show qp 2>/dev/null | grep -c 'state RTS')" -ge 6 ]; }

for target in nvmet tercetd; do
  for store in ram drive4096; do
    choose_backend "$store" || { skip "$target on $store" "no such store here"; continue; }
    require "$target starts on $store" start_target "$nqn=$path"
    expect_output "discover shows the subsystem" "subnqn: +$nqn\$" \
      timeout 60 "$tercet" discover -a "$address4" -s "$port"
    expect_output "connect-test connects two queues" "2 I/O queues" tercet connect-test -i 2
    output_has "connect-test reads the namespace" "blocks of $block_size bytes: block 0 read"
    expect_output "identify names the subsystem" "subnqn *: $nqn\$" tercet identify
    for size in 512 4096 65536 1048576 4194304; do
      [ "$size" -ge "$block_size" ] || continue
      check "bench --verify with $size bytes" bench --bs "$size" --iodepth 4 --runtime 2
    done
    check "bench --verify at depth 1" bench --iodepth 1 --runtime 2
    check "bench --verify at depth 256, 2 queues" bench --iodepth 256 --queues 2 --runtime 3
    [ -z "$address6" ] ||
      check "bench --verify over IPv6" timeout 120 "$tercet" bench -a "$address6" -s "$port" -n "$nqn" --rw randrw \
        --verify --size 32m --runtime 2
    check "every call that the target has, and refusals of others" all_calls
    diagnose <"$tap_folder/calls"
    check "the target ends in good order" stop_target
  done

  # Killed and started again under load; a drive keeps what it has.
  choose_backend drive4096 || continue
  require "$target starts again" start_target "$nqn=$path"
  bench --iodepth 16 --queues 2 --runtime 30 --fast-io-fail-tmo 60 >"$tap_folder/bench" 2>&1 &
  bench_pid=$!
  for round in 1 2; do
    require "the bench is connected, number $round" wait_until 30 connections
    check "$target is killed, number $round" kill_target
    check "... the loss is noticed" wait_until 30 times_in_bench "connection lost" "$round"
    check "... the target starts again" restart_target
    check "... the connection comes back" wait_until 60 times_in_bench "connected again" "$round"
  done
  wait "$bench_pid"
  status=$?
  expect_equal "the bench ends well: every read had what was written last" 0 "$status"
  [ "$status" -eq 0 ] || diagnose <"$tap_folder/bench"
  check "the target ends in good order" stop_target
done
done_testing
