#!/usr/bin/env bash
# A pool as Linux's host and nvme-cli see it: namespaces are made, attached, used, detached and deleted in band; a file system that is
# full says so, and takes no block by half.
. "$(dirname "$0")/lab.sh"

if [ "$target" != tercetd ]; then
  skip "namespaces in a pool" "the kernel's own target has no namespace management"
  done_testing
  exit
fi
tercet=${TERCET:-$project/.build/release/tercet}
configuration=$tap_folder/tercetd.json
control=$tap_folder/control.sock
store=$tap_folder/store

# Thin files on ext4 of 32 MiB: the pool promises more than that. The RAM disk may be there already, and larger.
small_store() {
  modprobe brd rd_nr=1 rd_size=32768 && mkfs.ext4 -q -F -m 0 /dev/ram0 32M && mkdir "$store" &&
    mount /dev/ram0 "$store" && mkdir "$store/pool"
}
require "there is a small file system" small_store
cat >"$configuration" <<JSON
{
  "reactors": 2,
  "listeners": [ { "address": "$address4", "port": $port } ],
  "subsystems": [ { "nqn": "$nqn", "hosts": [ "$host_nqn" ],
    "pool": { "folder": "$store/pool", "capacity": "1G", "maxNamespaces": 4, "managers": [ "$host_nqn" ] } } ]
}
JSON
start_configured() { start_tercetd --config "$configuration" --control "$control" && wait_until 30 listening; }
pool() { timeout 60 "$tercet" target pool "$@" --socket "$control"; }
require "the target starts" start_configured
expect_output "the operator makes a namespace" "^namespace 1: 16M .*, attached" pool create "$nqn" 16M --attach
require "connect" connect "$nqn" --nr-io-queues=2
device=/dev/$controller
id=$(cat "/sys/class/nvme/$controller/cntlid")

# field NAME: the value of a field of id-ctrl.
field() { nvme id-ctrl "$device" -o json | sed -nE "s/.*\"$1\" *: *\"?([0-9]+).*/\1/p"; }
expect_output "id-ctrl says that namespaces can be managed" "NS Management and Attachment Supported" nvme id-ctrl -H "$device"
expect_equal "... what the pool has" 1073741824 "$(field tnvmcap)"
expect_equal "... and what of it is left" $((1073741824 - (16 << 20))) "$(field unvmcap)"

expect_output "create-ns" "created nsid:2" nvme create-ns "$device" --nsze=512 --ncap=512 --flbas=0
expect_output "list-ns does not have it" "0x1\$" nvme list-ns "$device"
report "$(! tap_matches '0x2$'; echo $?)" "... indeed"
expect_output "list-ns --all has it" "0x2\$" nvme list-ns --all "$device"
expect_output "list-ctrl has this controller" ":0x$(printf '%x' "$id")\$" nvme list-ctrl "$device"
check "attach-ns" nvme attach-ns "$device" --namespace-id=2 --controllers="$id"
check "it is a block device" wait_until 20 has_namespaces "$controller" 2
second=/dev/$(namespaces "$controller" | tail -n 1)
expect_equal "... of its size" $((512 * 4096)) "$(blockdev --getsize64 "$second")"
head -c 2M /dev/urandom >"$tap_folder/pattern"
check "... which is written" dd if="$tap_folder/pattern" of="$second" bs=1M oflag=direct
check "... and read" cmp "$tap_folder/pattern" "$second"
expect_refusal "attach-ns of what is attached is refused" "(already attached|ALREADY_ATTACHED|0x118)" \
  nvme attach-ns "$device" --namespace-id=2 --controllers="$id"
expect_refusal "create-ns of more than is left" "(insufficient|INSUFFICIENT|0x115)" \
  nvme create-ns "$device" --nsze=262144 --ncap=262144 --flbas=0
check "detach-ns" nvme detach-ns "$device" --namespace-id=2 --controllers="$id"
lost() { [ "$(namespaces "$controller" | wc -l)" -eq 1 ]; }
check "... takes the block device away" wait_until 20 lost
check "attach-ns again" nvme attach-ns "$device" --namespace-id=2 --controllers="$id"
check "... brings it back" wait_until 20 has_namespaces "$controller" 2
check "... with its data" cmp "$tap_folder/pattern" "/dev/$(namespaces "$controller" | tail -n 1)"
check "delete-ns" nvme delete-ns "$device" --namespace-id=2
check "... takes it away" wait_until 20 lost
expect_output "... for good" "^$nqn: 1 of 4 namespaces" pool list

# To the last block.
expect_output "a namespace is made by its block size" "created nsid:2" \
  nvme create-ns "$device" --nsze=16384 --ncap=16384 --block-size=4096
check "... and attached" nvme attach-ns "$device" --namespace-id=2 --controllers="$id"
check "... it is a block device" wait_until 20 has_namespaces "$controller" 2
second=/dev/$(namespaces "$controller" | tail -n 1)
head -c 40M /dev/urandom >"$tap_folder/large"
expect_refusal "what is written is told that there is no room" "No space left on device" \
  dd if="$tap_folder/large" of="$second" bs=256k oflag=direct
whole() {
  python3 - "$tap_folder/large" "$second" <<'PYTHON'
import sys
wanted, found = (open(name, "rb").read(40 << 20) for name in sys.argv[1:])
zeroes = bytes(4096)
kinds = ["new" if found[p:p + 4096] == wanted[p:p + 4096] else "old" if found[p:p + 4096] == zeroes else "torn"
         for p in range(0, len(wanted), 4096)]
print(kinds.count("new"), "blocks are there,", kinds.count("torn"), "are torn")
sys.exit(kinds.count("torn") > 0 or kinds.count("new") < 4000)
PYTHON
}
check "... and no block is half" whole
diagnose <"$tap_folder/output"
check "the namespace is deleted all the same" nvme delete-ns "$device" --namespace-id=2
expect_output "create-ns has room again" "created nsid:2" nvme create-ns "$device" --nsze=256 --ncap=256 --flbas=0
check "delete-ns of all" nvme delete-ns "$device" --namespace-id=0xffffffff
expect_output "... leaves none" "^$nqn: 0 of 4 namespaces, 1G of 1G" pool list

# Another host sees the pool, and changes nothing in it.
check "another host may connect" timeout 60 "$tercet" target set subsystem "$nqn" allowAnyHost=true --socket "$control"
check "... and does" connect_as 02
check_fails "... and manages nothing" nvme create-ns "/dev/$controller" --nsze=256 --ncap=256 --flbas=0
check "disconnect" disconnect
check "the target ends in good order" stop_target
done_testing
