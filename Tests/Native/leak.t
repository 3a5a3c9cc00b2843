#!/usr/bin/env bash
# A thousand hosts come, do I/O and go: the daemon is left with as many descriptors, mappings, threads and as much memory as
# it had after the first ones. CYCLES chooses how many.

. "$(dirname "$0")/native.sh"

cycles=${CYCLES:-1000}
require "the target starts" export_target ram:16M

mappings() { wc -l <"/proc/$tercetd_pid/maps"; }
resident() { awk '/^VmRSS/ {print $2}' "/proc/$tercetd_pid/status"; }

# hosts_come_and_go COUNT: two at a time.
hosts_come_and_go() {
  seq "$1" | xargs -P 2 -I _ timeout 60 "$tercet" connect-test -a "$address" -s "$port" -n "$nqn" -i 2 >/dev/null
}
# A queue pair is kept a moment after its connection has ended.
settled() { [ "$(tercetd_descriptors)" -le "$1" ]; }

# Each receive buffer, each page of the data pool and each arena of the allocator is used for the first time at some point:
# load on both reactors and enough hosts bring that about, so that what grows afterwards is what a host leaves.
require "all buffers have been used" bench --rw randrw --queues 2 --iodepth 128 --bs 16K --runtime 3
require "the first hosts come and go" hosts_come_and_go $((cycles / 4))
require "what the first ones had is given back" wait_until 30 unchanged tercetd_descriptors
first_descriptors=$(tercetd_descriptors) first_threads=$(own_threads "$tercetd_pid") first_mappings=$(mappings) first_resident=$(resident)
check "$cycles hosts come and go" hosts_come_and_go "$cycles"
wait_until 10 settled "$first_descriptors"
expect_at_most "no descriptor is left" "$first_descriptors" "$(tercetd_descriptors)"
expect_threads "no thread is left" 10 "$tercetd_pid" "$first_threads"
expect_at_most "no mapping is left, but for the allocator's own few" $((first_mappings + 16)) "$(mappings)"
expect_at_most "resident memory (KiB) has grown by 2 MiB at most" $((first_resident + 2048)) "$(resident)"
diagnose "resident before: $first_resident KiB, after: $(resident) KiB; descriptors $first_descriptors, $(tercetd_descriptors)"
check "the target ends in good order" stop_tercetd
done_testing
