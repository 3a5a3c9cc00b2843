#!/usr/bin/env bash
# A Linux host connects, in the ways that it can, and disconnects.
. "$(dirname "$0")/lab.sh"

require "the target starts" start_target "$nqn=ram:64M" "$nqn.second=ram:32M" "$nqn.second=ram:16M"

# connects NAME OPTION...: connects, reads and writes, disconnects.
connects() {
  local name=$1
  shift
  check "connect $name" connect "$nqn" "$@" || return
  check "... and write" dd if=/dev/urandom of="$namespace" bs=64k count=16 oflag=direct conv=fsync
  check "... and read" dd if="$namespace" of=/dev/null bs=64k count=16 iflag=direct
  check "... and disconnect" disconnect
}

connects "with one I/O queue" --nr-io-queues=1
connects "with two I/O queues" --nr-io-queues=2
connects "with flow control of the submission queue off" --disable-sqflow
connects "with queues of 16 entries" --queue-size=16
connects "with queues of 1024 entries" --queue-size=1024
connects "with controller loss after 5 s" --ctrl-loss-tmo=5
[ -z "$address6" ] || connects "over IPv6" --traddr="$address6"

check "connect with one I/O queue" connect "$nqn" --nr-io-queues=1
expect_output "the number of I/O queues is what was asked for" '^2$' cat "/sys/class/nvme/$controller/queue_count"
expect_output "the association has the target's address" "traddr=$address4,trsvcid=$port" cat "/sys/class/nvme/$controller/address"
check "... and disconnect" disconnect

check "connect with a keep-alive time-out of 1 s" connect "$nqn" --keep-alive-tmo=1
# What has to be seen is that nothing happens: the association outlives its time-out several times over, without I/O.
sleep 5
check "... and be live after 5 s without I/O" state_is "$controller" live
expect_equal "... still the same controller" "$controller" "$(controllers "$nqn")"
check "... and disconnect" disconnect

check "connect to a subsystem of two namespaces" connect "$nqn.second"
check "... and find both" wait_until 20 has_namespaces "$controller" 2
expect_output "... numbered 1 and 2" "0x2" nvme list-ns "/dev/$controller"
sizes=$(for device in $(namespaces "$controller"); do cat "/sys/block/$device/size"; done | paste -sd ' ')
expect_equal "... of the sizes exported, in sectors" "65536 32768" "$sizes"
check "... and disconnect" disconnect "$nqn.second"

check "connect two hosts at once" connect "$nqn" --nr-io-queues=1
first=$controller
check "... the second one" connect_as 02 nr_io_queues=1
identifier() { nvme id-ctrl "/dev/$1" -o json | sed -nE 's/.*"cntlid" *: *([0-9]+).*/\1/p'; }
report "$([ "$(identifier "$first")" != "$(identifier "$controller")" ]; echo $?)" "... with a controller identifier of its own"
check "... and disconnect both" disconnect

expect_refusal "a subsystem that is not there is refused" "." \
  nvme connect -t rdma -a "$address4" -s "$port" -n "$nqn.absent" --hostnqn="$host_nqn" --hostid="$host_id"
expect_refusal "a port where nobody listens is refused" "." \
  nvme connect -t rdma -a "$address4" -s 4421 -n "$nqn" --hostnqn="$host_nqn" --hostid="$host_id"
connects "after the refusals"

check "the target ends in good order" stop_target
# The kernel itself logs the two refusals, and nvmet's limit of 128 entries.
check_kernel_log "the kernel has nothing to complain about" \
  'Connect rejected: status 8|Connect Invalid|failed to connect|connect request for invalid subsystem|(queue_size 1024 > ctrl sqsize 128, clamping down)'
done_testing
