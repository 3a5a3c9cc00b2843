#!/usr/bin/env bash
# A volume in the steps of the Container Storage Interface, by the kernel's NBD client: a pod writes while a target dies; the host that it
# was staged on hangs, it is staged elsewhere, and nothing of the former host lands any more.
. "$(dirname "$0")/lab.sh"

tercet=${TERCET:-$project/.build/release/tercet}
volumed=${VOLUMED:-$project/.build/release/tercet-volumed}
program=${NODE:-$project/.build/release/tercet-node}
pids=()
hosts=()
at_exit '[ -z "${hosts[*]}" ] || kill -CONT "${hosts[@]}"; [ -z "${pids[*]}" ] || kill -KILL "${pids[@]}" "${hosts[@]}"'
at_exit 'for path in $(awk "{print \$5}" /proc/self/mountinfo | grep "^$tap_folder" | sort -r); do umount -l "$path"; done'
at_exit 'for device in /dev/nbd?; do nbd-client -d "$device"; done'
lab_fabric
store=$(mktemp -d /dev/shm/tercet.XXXXXX)
at_exit "rm -rf $store"
arguments=()
for number in 0 1 2; do arguments+=(--member "$address4:$((4421 + number))/$nqn.$number/1"); done

# start_member NUMBER: starts one of three tercetd, each with a file in memory that outlives it.
start_member() {
  truncate -s 128M "$store/disk$1"
  : >"$tap_folder/target$1.log"
  "$tercetd" --reactors 1 --listen "$address4:$((4421 + $1))" --state-directory "$tap_folder/state$1" \
    --export "$nqn.$1=$store/disk$1" >>"$tap_folder/target$1.log" 2>&1 </dev/null &
  pids[$1]=$!
  wait_until 60 grep -q serving "$tap_folder/target$1.log"
}

# start_host NUMBER: starts the volume daemon of a host: 0 or 1.
start_host() {
  "$volumed" --nbd "$tap_folder/nbd$1.sock" --control "$tap_folder/control$1.sock" --hostnqn "nqn.2026-11.io.tercet:host$1" \
    --device "spare$1=ram:1M" >"$tap_folder/volumed$1.log" 2>&1 </dev/null &
  hosts[$1]=$!
  tap_logs+=("$tap_folder/volumed$1.log")
  wait_until 60 grep -q 'notice: serving' "$tap_folder/volumed$1.log"
}

# node HOST KIND VERB OPTION...: that host's agent, with devices of that kind.
node() {
  local host=$1 kind=$2 verb=$3
  shift 3
  timeout 120 "$program" "$verb" db "$@" --socket "$tap_folder/control$host.sock" --nbd-socket "$tap_folder/nbd$host.sock" \
    --run-folder "$tap_folder/run$host" --device "$kind"
}
listed() { "$tercet" volume list --socket "$tap_folder/control0.sock" | grep '^db:'; }

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a first connection is made" wait_until 120 "$tercet" discover -a "$address4" -s 4421
require "a volume is created" timeout 200 "$tercet" volume create "${arguments[@]}"
for module in nbd fuse loop; do require "the module $module is there" modprobe $module; done
for host in 0 1; do
  require "the volume daemon of host $host starts" start_host "$host"
  mkdir -p "$tap_folder/plugins$host" "$tap_folder/pods$host"
done
expect_output "the kernel's NBD client comes before nbdfuse" "kernel-nbd, nbdfuse" "$program" info
here=$tap_folder/plugins0/mount there=$tap_folder/plugins1/mount pod=$tap_folder/pods0/data

require "it is staged" node 0 kernel-nbd stage --staging "$here" "${arguments[@]}"
expect_output "... on a device of the kernel's NBD client" "^/dev/nbd[0-9]+$" findmnt -n -o SOURCE "$here"
check "... twice" node 0 kernel-nbd stage --staging "$here" "${arguments[@]}"
require "it is published" node 0 kernel-nbd publish --staging "$here" --target "$pod"
check "the pod writes" cp /bin/bash "$pod/before"
dd if=/dev/urandom of="$pod/long" bs=64k count=600 oflag=dsync status=none 2>"$tap_folder/dd" &
writer=$!
kill -KILL "${pids[1]}"
wait "$writer"
report $? "a target dies while it writes, and it meets no error"
expect_output "stats tell what is wrong" "^condition: .*member 1" node 0 kernel-nbd stats --path "$pod"
require "the target comes back" start_member 1
check "... and all is well again" wait_until 60 eval 'node 0 kernel-nbd stats --path "$pod" | grep "condition: the volume is whole"'
check "what was written is there" cmp /bin/bash "$pod/before"

# The host hangs. Its volume is staged elsewhere, which fences it.
sync -f "$pod"
kill -STOP "${hosts[0]}"
require "it is staged elsewhere" wait_until 90 node 1 nbdfuse stage --staging "$there" "${arguments[@]}" --take-over
check "... with all that was synced" cmp /bin/bash "$there/before"
check "the new host writes" cp /bin/ls "$there/after"
sync -f "$there"
timeout 20 dd if=/dev/zero of="$pod/old" bs=4k count=64 conv=fsync status=none >/dev/null 2>&1 &
old=$!
kill -CONT "${hosts[0]}"
wait "$old"
[ $? -ne 0 ]
report $? "the former host cannot write any more"
check "what the new host wrote stays" cmp /bin/ls "$there/after"
check_fails "... and nothing of the former host's is there" test -e "$there/old"
check "the former host lets go" wait_until 60 eval 'node 0 kernel-nbd unpublish --target "$pod" && node 0 kernel-nbd unstage --staging "$here"'
check_fails "... of the volume" listed
check "the new host unstages it" node 1 nbdfuse unstage --staging "$there"
check "... and its file system is clean" eval 'node 1 nbdfuse stage --staging "$there" "${arguments[@]}" && cmp /bin/ls "$there/after" &&
  node 1 nbdfuse unstage --staging "$there"'
done_testing
