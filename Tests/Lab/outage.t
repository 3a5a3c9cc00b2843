#!/usr/bin/env bash
# The link between host and target is lost for longer than the keep-alive time: the initiator notices, connects again when it
# is back, and every read has what was written last. Between two Soft-RoCE devices, on the two ends of a veth pair; the
# target's side loses the keep-alive too. What is sent vanishes without a word, as with a switch that has died. Taking the
# interface down is not tried: the rdma_rxe of Linux 6.1 does not get over it, and its connection manager then waits for ever
# (cm_destroy_id_wait_timeout), with any target and any host.
. "$(dirname "$0")/lab.sh"

tercet=${TERCET:-$project/.build/release/tercet}
host=10.91.0.1 address4=10.91.0.2 address6=

# Both addresses are this machine's, and the kernel would deliver within itself. These routes send over the wire instead: to
# the other end's address by this end's interface. Those in the main table are for the connection manager, which looks for
# the way back to a host that asks for a connection without saying that the packet would be a local one (iif lo).
add_routes() {
  local table0 table1
  for table0 in 101 main; do
    [ "$table0" = main ] && table1=main || table1=102
    ip route replace "$address4" dev wire0 src "$host" table "$table0" &&
      ip route replace "$host" dev wire1 src "$address4" table "$table1" || return
  done
}

# The place for filters is made with the wire: the kernel rewrites the code of its receive path for it, and under load an emulated
# processor may never come out of that.
lay_wire() {
  modprobe -a rdma_rxe ib_uverbs rdma_ucm nvme-rdma veth sch_ingress cls_matchall act_gact &&
    ip link add wire0 mtu 4200 type veth peer name wire1 mtu 4200 &&
    tc qdisc add dev wire0 clsact && tc qdisc add dev wire1 clsact &&
    ip address add "$host/32" dev wire0 && ip address add "$address4/32" dev wire1 &&
    sysctl -qw net.ipv4.conf.{all,wire0,wire1}.{accept_local=1,rp_filter=0} &&
    ip link set wire0 up && ip link set wire1 up && add_routes &&
    ip rule add pref 10 iif wire0 lookup local && ip rule add pref 11 iif wire1 lookup local &&
    ip rule add pref 20 iif lo to "$address4" lookup 101 && ip rule add pref 21 iif lo to "$host" lookup 102 &&
    ip rule add pref 30 lookup local && ip rule del pref 0 &&
    rdma link add wired0 type rxe netdev wire0 && rdma link add wired1 type rxe netdev wire1
}

# Leaves the network as it was.
take_wire_away() {
  local pref
  rdma link delete wired0
  rdma link delete wired1
  ip rule add pref 0 lookup local
  for pref in 10 11 20 21 30; do ip rule del pref "$pref"; done
  ip link del wire0
}

received() { cat /sys/class/net/wire1/statistics/rx_bytes; }
bench() {
  "$tercet" bench -a "$address4" -s "$port" -n "$nqn" -k 2 --rw randrw --verify --size 16m --iodepth 8 --queues 2 \
    --fast-io-fail-tmo 120 "$@"
}
count_in_bench() { grep -c "$1" "$tap_folder/bench"; }
is_connected() { [ "$(count_in_bench "connection lost")" -eq "$(count_in_bench "connected again")" ]; }
# Whether the bench has its three connections, each seen from both ends.
connections() { [ "$(rdma resource show qp 2>/dev/null | grep -c 'state RTS')" -ge 6 ]; }

# Packets are dropped where they arrive, as a switch would. Where the sender's own queueing discipline drops them, the rdma_rxe of
# Linux 6.12 puts its queue pair for management datagrams (GSI) into the error state, and no connection is ever made again.
vanish() {
  local wire
  for wire in wire0 wire1; do
    tc filter add dev "$wire" ingress matchall action drop || return
  done
}
reappear() { tc filter del dev wire0 ingress && tc filter del dev wire1 ingress; }

if [ "${LAB:-}" != 1 ]; then
  skip "the link is lost" "it changes how the whole machine routes: in the lab only"
  done_testing
fi
require "two Soft-RoCE devices on a wire" lay_wire
at_exit take_wire_away
choose_backend ram

for target in nvmet tercetd; do
  require "$target starts" start_target "$nqn=$path"
  before=$(received)
  # With time to connect on a machine that is busy: this is not about the keep-alive.
  check "$target is reached" bench --runtime 1 -k 30
  bytes=$(($(received) - before))
  check "... over the wire ($bytes bytes)" [ "$bytes" -gt 100000 ]
  bench --runtime 40 >"$tap_folder/bench" 2>&1 &
  bench_pid=$!
  require "it is reached again" wait_until 30 connections
  for round in 1 2; do
    # Where the machine stood still for a second, a connection may have been lost before.
    check "the bench is connected, number $round" wait_until 60 is_connected
    lost=$(count_in_bench "connection lost")
    check "the link is lost, number $round" vanish
    check "... the loss is noticed" wait_until 30 times_in_bench "connection lost" "$((lost + 1))"
    outlast 5
    expect_equal "... and there is no connection meanwhile" "$lost" "$(count_in_bench "connected again")"
    check "... the link returns" reappear
    check "... the connection comes back" wait_until 60 times_in_bench "connected again" "$((lost + 1))"
  done
  wait "$bench_pid"
  status=$?
  expect_equal "the bench ends well: every read had what was written last" 0 "$status"
  diagnose <"$tap_folder/bench"
  check "the target ends in good order" stop_target
done
done_testing
