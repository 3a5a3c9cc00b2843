#!/usr/bin/env bash
# The admin commands of nvme-cli on a connected controller.
. "$(dirname "$0")/lab.sh"

drive=$(block_device 512)
require "the target starts" start_target "$nqn=ram:64M" "$nqn=$drive"
require "connect" connect "$nqn" --keep-alive-tmo=10
check "find both namespaces" wait_until 20 has_namespaces "$controller" 2
device=/dev/$controller
second=/dev/$(namespaces "$controller" | tail -n 1)

expect_output "nvme list shows the namespace" "^$namespace " nvme list
output_has "... with its size" "67\.11 +MB */ *67\.11 +MB"
expect_output "nvme list-subsys shows the subsystem" "NQN=$nqn\$" nvme list-subsys
output_has "... and its path" "$controller rdma traddr=$address4,trsvcid=$port.* live"

expect_output "id-ctrl has the subsystem's name" "subnqn *: *$nqn\$" nvme id-ctrl "$device"
output_has "... a serial number" "^sn *: *[^ ]"
output_has "... a model" "^mn *: *[^ ]"
output_has "... a firmware revision" "^fr *: *[^ ]"
output_has "... version 1.3 or later" "^ver *: *0x(103|104|2)"
output_has "... submission entries of 64 bytes" "^sqes *: *0x66"
output_has "... completion entries of 16 bytes" "^cqes *: *0x44"
output_has "... keyed SGLs with in-capsule data" "^sgls *: *0x[0-9a-f]*10000[5-7]"
output_has "... keep-alive" "^kas *: *[1-9]"
output_has "... keep-alive by traffic" "^ctratt *: *0x[0-9a-f]*[4-7c-f]\$|^ctratt *: *0x[0-9a-f]*[4-7c-f][0-9a-f]\$"
output_has "... in-capsule data of 4096 bytes or more" "^ioccsz *: *(26[0-9]|2[7-9][0-9]|[3-9][0-9]{2}|[0-9]{4,})"
output_has "... a transfer limit of 1 MiB or more" "^mdts *: *(0|8|9|1[0-9])\$"
expect_output "id-ctrl -H, with every field spelt out" "Keyed SGL" nvme id-ctrl -H "$device"

expect_output "id-ns has the size in blocks" "^nsze *: *0x20000\$" nvme id-ns "$namespace"
output_has "... and a block size of 512 in use" "lbads:9 .*in use"
unless_nvmet "no NGUID unless it is set" \
  output_has "... and an identifier" "^(nguid|eui64) *: *[0-9a-f]*[1-9a-f]"
nvme id-ns "$device" --namespace-id=77 >"$tap_folder/output" 2>&1 || echo "nsze : 0" >>"$tap_folder/output"
output_has "id-ns of a namespace that is not there is refused or all zeros" "^nsze *: *0\$"
expect_output "ns-descs has a UUID" "uuid *: *[0-9a-f]{8}-" nvme ns-descs "$namespace"
uuid=$(sed -nE 's/^uuid *: *([0-9a-f-]+).*/\1/p' "$tap_folder/output")
check "ns-descs of the second namespace" nvme ns-descs "$second"
report "$(! grep -q "$uuid" "$tap_folder/output"; echo $?)" "... has another UUID"
expect_output "list-ns lists both" "0x1\$" nvme list-ns "$device"
output_has "... the second" "0x2\$"
unless_nvmet "no namespace management" \
  expect_output "list-ns --all" "0x1\$" nvme list-ns --all "$device"

expect_output "smart-log" "^critical_warning[[:space:]]*: *0\$" nvme smart-log "$device"
written() { nvme smart-log "$device" -o json | sed -nE 's/.*"host_write_commands" *: *"?([0-9]+).*/\1/p'; }
before=$(written)
check "write 8 blocks" dd if=/dev/zero of="$namespace" bs=4k count=8 oflag=direct
unless_nvmet "counts only what its backing device counts" \
  expect_equal "smart-log counts the writes" $((before + 8)) "$(written)"
expect_output "error-log" "error_count" nvme error-log "$device"
# Without a command set nvme-cli 2.3 looks for the registers of a PCIe device, finds none, and says nothing.
expect_output "effects-log of the NVM command set lists Read" "IOCS2 .*Read" nvme effects-log "$device" --csi=0
output_has "... and Flush" "IOCS0 .*Flush"
output_has "... and Identify" "ACS6 .*Identify"
expect_output "fw-log" "Firmware Log" nvme fw-log "$device"
expect_output "changed-ns-list-log" "Changed Namespace List" nvme changed-ns-list-log "$device" -o json
# CMIC bit 3: asymmetric namespace access reporting.
cmic=$(nvme id-ctrl "$device" | sed -nE 's/^cmic *: *(.*)/\1/p')
if ((cmic & 8)); then
  expect_output "ana-log" "ANA" nvme ana-log "$device"
else
  check_fails "without ANA, ana-log is refused" nvme ana-log "$device"
fi
check_fails "a log page that nobody has is refused" nvme get-log "$device" --log-id=0xbf --log-len=512

unless_nvmet "refuses properties that it does not have, which nvme-cli stumbles over" \
  expect_output "show-regs has the capabilities" "^cap *: *[0-9a-f]" nvme show-regs "$device"
unless_nvmet "as above" output_has "... the version" "^version *: *[0-9a-f]"
unless_nvmet "as above" output_has "... the controller ready" "^csts *: *1\$"
expect_output "get-property of the capabilities" "0x00 .*value: [0-9a-f]*[1-9a-f]" nvme get-property "$device" --offset=0
expect_output "get-property of the status: ready" "0x1c .*value: 1\$" nvme get-property "$device" --offset=0x1c

expect_output "get-feature: number of queues" "Number of Queues" nvme get-feature "$device" --feature-id=7 -H
expect_output "get-feature: keep-alive timer" "." nvme get-feature "$device" --feature-id=0x0f
expect_output "get-feature: asynchronous events" "." nvme get-feature "$device" --feature-id=0x0b
expect_output "get-feature: volatile write cache" "." nvme get-feature "$device" --feature-id=6
check_fails "a feature that nobody has is refused" nvme get-feature "$device" --feature-id=0xbf
check_fails "an admin opcode that nobody has is refused" nvme admin-passthru "$device" --opcode=0xc5
expect_output "a command that failed is in the error log" "status_field[[:space:]]*: 0x[0-9a-f]*[1-9a-f]" nvme error-log "$device"

check "disconnect" disconnect
check "connect again" connect "$nqn"
expect_output "the namespace has the same UUID" "$uuid" nvme ns-descs "$namespace"
check "... and disconnect" disconnect
check "the target ends in good order" stop_target
check_kernel_log "the kernel has nothing to complain about"
done_testing
