#!/usr/bin/env bash
# Configurations of Linux's and of SPDK's target become ours, with a list of what could not be carried over.
. "$(dirname "$0")/native.sh"

samples=$project/Tests/Native/import
import() { "$tercet" target import "$@"; }
# says PYTHON: whether the expression is true of the configuration that was made, `c`, and its subsystems by name, `s`.
says() {
  python3 -c 'import json, sys
c = json.load(open(sys.argv[1])); s = {x["nqn"]: x for x in c["subsystems"]}
sys.exit(0 if eval(sys.argv[2]) else 1)' "$tap_folder/made" "$1"
}
lost() { grep -qF -- "tercet: not carried over: $1" "$tap_folder/lost"; }

make_nvmet() { import "$samples/nvmet.json" >"$tap_folder/made" 2>"$tap_folder/lost"; }
check "what nvmetcli saves is read" make_nvmet
nqn=nqn.2026-11.io.example:disk
while read -r what; do check "nvmet: $what" says "$what"; done <<PYTHON
[(l["address"], l["port"]) for l in c["listeners"]] == [("192.0.2.1", 4420), ("2001:db8::1", 4421)]
c["discovery"]["referrals"] == [{"address": "192.0.2.9", "port": 8009}]
c["inCapsuleDataSize"] == 16384 and c["queueDepth"] == 256
list(s) == ["$nqn", "testnqn"]
s["$nqn"]["hosts"][0] == "nqn.2014-08.org.nvmexpress:uuid:6f1a9fd2-5b36-4a3e-8c6c-0e9a1e1b7f10"
s["$nqn"]["hosts"][1:] == [{"nqn": "nqn.2026-11.io.example:proves-itself", "key": "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"}]
s["$nqn"]["authentication"] == {"required": False}
"allowAnyHost" not in s["$nqn"] and s["testnqn"]["allowAnyHost"] is True and "hosts" not in s["testnqn"]
s["$nqn"]["serial"] == "d7f0a1c9ce3b1a0f2b44" and s["$nqn"]["model"] == "Linux"
s["testnqn"]["serial"] == "1234"
s["$nqn"]["controllerIDs"] == {"first": 1, "last": 32000}
s["$nqn"]["namespaces"][0] == {"nsid": 1, "backing": "/dev/nvme0n1", "uuid": "b53c8c85-2d4f-43d1-9e10-8f37a3d8e1e0", "nguid": "ef90689c-6c46-d44c-89c1-4067801309a8"}
s["$nqn"]["namespaces"][1] == {"nsid": 7, "backing": "/srv/with\\\\,comma.img", "anaGroup": 2}
len(s["$nqn"]["namespaces"]) == 2
{(a["id"], a["state"], a["listener"]["port"]) for a in s["$nqn"]["anaGroups"]} == {(2, "nonOptimized", 4420), (2, "inaccessible", 4421)}
PYTHON
while read -r what; do check "nvmet: said: $what" lost "$what"; done <<LOST
subsystem $nqn: hosts without a key are let in by their name, as before: nqn.2014-08.org.nvmexpress:uuid:6f1a9fd2-5b36-4a3e-8c6c-0e9a1e1b7f10; with
subsystem $nqn: host nqn.2026-11.io.example:damaged: its dhchap_key cannot be read: 
subsystem $nqn: host nqn.2026-11.io.example:proves-itself: dhchap_dhgroup = ffdhe2048: here it is the subsystem's, "authentication": { "groups": [ ... ] }
port 3: tcp at 192.0.2.1 is not served, only RDMA is; left out
subsystem nqn.2026-11.io.example:by-tcp: it is at no address where RDMA is served; left out
subsystem testnqn: here each subsystem is at all addresses; its hosts find it at [2001:db8::1]:4421 too
subsystem $nqn: namespace 8: /dev/nvme1n1 is not enabled; left out
subsystem $nqn: version, ieee_oui, firmware: hosts see those of tercetd
LOST

make_spdk() { import "$samples/spdk.json" >"$tap_folder/made" 2>"$tap_folder/lost"; }
check "what SPDK saves is read" make_spdk
nqn=nqn.2016-06.io.spdk:cnode1
while read -r what; do check "SPDK: $what" says "$what"; done <<PYTHON
[(l["address"], l["port"]) for l in c["listeners"]] == [("192.0.2.1", 4420), ("192.0.2.2", 4420)]
(c["queueDepth"], c["maxIOQueues"], c["inCapsuleDataSize"], c["maxIOSize"], c["sharedReceiveEntries"]) == (128, 64, 8192, 131072, 4096)
s["$nqn"]["hosts"] == ["nqn.2016-06.io.spdk:host1"] and s["nqn.2016-06.io.spdk:cnode2"]["allowAnyHost"] is True
s["$nqn"]["serial"] == "SPDK00000000000001" and s["$nqn"]["model"] == "SPDK bdev Controller"
[n["nsid"] for n in s["$nqn"]["namespaces"]] == [1, 2]
s["$nqn"]["namespaces"][0]["backing"] == "/dev/disk/by-path/pci-0000:01:00.0-nvme-1"
s["$nqn"]["namespaces"][1] == {"nsid": 2, "backing": "/srv/disk.img", "blockSize": 4096, "anaGroup": 2}
s["nqn.2016-06.io.spdk:cnode2"]["namespaces"] == [{"nsid": 1, "backing": "ram:64M"}]
s["$nqn"]["anaGroups"] == [{"id": 2, "state": "inaccessible", "listener": {"address": "192.0.2.1", "port": 4420}}]
c["discovery"]["referrals"] == [{"address": "192.0.2.9", "port": 8009}]
PYTHON
while read -r what; do check "SPDK: said: $what" lost "$what"; done <<LOST
transport TCP: only RDMA is served; left out
transport RDMA: 127 is out of range for maxIOQueues; 64 is taken
transport RDMA: io_unit_size: settings of SPDK's own
subsystem $nqn: host nqn.2016-06.io.spdk:host2: its dhchap_key 'key1': /srv/host2.key: 
subsystem $nqn: host nqn.2016-06.io.spdk:host3: its dhchap_key 'key2' is no file in the keyring; left out
subsystem $nqn: host nqn.2016-06.io.spdk:host4: it proves itself by psk, which is for TCP; left out
subsystem $nqn: namespace 1: Nvme0n1 is /dev/disk/by-path/pci-0000:01:00.0-nvme-1 once the kernel has the drive again
subsystem $nqn: namespace 3: Raid0 is made by bdev_raid_create, which has no equivalent; left out
subsystem $nqn: namespace 4: Farn1 is a namespace of another target, at 192.0.2.7; left out
subsystem $nqn: namespace 5: it is for some hosts of the subsystem only; put it into a subsystem of its own; left out
subsystem $nqn: TCP at 192.0.2.1 is not served, only RDMA is
iobuf: 1 settings of SPDK's own; nothing here needs them
LOST

