#!/usr/bin/env bash
# A volume as a block device of Linux, by the kernel's NBD client: a file system on it outlives the loss of a target, the death of
# the daemon and the exchange of the daemon, without an error.
. "$(dirname "$0")/lab.sh"

tercet=${TERCET:-$project/.build/release/tercet}
volumed=${VOLUMED:-$project/.build/release/tercet-volumed}
volumed_pid=
volumed_log=$tap_folder/volumed.log
tap_logs+=("$volumed_log")
control=$tap_folder/control.sock
link=/dev/tercet/db
mount_point=$tap_folder/mount
mkdir "$mount_point"
lab_fabric
pids=()
at_exit '[ -z "${pids[*]}$volumed_pid" ] || kill -KILL "${pids[@]}" $volumed_pid'
at_exit 'for device in /dev/nbd?; do nbd-client -d "$device"; done'
at_exit 'umount -l "$mount_point"'

# start_member NUMBER: starts one of three tercetd, each with a file in memory that outlives it.
start_member() {
  # xfs wants 300 MiB. The files are sparse.
  truncate -s 340M "$store/disk$1"
  : >"$tap_folder/target$1.log"
  "$tercetd" --reactors 1 --listen "$address4:$((4421 + $1))" --state-directory "$tap_folder/state$1" \
    --export "$nqn.$1=$store/disk$1" >>"$tap_folder/target$1.log" 2>&1 </dev/null &
  pids[$1]=$!
  wait_until 60 grep -q serving "$tap_folder/target$1.log"
}

# serve OPTION...: starts the daemon and waits until it serves.
serve() {
  : >"$volumed_log"
  "$volumed" --kernel-nbd --control "$control" --volume "db=$members" "$@" >>"$volumed_log" 2>&1 </dev/null &
  volumed_pid=$!
  wait_until 90 volumed_said 'notice: serving'
}

volumed_said() { grep -qE "$1" "$volumed_log"; }

# start_load SIZE: fio writes a file of that size on the file system, and verifies what it reads.
start_load() {
  cp /bin/bash "$mount_point/before" && sync
  fio --name=load --directory="$mount_point" --ioengine=libaio --direct=1 --rw=randrw --bs=4k-64k --size="$1" --io_size=4G \
    --iodepth=8 --verify=crc32c --verify_backlog=128 --verify_fatal=1 --verify_state_save=0 --fsync=64 --time_based --runtime=900 \
    --rate_iops=150 >"$tap_folder/fio" 2>&1 </dev/null &
  fio=$!
  at_exit "kill -KILL $fio"
}

written() { awk '{print $7}' /sys/block/nbd0/stat; }
moves() { [ "$(written)" -gt $((mark + 400)) ]; }

# goes_on NAME: the load goes on from here.
goes_on() { mark=$(written); check "$1" wait_until 60 moves; }

# end_load: ends fio, and looks at what it has met.
end_load() {
  kill -INT "$fio"
  wait "$fio"
  grep -q 'err= 0' "$tap_folder/fio" && ! grep -qE 'error=|verify:|bad (magic|header)' "$tap_folder/fio"
  report $? "fio has met no error, and verified what it read" || diagnose <"$tap_folder/fio"
  check "what was written before is there" cmp /bin/bash "$mount_point/before"
  check "fstrim" fstrim "$mount_point"
}

store=$(mktemp -d /dev/shm/tercet.XXXXXX)
at_exit "rm -rf $store"
members=
arguments=()
for number in 0 1 2; do
  members+=${members:+,}$address4:$((4421 + number))/$nqn.$number/1
  arguments+=(--member "$address4:$((4421 + number))/$nqn.$number/1")
  require "target $number starts" start_member "$number"
done
require "a first connection is made" wait_until 120 "$tercet" discover -a "$address4" -s 4421
require "a volume is created" timeout 200 "$tercet" volume create "${arguments[@]}"
# Another test may have loaded it; a daemon that finds it serves, and does not end.
modprobe -r nbd 2>/dev/null
if modinfo -F alias nbd | grep -q family-nbd; then
  skip "a kernel without the module is named" "this kernel loads it when it is asked for"
elif [ -d /sys/module/nbd ]; then
  skip "a kernel without the module is named" "the module is in use"
else
  expect_refusal "a kernel without the module is named" "modprobe nbd" timeout 60 "$volumed" --kernel-nbd --volume "db=$members"
fi
require "the module is there" modprobe nbd
require "the daemon makes it a block device" serve --metrics "$tap_folder/metrics.sock"
check "... and says so" volumed_said "block device made device=/dev/nbd0 export=db link=$link"
expect_output "... which is found by its name" "/dev/nbd0" readlink -f "$link"
expect_output "... and listed" "db: serving, .*$link" "$tercet" volume list --socket "$control"
size=$("$tercet" volume list --socket "$control" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["bytes"])')
expect_output "... with the volume's size" "^$size\$" blockdev --getsize64 "$link"
expect_output "a new volume is blank" "contents: blank" "$tercet" volume explain db --socket "$control"

check "mkfs.ext4" mkfs.ext4 -q "$link"
check "... whose first write has marked the volume" eval '! "$tercet" volume explain db --socket "$control" | grep "contents: blank"'
require "mount" mount "$link" "$mount_point"
expect_output "a device that is mounted is not taken back" "is mounted or in use" \
  call '{"method": "unexport", "params": {"name": "db", "kind": "kernel-nbd"}}'
