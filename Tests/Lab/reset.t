#!/usr/bin/env bash
# The host resets the controller while it writes and verifies: nothing is lost, nothing is wrong.
. "$(dirname "$0")/lab.sh"

require "there is a drive" choose_backend drive512
require "the target starts" start_target "$nqn=$path"
require "connect" connect "$nqn" --nr-io-queues=2
first=$controller
check "fio starts" start_load
for count in 1 2 3 4 5; do
  mark_load
  check "fio makes progress" wait_until 30 load_moves
  check "nvme reset, number $count" nvme reset "/dev/$controller"
  check "... and the controller is live" wait_until 30 state_is "$controller" live
done
mark_load
check "fio makes progress" wait_until 30 load_moves
check "no I/O failed and all that fio read was right" end_load
expect_equal "it is still the same controller" "$first" "$(controllers "$nqn")"
check "disconnect" disconnect
check "the target ends in good order" stop_target
check_kernel_log "the kernel has nothing to complain about, but for the resets" 'resetting controller|no usable path - requeuing'
done_testing