check_fails "no key is among what is said" grep -q DHHC "$tap_folder/lost"
check "a key is made" "$tercet" key make -o "$tap_folder/host2.key"
sed "s|/srv/host2.key|$tap_folder/host2.key|" "$samples/spdk.json" >"$tap_folder/spdk.json"
make_keyed_spdk() { import "$tap_folder/spdk.json" >"$tap_folder/made" 2>"$tap_folder/lost"; }
check "SPDK's keyring is read" make_keyed_spdk
check "... and its key stays where it is" \
  says "s['$nqn']['hosts'] == ['nqn.2016-06.io.spdk:host1', {'nqn': 'nqn.2016-06.io.spdk:host2', 'keyFile': '$tap_folder/host2.key'}]"

# A target starts with what was made.
truncate -s 16M "$tap_folder/a.img" "$tap_folder/b.img"
sed "s|192.0.2.1\"|$address\"|; s|\"4420\"|\"$port\"|; s|2001:db8::1|::1|; s|\"4421\"|\"$((port + 1))\"|; s|/dev/nvme0n1|$tap_folder/a.img|
  s|/dev/nvme2n1|$tap_folder/b.img|; s|/srv/with,comma.img|ram:16M|" "$samples/nvmet.json" >"$tap_folder/nvmet.json"
check "a file is written" import "$tap_folder/nvmet.json" -o "$tap_folder/tercetd.json"
expect_output "... that its owner alone can read" '^600$' stat -c %a "$tap_folder/tercetd.json"
expect_refusal "... but never over another" "is there already: name another file, or remove it" import "$tap_folder/nvmet.json" -o "$tap_folder/tercetd.json"
start_tercetd --config "$tap_folder/tercetd.json" --require-all
check "tercetd serves it" wait_until 20 target_listens
host=nqn.2014-08.org.nvmexpress:uuid:6f1a9fd2-5b36-4a3e-8c6c-0e9a1e1b7f10
expect_output "... to the host that may" 'b53c8c85-2d4f-43d1-9e10-8f37a3d8e1e0' \
  "$tercet" identify -a "$address" -s "$port" -n nqn.2026-11.io.example:disk -q "$host" --json
check_fails "... and to no other" timeout 20 "$tercet" identify -a "$address" -s "$port" -n nqn.2026-11.io.example:disk
check "it ends" stop_tercetd

refuses() { printf '%s' "$2" >"$tap_folder/bad"; expect_refusal "$1" "$3" import "$tap_folder/bad"; }
refuses "no JSON is an error with its place" '{ "ports": [ }' 'bad:1:'
refuses "nothing too" '' 'bad'
refuses "another form is named" '{ "a": 1 }' 'is of no known form; allowed: what nvmetcli or SPDK'
refuses "our own form too" '{ "listeners": [], "subsystems": [] }' 'is a configuration of tercetd already'
refuses "one without RDMA says why" '{ "ports": [ { "portid": 1, "addr": { "trtype": "tcp", "traddr": "192.0.2.1" } } ], "subsystems": [] }' \
  'no address at which RDMA is served: port 1: tcp at 192.0.2.1 is not served'
refuses "a rule of ours that it breaks is named" '{ "ports": [ { "portid": 1, "addr": { "trtype": "rdma", "traddr": "192.0.2.1" }, "subsystems": [ "a" ] } ],
  "subsystems": [ { "nqn": "a", "namespaces": [ { "nsid": 99999999, "device": { "path": "/dev/x" }, "enable": 1 } ] } ] }' '99999999 is out of range; allowed: 1 to 65536'
refuses "wrong types are no crash" '{ "ports": [ 7, { "portid": [], "addr": "x" } ], "subsystems": { "nqn": 5 } }' 'no address at which RDMA is served'
refuses "deep nesting is no crash" "$(printf '[%.0s' {1..20000})" 'bad'
expect_refusal "a file that is not there is named" 'there is no such file' import "$tap_folder/none"

done_testing
