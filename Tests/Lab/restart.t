#!/usr/bin/env bash
# The target is killed and started again while the host writes and verifies: the host reconnects by itself.
. "$(dirname "$0")/lab.sh"

require "there is a drive" choose_backend drive4096
require "the target starts" start_target "$nqn=$path"
require "connect" connect "$nqn" --nr-io-queues=2 --keep-alive-tmo=5 --ctrl-loss-tmo=120
first=$controller
not_live() { ! state_is "$controller" live; }

check "fio starts" start_load
for count in 1 2 3; do
  mark_load
  check "fio makes progress" wait_until 60 load_moves
  check "the target is killed, number $count" kill_target
  check "... the host notices" wait_until 30 not_live
  check "... the target starts again" restart_target
  check "... the host has reconnected" wait_until 60 state_is "$controller" live
done
mark_load
check "fio makes progress" wait_until 60 load_moves
check "no I/O failed and all that fio read was right" end_load
expect_equal "it is still the same controller" "$first" "$(controllers "$nqn")"
check "disconnect" disconnect
check "the target ends in good order" stop_target
check_kernel_log "the kernel has nothing to complain about, but for the lost connection" \
  'starting error recovery|no usable path - requeuing|Connect rejected: status 8|failed nvme_keep_alive_end_io|[Kk]eep.?[Aa]live|Reconnecting in|rdma_resolve_route failed'

done_testing
