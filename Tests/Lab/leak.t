#!/usr/bin/env bash
# Connecting and disconnecting, many times, leaves everything where it was. CYCLES chooses how many times.
. "$(dirname "$0")/lab.sh"

cycles=${CYCLES:-100}
# Memory is counted in small pages: with huge ones the first byte of another one counts as 2 MiB.
[ "${LAB:-}" != 1 ] || echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
require "the target starts" start_target "$nqn=ram:64M"

# Connects by turns as one host and with two I/O queues as another, reads one block, disconnects, so many times. By the
# kernel's own interface: nvme-cli would take longer than what it asks for.
cycle() {
  local count
  for ((count = 0; count < $1; count++)); do
    connect_as 0$((count % 2)) nr_io_queues=$((count % 2 + 1)) && wait_until 30 has_namespaces "$controller" 1 &&
      dd if="$namespace" of=/dev/null bs=4k count=1 iflag=direct status=none &&
      echo 1 >"/sys/class/nvme/$controller/delete_controller" && wait_until 30 no_controller "$nqn" || return
  done
}

# Prints the RDMA objects of the whole machine: the host's are all gone when it is not connected.
rdma_objects() { rdma resource show | sed 's/^[0-9]*: //'; }
settled() { [ "$(rdma_objects)" = "$before" ]; }

everything() {
  rdma_objects
  if [ "$target" = tercetd ]; then tercetd_descriptors; fi
}

check "the first 10 cycles" cycle 10
# What is given back late is given back when it does not change any more.
require "what they had is given back" wait_until 30 unchanged everything
before=$(rdma_objects)
if [ "$target" = tercetd ]; then
  descriptors=$(tercetd_descriptors)
  threads=$(own_threads "$tercetd_pid")
  resident=$(awk '/^VmRSS/ {print $2}' "/proc/$tercetd_pid/status")
fi
diagnose "$before"
start=$SECONDS
check "$cycles cycles more" cycle "$cycles"
diagnose "$((SECONDS - start)) s"
wait_until 20 settled
expect_equal "the RDMA objects are what they were" "$before" "$(rdma_objects)"
if [ "$target" = tercetd ]; then
  expect_equal "the daemon has as many file descriptors" "$descriptors" "$(tercetd_descriptors)"
  expect_threads "... and no more threads" 30 "$tercetd_pid" "$threads"
  expect_at_most "... and at most 1 MiB of memory more (KiB)" $((resident + 1024)) \
    "$(awk '/^VmRSS/ {print $2}' "/proc/$tercetd_pid/status")"
fi
check "the target ends in good order" stop_target
check_kernel_log "the kernel has nothing to complain about"
done_testing
