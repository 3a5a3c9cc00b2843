#!/usr/bin/env bash
# Each fault of tercet-fio's schedule under a load that verifies what it wrote: no verification error, and members that are
# equal afterwards.

. "$(dirname "$0")/fio.sh"

# load SECONDS: a job that writes 16 MiB once, over so long, then reads all of it back and checks it; beside it one
# that writes as fast as it can. (verify_backlog would check meanwhile, but not reliably: fio skips what it finds in flight.)
load() {
  words=(--name=load --filename=tercet --rw=randwrite --bs=16k --size=16m --iodepth=8 --rate_iops=,$((1024 / $1)) --verify=crc32c
    --verify_fatal=1 --verify_state_save=0
    --name=beside --filename=tercet --rw=randwrite --bsrange=512-32k --blockalign=512 --offset=32m --size=16m --iodepth=8
    --time_based --runtime="$1")
}

# survives NAME SECONDS FAULT...: passes if a volume survives the schedule, and says what happened.
survives() {
  local name=$1 seconds=$2 faults=() fault
  shift 2
  for fault in "$@"; do faults+=(--fault "$fault"); done
  load "$seconds"
  expect_output "$name: no error, members equal" "members are equal: [1-9]" \
    fio_on 3 --backing file:64M --check "${faults[@]}" "${words[@]}"
  output_has "... all that was written was read back" 'issued rwts: total=1024,1024,'
  grep '^tercet-fio:' "$tap_folder/output" | diagnose
}

survives "a target is killed and started again" 4 'at 1s kill target 1' 'at 2s restart target 1'
survives "a target is killed and stays away" 2 'at 1s kill target 2'
survives "a target stands still" 4 'at 1s stop target 3' 'at 2s continue target 3'
survives "a target ends in good order and comes back" 3 'at 1s restart target 2'
survives "a target is slow" 4 'at 1s slow target 1 by 40ms' 'at 2s slow target 1 by 0ms'
survives "a link is cut and restored" 4 'at 1s cut link of target 2' 'at 2s restore link of target 2'
survives "one after the other" 8 'at 1s kill target 1' 'at 2s restart target 1' 'at 5s cut link of target 3' \
  'at 6s restore link of target 3'

load 30
expect_output "the initiator is killed: members are made equal" "members are equal: [1-9]" \
  fio_on 3 --backing file:64M --check --fault 'at 2s kill initiator' "${words[@]}"
grep '^tercet-fio:' "$tap_folder/output" | diagnose

# A namespace has nobody to go on with: its jobs wait.
one() {
  local name=$1
  shift
  load 3
  check "a namespace: $name" fio_on 1 --backing file:64M "$@" "${words[@]}"
}
one "killed and started again" --fault 'at 1s kill target 1' --fault 'at 1500ms restart target 1'
one "standing still" --fault 'at 1s stop target 1' --fault 'at 2s continue target 1'
one "its link cut" --fault 'at 1s cut link of target 1' --fault 'at 1500ms restore link of target 1'

# The engine keeps connections alive while jobs do nothing: a volume's keep-alive timeout is 2 s.
thinks() {
  fio_on 3 --name=thinks --filename=tercet --rw=write --bs=4k --size=1m --number_ios=2 --thinktime=3000000 &&
    ! grep -q 'is away' "$tap_folder/output"
}
check "a job that thinks for longer than the keep-alive timeout keeps its members" thinks

check "nothing is left" nothing_left
done_testing
