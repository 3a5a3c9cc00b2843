#!/usr/bin/env bash
# Queues of hosts are served by the reactor at the NUMA node of the RDMA device that they came over: on a machine of two nodes, each with a
# processor, a network interface and a Soft-RoCE device on it (Tools/lab run --nodes 2).
. "$(dirname "$0")/lab.sh"

if [ ! -e /sys/class/net/node1 ]; then
  skip "queues at the nodes of their devices" "this machine has no second node: Tools/lab run --nodes 2"
  done_testing
  exit
fi
tercet=${TERCET:-$project/.build/release/tercet}
control=$tap_folder/control.sock
addresses=(10.91.0.1 10.92.0.1)

# device NODE: makes the Soft-RoCE device of a node.
device() {
  ip address add "${addresses[$1]}/24" dev "node$1" && ip link set "node$1" up && rdma link add "numa$1" type rxe netdev "node$1"
}

for node in 0 1; do require "node $node has an RDMA device" device "$node"; done
cat >"$tap_folder/target.json" <<JSON
{ "reactors": [0, 1], "dataMemory": "64M",
  "listeners": [{ "address": "${addresses[0]}", "port": $port }, { "address": "${addresses[1]}", "port": $port }],
  "subsystems": [{ "nqn": "$nqn", "allowAnyHost": true, "namespaces": [{ "nsid": 1, "backing": "ram:64M" }] }] }
JSON
require "the target starts" start_tercetd --config "$tap_folder/target.json" --control "$control"
require "... and listens" wait_until 60 grep -q serving "$tercetd_log"

target() { timeout 60 "$tercet" target "$1" --socket "$control" "${@:2}"; }
expect_output "the nodes of reactors are shown" '^reactors: 2, on processors 0 of node 0, 1 of node 1$' target show
output_has "... and those of devices" '^RDMA devices: numa0 at node 0, numa1 at node 1, rxe0$'

# A host for each device: two I/O queues, one for each processor, and an admin queue.
for node in 0 1; do
  host_nqn=nqn.2026-11.io.tercet:host$node host_id=${host_id%?}$node
  check "a host connects over the device of node $node" connect "$nqn" --traddr="${addresses[$node]}"
done

# Prints a line for each queue, in order.
queues() {
  target top --queues --count 1 --interval 0.1 --json | python3 -c '
import json, sys
for row in json.load(sys.stdin):
    print("host", row["host"][-1], "at reactor", row["reactor"], "admin" if row["queue"] == 0 else "I/O")' | sort
}
expect_equal "all are at the reactor of their device's node" \
  "$(for node in 0 1; do printf "host $node at reactor $node %s\n" I/O I/O admin; done | sort)" "$(queues)"
check "the hosts disconnect" disconnect
check "the target ends in good order" stop_tercetd
done_testing
