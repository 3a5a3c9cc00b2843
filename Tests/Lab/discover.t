#!/usr/bin/env bash
# A Linux host discovers the target's subsystems.
. "$(dirname "$0")/lab.sh"

require "the target starts" start_target "$nqn=ram:64M" "$nqn.second=ram:32M"

discover() { nvme discover -t rdma -a "${1:-$address4}" -s "$port" --hostnqn="$host_nqn" --hostid="$host_id"; }
expect_output "nvme discover lists the subsystem" "subnqn: +$nqn\$" discover
output_has "... and the second one" "subnqn: +$nqn\.second\$"
output_has "... with transport rdma" "trtype: +rdma"
output_has "... at the address that the host asked" "traddr: +$address4\$"
output_has "... and port" "trsvcid: +$port"
output_has "... as NVM subsystems" "subtype: +nvme subsystem"
if [ -n "$address6" ]; then
  expect_output "nvme discover over IPv6 lists the subsystem" "subnqn: +$nqn\$" discover "$address6"
  output_has "... with an IPv6 address" "traddr: +$address6\$"
fi
expect_output "the log page can be read in raw form" . \
  nvme discover -t rdma -a "$address4" -s "$port" --raw="$tap_folder/log"
records=$(od -A n -t u8 -j 8 -N 8 "$tap_folder/log" | tr -d ' ')
expect_equal "... and its length is that of its records" $((1024 + records * 1024)) "$(stat -c %s "$tap_folder/log")"

generation() { od -A n -t u8 -N 8 "$tap_folder/log" | tr -d ' '; }
first=$(generation)
check "a second discovery" nvme discover -t rdma -a "$address4" -s "$port" --raw="$tap_folder/log"
expect_equal "... finds the same generation" "$first" "$(generation)"

check "a persistent discovery controller connects" \
  nvme discover -t rdma -a "$address4" -s "$port" --persistent --keep-alive-tmo=5 --hostnqn="$host_nqn" --hostid="$host_id"
discovery=$(controllers "$discovery_nqn" | head -n 1)
check "... and is live" wait_until 20 state_is "$discovery" live
expect_output "... and says that it is a discovery controller" "cntrltype *: *2" nvme id-ctrl "/dev/$discovery"
check "... and disconnects" disconnect "$discovery_nqn"

check "connect-all connects to every subsystem" \
  nvme connect-all -t rdma -a "$address4" -s "$port" --hostnqn="$host_nqn" --hostid="$host_id"
# One record for each address that a subsystem can be reached at, and one controller for each record.
recorded() { discover | grep -cE "subnqn: +$1\$"; }
expect_equal "... by each of its records: the first" "$(recorded "$nqn")" "$(controllers "$nqn" | wc -l)"
expect_equal "... and the second" "$(recorded "$nqn.second")" "$(controllers "$nqn.second" | wc -l)"
check "... which disconnect" disconnect "$nqn"
check "... one after the other" disconnect "$nqn.second"

check "the target ends in good order" stop_target
check_kernel_log "the kernel has nothing to complain about"
done_testing
