#!/usr/bin/env bash
# What a connected host costs the target: under 1 MiB of memory for each host of 4 queues of 128 entries.

. "$(dirname "$0")/native.sh"

require "the target starts" export_target ram:16M

resident() { awk '/^VmRSS/ {print $2}' "/proc/$tercetd_pid/status"; }
# Memory that the process may not swap out: what is registered with the device, where that locks it.
locked() { awk '/^VmPin|^VmLck/ {sum += $2} END {print sum + 0}' "/proc/$tercetd_pid/status"; }

# holders COUNT: so many hosts connect and stay, up to 25 of them in one process. Sets $holding.
holding=()
holders() {
  local left=$1 log count
  holding=()
  while [ "$left" -gt 0 ]; do
    count=$((left > 25 ? 25 : left)) log=$tap_folder/holder$left
    rm -f "$log"
    "$tercet" connect-test -a "$address" -s "$port" -n "$nqn" -i 4 -Q 128 --hosts "$count" --hold 300 >"$log" 2>&1 </dev/null &
    holding+=($!)
    at_exit "kill $!"
    wait_until 60 grep -q "^$count connected" "$log" || { cat "$log"; return 1; }
    left=$((left - count))
  done
}

gone() { ! kill -0 "${holding[@]}" 2>/dev/null; }
release() { kill "${holding[@]}" && wait_until 20 gone; }

# Buffers that are used for the first time are not any host's.
require "all reactors have served somebody" bench --rw randrw --queues 2 --runtime 1
require "a first host connects" holders 1
one=$(resident)
diagnose "1 host: $one KiB resident, $(locked) KiB locked"
check "it goes" release
for hosts in 10 50; do
  require "$hosts hosts connect" holders "$hosts"
  many=$(resident)
  diagnose "$hosts hosts: $many KiB resident, $(locked) KiB locked: $(((many - one) / (hosts - 1))) KiB each"
  expect_at_most "each of $hosts hosts costs less than 1 MiB (KiB)" 1023 $(((many - one) / (hosts - 1)))
  check "they go" release
done
check "the target ends in good order" stop_tercetd
done_testing
