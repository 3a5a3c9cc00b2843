#!/usr/bin/env bash
# tercet against tercetd, each a process of its own, on softverbs: what is written is what is read.

. "$(dirname "$0")/native.sh"

require "the target starts" export_target ram:64M

expect_output "discover shows the subsystem" "subnqn: +$nqn\$" timeout 60 "$tercet" discover -a "$address" -s "$port"
expect_output "connect-test connects two queues" "2 I/O queues" tercet connect-test -i 2
output_has "connect-test reads the namespace" "namespace 1: 131072 blocks of 512 bytes: block 0 read"
expect_output "identify --json names the subsystem" "\"subnqn\" : \"$nqn\"" tercet identify --json

head -c 300000 /dev/urandom >"$tap_folder/input"
check "write takes a file" tercet write -f "$tap_folder/input" --start-block 7 --flush
check "read gives it back" tercet read --start-block 7 --block-count 586 -o "$tap_folder/output-file"
check "they are equal" cmp -n 300000 "$tap_folder/input" "$tap_folder/output-file"
expect_refusal "a read beyond the end is refused with the status" "LBA Out of Range" tercet read --start-block 131072
expect_refusal "an unknown subsystem is refused, in words" "Connect: the target has no subsystem of this name here: .*Connect Invalid Parameters" \
  timeout 60 "$tercet" connect-test -a "$address" -s "$port" -n nqn.2026-11.io.tercet:other
expect_refusal "... so is a keep-alive timeout that is too long, with the longest" \
  "Connect: the target takes no keep-alive timeout that long \(tercetd: 600 s, unless" tercet connect-test --keep-alive-tmo 601
check "... but not the longest" tercet connect-test --keep-alive-tmo 600
expect_refusal "nobody listens on another port" "nobody accepts" \
  timeout 60 "$tercet" connect-test -a "$address" -s 1 -n "$nqn"

kill -STOP "$tercetd_pid"
expect_refusal "a target that does not answer is given up when its user says" "no answer in time" \
  tercet connect-test --connect-timeout 1
kill -CONT "$tercetd_pid"

tercet_status() { "$@" >/dev/null 2>&1 </dev/null; echo $?; }
expect_equal "wrong usage ends with 2" 2 "$(tercet_status "$tercet" bench --nonsense)"
expect_equal "... as does no time to connect in" 2 \
  "$(tercet_status tercet connect-test --connect-timeout 0)"
expect_equal "a failure ends with 1" 1 "$(tercet_status "$tercet" discover -a "$address" -s 1)"

for size in 512 4k 64k 1m; do
  for depth in 1 32 256; do
    for queues in 1 2; do
      check "bench --verify with $size at depth $depth, $queues queues" \
        bench --rw randrw --bs "$size" --iodepth "$depth" --queues "$queues" --runtime 0.5 --size 32m
    done
  done
done
check "bench --verify with 4m" bench --rw randrw --bs 4m --iodepth 4 --runtime 0.5

check "the target ends in good order" stop_tercetd
done_testing
