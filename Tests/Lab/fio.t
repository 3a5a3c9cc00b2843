#!/usr/bin/env bash
# tercet-fio over Soft-RoCE: a namespace and a volume under a load that verifies what it wrote, and each fault of its schedule
# meanwhile.
. "$(dirname "$0")/lab.sh"

tercet_fio=${TERCET_FIO:-$project/.build/release/tercet-fio}
export TMPDIR=$tap_folder

# fio_on COUNT OPTION...: tercet-fio with targets of its own.
fio_on() {
  local count=$1
  shift
  (cd "$tap_folder" && timeout 300 "$tercet_fio" --substrate device --targets "$count" "$@")
}

# load SECONDS: a job that writes 8 MiB once, over so long, then reads all of it back and checks it.
load() {
  words=(--name=load --filename=tercet --rw=randwrite --bs=16k --size=8m --iodepth=8 --rate_iops=,$((512 / $1)) --verify=crc32c
    --verify_fatal=1 --verify_state_save=0)
}

# In a fresh lab all programs are read for the first time, by an emulated processor. A volume's members have 3 s to connect, a
# namespace alone has 30 s: one is used before.
first=(--backing ram:16M --name=first --filename=tercet --rw=read --bs=4k --size=64k)
require "a first connection is made" wait_until 120 fio_on 1 "${first[@]}"

once=(--name=once --filename=tercet --rw=randwrite --bs=16k --iodepth=8 --size=4m --verify=crc32c --verify_state_save=0)
expect_output "a namespace: what was written is read back" 'read: IOPS' fio_on 1 --backing ram:32M "${once[@]}"
expect_output "... by jobs that are threads" 'read: IOPS' fio_on 1 --backing ram:32M --thread "${once[@]}"
expect_output "... with memory of fio's own" 'read: IOPS' fio_on 1 --backing ram:32M --mem=mmap "${once[@]}"
expect_output "a volume: members are equal" 'members are equal: [1-9]' fio_on 3 --backing ram:32M --check "${once[@]}"
load 30
expect_output "a target is killed and started again: no error, members equal" 'members are equal: [1-9]' \
  fio_on 3 --backing file:32M --check --fault 'at 5s kill target 1' --fault 'at 12s restart target 1' "${words[@]}"
output_has "... all that was written was read back" 'issued rwts: total=512,512,'
grep '^tercet-fio:' "$tap_folder/output" | diagnose
load 20
expect_output "a target stands still: no error, members equal" 'members are equal: [1-9]' \
  fio_on 3 --backing file:32M --check --fault 'at 5s stop target 2' --fault 'at 10s continue target 2' "${words[@]}"
grep '^tercet-fio:' "$tap_folder/output" | diagnose
load 30
expect_output "a link is cut and restored: no error, members equal" 'members are equal: [1-9]' \
  fio_on 3 --backing file:32M --check --fault 'at 5s cut link of target 3' --fault 'at 12s restore link of target 3' "${words[@]}"
output_has "... all that was written was read back" 'issued rwts: total=512,512,'
output_has "... and the cut was noticed" 'target 3 was not in sync'
grep '^tercet-fio:' "$tap_folder/output" | diagnose
load 20
expect_output "a target is slow: no error, members equal" 'members are equal: [1-9]' \
  fio_on 3 --backing file:32M --check --fault 'at 5s slow target 1 by 60ms' --fault 'at 10s slow target 1 by 0ms' "${words[@]}"
grep '^tercet-fio:' "$tap_folder/output" | diagnose
load 20
expect_output "a target ends in good order and comes back: no error, members equal" 'members are equal: [1-9]' \
  fio_on 3 --backing file:32M --check --fault 'at 5s restart target 2' "${words[@]}"
grep '^tercet-fio:' "$tap_folder/output" | diagnose
load 30
expect_output "the initiator is killed: members are made equal" 'members are equal: [1-9]' \
  fio_on 3 --backing file:32M --check --fault 'at 5s kill initiator' "${words[@]}"
grep '^tercet-fio:' "$tap_folder/output" | diagnose
expect_refusal "nobody answers" 'func=tercet' fio_on 1 --member "$address4:4999/$nqn/1" "${once[@]}"
left() { pgrep -f "$tap_folder/(disk|state)|$tercet_fio"; }
check "nothing is left" eval '! left'
done_testing
