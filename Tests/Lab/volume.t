#!/usr/bin/env bash
# A volume on three targets over Soft-RoCE: first on three tercetd, each with a part of an emulated NVMe drive, then without
# fencing on Linux's own target. A member is lost and comes back. Afterwards each is attached alone by Linux, which finds
# at its block 0 the file system that was written while one was away.
. "$(dirname "$0")/lab.sh"

tercet=${TERCET:-$project/.build/release/tercet}
lab_fabric
pids=(0 0 0)
at_exit 'kill -KILL "${pids[@]}"'

# make_image PATH FOLDER: a file system with the folder's files.
make_image() { truncate -s 24M "$1" && /sbin/mke2fs -q -t ext4 -d "$2" "$1"; }

first=$tap_folder/first image=$tap_folder/image
require "a file system image is made" make_image "$first" "$project/Tests/Lab"
require "... and another" make_image "$image" "$project/Deploy"

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
  cmp -n "$(stat -c %s "$image")" "$image" "$namespace" && /sbin/e2fsck -fn "$namespace" &&
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
# In a fresh lab all programs are read for the first time, by an emulated processor. A volume's members have 3 s to connect, a
# connection alone has 30 s: one is made before.
require "a first connection is made" wait_until 120 "$tercet" discover -a "$address4" -s "${ports[0]}"
require "a volume is created" volume create --overwrite
check "an image is written" volume write --input "$first"
kill -KILL "${pids[1]}" && wait "${pids[1]}" 2>/dev/null
check "... another over it, with a target dead" volume write --input "$image"
: >"$tap_folder/target1.log"
require "the target starts again" start_member 1
expect_output "its member is brought up to date" "all members are in sync; [1-9]" volume heal
expect_output "the volume is clean" "clean, members: in sync, in sync, in sync" volume status
for number in 0 1 2; do check "Linux finds the file system on member $number alone" holds_the_file_system "$number"; done
check "the volume is destroyed" volume destroy
check "the targets end in good order" eval 'kill "${pids[@]}"; wait "${pids[@]}"'

# Linux's target, where each subsystem has a port of its own beside the common one, so that it can be reached or not alone.
target=nvmet ports=(4431 4432 4433)
set_members
open_port() {
  local port=${ports[$1]} target_exports=("$nqn.$1=")
  nvmet_listen $((10 + $1)) ipv4 "$address4"
}
# All associations through the port end with it.
close_port() { rm "$nvmet/ports/$((10 + $1))/subsystems/$nqn.$1" && rmdir "$nvmet/ports/$((10 + $1))"; }
has_said() { grep -q "$1" "$tap_folder/bench"; }

require "nvmet starts with three subsystems" start_target "$nqn.0=ram:64M" "$nqn.1=ram:64M" "$nqn.2=ram:64M"
for number in 0 1 2; do require "... and a port for subsystem $number" open_port "$number"; done
expect_refusal "a target without reservations is not taken for a fenced one" "reservations.*fencing none" volume create
expect_output "a volume is created without fencing, with a warning" "warning: fencing is none" volume create --fencing none
expect_output "... which status names" "clean, members: in sync, in sync, in sync, fencing: none" volume status
check "an image is written" volume write --input "$first"
check "a member's port is closed" close_port 2
check "... another image is written over it" volume write --input "$image"
require "the port is opened again" open_port 2
expect_output "its member is brought up to date" "all members are in sync; [1-9]" volume heal

: >"$tap_folder/bench"
volume bench --start-block 65536 --size 16m --iodepth 4 --runtime 25 >"$tap_folder/bench" 2>&1 </dev/null &
load=$!
check "a load runs" wait_until 60 has_said serving
check "a port is closed under it" close_port 1
check "... the loss is noticed" wait_until 60 has_said "member 1: lost"
require "... the port is opened again" open_port 1
check "... the member returns, and is brought up to date" wait_until 90 has_said "member 1: in sync"
wait "$load"
expect_equal "... the load ends well: every read had what was written last" 0 $?
load=
diagnose <"$tap_folder/bench"
expect_output "the members are equal" " 0 differ" volume scrub
for number in 0 1 2; do check "Linux finds the file system on member $number alone" holds_the_file_system "$number"; done
check "nvmet ends" stop_target

# A volume there grows with its namespaces, of whose size Linux's target is told by its administrator.
growing=$tap_folder/growing loops=()
mkdir "$growing"
require "memory for three drives is mounted" mount -t tmpfs -o size=200m tmpfs "$growing"
at_exit "umount '$growing'"
for number in 0 1 2; do
  truncate -s 32M "$growing/$number"
  loops+=("$(losetup --find --show "$growing/$number")")
  at_exit "losetup -d ${loops[$number]}"
done
enlarge() {
  truncate -s 40M "$growing/$1" && losetup -c "${loops[$1]}" &&
    echo 1 >"$nvmet/subsystems/$nqn.$1/namespaces/1/revalidate_size"
}
require "nvmet starts on them" start_target "$nqn.0=${loops[0]}" "$nqn.1=${loops[1]}" "$nqn.2=${loops[2]}"
ports=("$port" "$port" "$port")
set_members
check "a volume is created without fencing" volume create --fencing none
check "an image is written" volume write --input "$image"
for number in 0 1 2; do check "drive $number is enlarged" enlarge "$number"; done
expect_output "the volume grows" "the volume has .* blocks of 512 bytes now, .* before" volume grow --old-size 32m
expect_output "... and is in sync" "clean, members: in sync, in sync, in sync, fencing: none" volume status
expect_output "... its members are equal" " 0 differ" volume scrub
for number in 0 1 2; do check "Linux finds the file system on member $number alone" holds_the_file_system "$number"; done
check "nvmet ends" stop_target
check_kernel_log "the kernel has nothing to complain about"
done_testing
