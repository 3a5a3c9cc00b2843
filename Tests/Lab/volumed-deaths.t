#!/usr/bin/env bash
# The daemon, a target, or both are killed under a file system on the kernel's NBD client, or another daemon takes over, at random
# moments, ROUNDS times (2); in the end the device itself is lost, as when a machine loses its power. What fsync has acknowledged is
# there, and the file system is clean.
. "$(dirname "$0")/lab.sh"

rounds=${ROUNDS:-2}
tercet=${TERCET:-$project/.build/release/tercet}
volumed=${VOLUMED:-$project/.build/release/tercet-volumed}
volumed_pid=
volumed_log=$tap_folder/volumed.log
tap_logs+=("$volumed_log")
control=$tap_folder/control.sock
link=/dev/tercet/db
mount_point=$tap_folder/mount
sums=$tap_folder/sums
mkdir "$mount_point"
lab_fabric
pids=()
writer=
at_exit '[ -z "${pids[*]}$volumed_pid$writer" ] || kill -KILL "${pids[@]}" $volumed_pid $writer'
at_exit 'for device in /dev/nbd?; do nbd-client -d "$device"; done'
at_exit 'umount -l "$mount_point"'
store=$(mktemp -d /dev/shm/tercet.XXXXXX)
at_exit "rm -rf $store"

# start_member NUMBER: starts one of three tercetd, each with a file in memory that outlives it.
start_member() {
  truncate -s 128M "$store/disk$1"
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

# die PID...: ends processes with SIGKILL.
die() { kill -KILL "$@" && { wait "$@" 2>/dev/null || :; }; }

members=
arguments=()
for number in 0 1 2; do
  members+=${members:+,}$address4:$((4421 + number))/$nqn.$number/1
  arguments+=(--member "$address4:$((4421 + number))/$nqn.$number/1")
  require "target $number starts" start_member "$number"
done
require "a first connection is made" wait_until 120 "$tercet" discover -a "$address4" -s 4421
require "a volume is created" timeout 200 "$tercet" volume create "${arguments[@]}"
require "the module is there" modprobe nbd
require "the daemon makes it a block device" serve
check "mkfs.ext4" mkfs.ext4 -q "$link"
require "mount" mount "$link" "$mount_point"

cat >"$tap_folder/writer.py" <<'PYTHON'
# Writes files of random contents and lengths, and notes the checksum of each once fsync has acknowledged it and its name.
import hashlib, os, random, sys
folder, sums = sys.argv[1:]
directory = os.open(folder, os.O_RDONLY)
number = 0
with open(sums, "a") as noted:
    while not os.path.exists(f"{sums}.enough"):
        number += 1
        data, name = os.urandom(random.choice([1, 511, 4096, 20_000, 150_000])), f"{folder}/{number}"
        try:
            with open(name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.fsync(directory)
        except OSError as error:
            print(f"file {number}: {error}", flush=True)
            sys.exit(3)
        noted.write(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
        noted.flush()
        # Room is made, so that the load can last.
        if number > 300: os.unlink(f"{folder}/{number - 300}")
PYTHON
start_writer() {
  : >"$sums"
  python3 "$tap_folder/writer.py" "$mount_point" "$sums" >"$tap_folder/writer" 2>&1 </dev/null &
  writer=$!
}

# goes_on: whether ten more files have been acknowledged since the mark.
goes_on() { [ "$(wc -l <"$sums")" -ge $((mark + 10)) ]; }

# is_there: the last files that were acknowledged are read from the device as they were written.
is_there() {
  tail -n 200 "$sums" >"$sums.last"
  echo 3 >/proc/sys/vm/drop_caches
  sha256sum --quiet -c "$sums.last"
}

# kill_and_go_on KIND: does it to the daemon, a target or both, and waits until the load goes on.
kill_and_go_on() {
  local member=$((RANDOM % 3)) former=$volumed_pid
  sleep "0.$((RANDOM % 900 + 100))"
  case $1 in
    daemon) die "$volumed_pid" ;;
    target) die "${pids[member]}" ;;
    both) die "$volumed_pid" "${pids[member]}" ;;
  esac
  [ "$1" = daemon ] || [ "$1" = successor ] || start_member "$member" || return
  case $1 in
    daemon | both) serve --take-over || return ;;
    successor) serve --take-over-from "$control" && wait "$former" || return ;;
  esac
  mark=$(wc -l <"$sums")
  wait_until 60 goes_on
}

start_writer
mark=0
require "files are written" wait_until 60 goes_on
kinds=(both successor target daemon)
for ((round = 0; round < rounds; round++)); do
  kind=${kinds[round % 4]}
  require "$round, $kind: the load goes on" kill_and_go_on "$kind"
  check "... and all that fsync has acknowledged is there" is_there
done
kill -0 "$writer"
report $? "no call has failed" || diagnose <"$tap_folder/writer"

die "$volumed_pid"
check "the device is lost with the daemon" nbd-client -d /dev/nbd0
wait "$writer"
expect_equal "... which the load notices" 3 $?
writer=
umount "$mount_point" || umount -l "$mount_point"
require "the daemon starts again" serve --take-over
require "... and its device is mounted" mount "$link" "$mount_point"
check "all that fsync had acknowledged is there" is_there
diagnose "$(wc -l <"$sums") files were acknowledged"
check "umount" umount "$mount_point"
check "the file system is clean" e2fsck -fn "$link"

kill -TERM "$volumed_pid"
wait "$volumed_pid"
report $? "SIGTERM ends the daemon in good order"
check "heal makes equal what the deaths have left" timeout 200 "$tercet" volume heal "${arguments[@]}"
expect_output "the volume is clean" "clean, members: in sync, in sync, in sync" \
  timeout 60 "$tercet" volume status "${arguments[@]}"
blocks=$(timeout 60 "$tercet" volume status "${arguments[@]}" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["members"][0]["blocks"])')
for number in 1 2; do
  check "member $number has what member 0 has" cmp -n $((blocks * 512)) "$store/disk0" "$store/disk$number"
done
kill "${pids[@]}"
wait "${pids[@]}"
check_kernel_log "the kernel has only complained of what was done to it" \
  "nbd[0-9]*: |EXT4-fs|JBD2|Aborting journal on device nbd0|Buffer I/O error|I/O error, dev nbd0|blk_update_request"
done_testing