expect_output "... nor is its volume detached" "is mounted or in use" call '{"method": "detach", "params": {"name": "db"}}'
start_load 24M
goes_on "fio writes and verifies"
scrape() { curl --silent --show-error --max-time 60 --unix-socket "$tap_folder/metrics.sock" http://volumed/metrics; }
expect_output "metrics count its I/O as that of this front end" \
  '^tercet_volume_commands_total\{volume="db",front_end="kernel-nbd",operation="write"\} [1-9]' scrape
output_has "... with its bytes" '^tercet_volume_transferred_bytes_total\{volume="db",front_end="kernel-nbd",operation="read"\} [1-9]'
expect_equal "... and as that of no other" "" \
  "$(sed -n '/^tercet_volume_commands_total{.*,front_end="kernel-nbd"/d; /^tercet_volume_commands_total.* [1-9]/p' "$tap_folder/output")"

kill -KILL "${pids[1]}"
check "a target is killed: the daemon names the member" wait_until 30 volumed_said "member 1: lost"
goes_on "... the load goes on without it"
require "... it comes back" start_member 1
check "... and into sync" wait_until 60 volumed_said "member 1: in sync"

kill -KILL "$volumed_pid"
wait "$volumed_pid" 2>/dev/null
sleep 1
require "the daemon is killed, and another one started" serve --take-over
check "... which serves the same device again" volumed_said "block device served again device=/dev/nbd0 export=db"
goes_on "... to which the load goes on"

former=$volumed_pid
cp "$volumed_log" "$tap_folder/former.log"
require "the next daemon takes over" serve --take-over-from "$control"
check "... with the device" volumed_said "block device served again device=/dev/nbd0 export=db"
grep -o 'pauseMilliseconds=[0-9]*' "$volumed_log" | diagnose
wait "$former"
report $? "... and the former one ends in good order"
goes_on "... to which the load goes on"
expect_output "it is still one device" "^1\$" eval 'grep -l tercet /sys/block/nbd*/backend | wc -l'

end_load

kill -TERM "$volumed_pid"
wait "$volumed_pid"
report $? "SIGTERM ends the daemon in good order"
check "... which leaves the mounted device to the next one" volumed_said "block device left to the next daemon"
expect_output "... and the volume clean" "clean, members: in sync, in sync, in sync" \
  timeout 60 "$tercet" volume status "${arguments[@]}"
require "the next one starts" serve
check "... and serves it again" volumed_said "block device served again device=/dev/nbd0 export=db"
check "umount" umount "$mount_point"
check "the file system is clean" e2fsck -fn "$link"
expect_output "the device is taken back" '"result"' \
  call '{"method": "unexport", "params": {"name": "db", "kind": "kernel-nbd"}}'
[ ! -e "$link" ] && [ ! -e /sys/block/nbd0/pid ]
report $? "... with its link"
expect_output "... and made anew" '"result"' call '{"method": "export", "params": {"name": "db", "kind": "kernel-nbd"}}'
check "... with the same file system" e2fsck -fn "$link"

# xfs, with a target killed under it.
check "mkfs.xfs" mkfs.xfs -q -f "$link"
require "... is mounted" mount "$link" "$mount_point"
start_load 16M
goes_on "fio writes and verifies on it"
: >"$volumed_log"
kill -KILL "${pids[2]}"
check "a target is killed: the daemon names the member" wait_until 30 volumed_said "member 2: lost"
goes_on "... the load goes on without it"
require "... it comes back" start_member 2
check "... and into sync" wait_until 60 volumed_said "member 2: in sync"
end_load
check "umount" umount "$mount_point"
check "the file system is clean" xfs_repair -n "$link"
check "ext4 takes its place again" mkfs.ext4 -q -F "$link"

# Another host has the volume between a death and the next start: what this one has cached must not come over that.
require "it is mounted" mount "$link" "$mount_point"
kill -KILL "$volumed_pid"
wait "$volumed_pid" 2>/dev/null
check "while the daemon is dead another host changes the volume" eval \
  'head -c 1M /dev/urandom | timeout 100 "$tercet" volume write "${arguments[@]}" --take-over --start-block 100000'
require "the daemon starts again" serve
check "... and ends the device" volumed_said "block device ended: another host may have had the volume"
check_fails "... whose mount fails" eval 'date >"$mount_point/new" && sync "$mount_point/new"'
umount "$mount_point" || umount -l "$mount_point"
kill -TERM "$volumed_pid"
wait "$volumed_pid"
report $? "SIGTERM ends it"
[ ! -e "$link" ]
report $? "... with the device, which nobody uses"
check "heal makes equal what the death has left" timeout 200 "$tercet" volume heal "${arguments[@]}"
expect_output "the volume is clean" "clean, members: in sync, in sync, in sync" \
  timeout 60 "$tercet" volume status "${arguments[@]}"
kill "${pids[@]}"
wait "${pids[@]}"
check_kernel_log "the kernel has only complained of what was done to it" \
  "nbd[0-9]*: |EXT4-fs|XFS|JBD2|Aborting journal on device nbd0|Buffer I/O error|I/O error, dev nbd0|blk_update_request"
done_testing
