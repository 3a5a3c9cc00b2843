#!/usr/bin/env bash
# A volume on three tercetd over Soft-RoCE, each with a part of an emulated NVMe drive; one is killed and comes back.
# Afterwards each member is attached alone by Linux, which finds a clean file system at its block 0.
. "$(dirname "$0")/lab.sh"

tercet=${TERCET:-$project/.build/release/tercet}
lab_fabric
pids=(0 0 0)
at_exit 'kill -KILL "${pids[@]}"'

image=$tap_folder/image
truncate -s 24M "$image"
require "a file system image is made" /sbin/mke2fs -q -t ext4 -d "$project/Deploy" "$image"
blocks=$((24 * 2048))

# volume COMMAND OPTION...: runs tercet volume on $members.
volume() {
  local command=$1
  shift
  timeout 300 "$tercet" volume "$command" "${members[@]}" "$@"
}

# start_member NUMBER: starts one of three tercetd, each with a part of the drive.
start_member() {
  "${TERCETD:-$project/.build/release/tercetd}" --reactors 1 --listen "$address4:$((4421 + $1))" \
    --state-directory "$tap_folder/state$1" --export "$nqn.$1=${parts[$1]}" >>"$tap_folder/target$1.log" 2>&1 </dev/null &
  pids[$1]=$!
  wait_until 60 grep -q serving "$tap_folder/target$1.log"
}

# holds_the_file_system NUMBER: Linux attaches a member alone, and checks and mounts what is there.
holds_the_file_system() {
  local status=0
  port=${ports[$1]} connect "$nqn.$1" || return
  cmp -n $((blocks * 512)) "$image" "$namespace" && /sbin/e2fsck -fn "$namespace" &&
    mkdir -p "$tap_folder/mount" && mount -o ro,noload "$namespace" "$tap_folder/mount" &&
    diff -r "$project/Deploy" "$tap_folder/mount" -x lost+found || status=$?
  umount "$tap_folder/mount"
  disconnect "$nqn.$1"
  return "$status"
}

set_members() {
  local number
  members=()
  for number in 0 1 2; do members+=(--member "$address4:${ports[$number]}/$nqn.$number/1"); done
}

# Three parts of one drive, a loop device each.
[ "${LAB:-}" != 1 ] || modprobe loop
choose_backend drive512
parts=()
for number in 0 1 2; do
  parts+=("$(losetup --find --show --direct-io=on --offset $((number * 64 << 20)) --sizelimit $((64 << 20)) "$path")")
  at_exit "losetup -d ${parts[$number]}"
done
ports=(4421 4422 4423)
set_members
for number in 0 1 2; do require "tercetd $number starts on ${parts[$number]}" start_member "$number"; done
require "a volume is created" volume create --overwrite
check "the image is written" volume write --input "$image"
kill -KILL "${pids[1]}" && wait "${pids[1]}" 2>/dev/null
check "... the half of it again, with a target dead" volume write --input <(head -c 12M "$image")
: >"$tap_folder/target1.log"
require "the target starts again" start_member 1
expect_output "its member is brought up to date" "all members are in sync; [1-9]" volume heal
expect_output "the volume is clean" "clean, members: in sync, in sync, in sync" volume status
for number in 0 1 2; do check "Linux finds the file system on member $number alone" holds_the_file_system "$number"; done
check "the volume is destroyed" volume destroy
check "the targets end in good order" eval 'kill "${pids[@]}"; wait "${pids[@]}"'
check_kernel_log "the kernel has nothing to complain about"
done_testing
