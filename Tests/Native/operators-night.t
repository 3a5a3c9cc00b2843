#!/usr/bin/env bash
# An operator's night: every command while things go wrong, before and after. What it prints and its exit status are compared
# with operators-night.txt, where what differs from run to run has names. That text says of each command within which time it
# has to end, which is checked too.
#
# The conditions are independent: each has targets of its own, and they run at the same time. The commands that look at or change
# what runs, and registries, are in operators-night-control.t.

. "$(dirname "$0")/fio.sh"
. "$(dirname "$0")/night.sh"
. "$(dirname "$0")/operators-night.sh"

golden=$project/Tests/Native/operators-night.txt

# The conditions. A name with a number is a part of one that takes long.
well() {
  volume status
  all
  others
  looks_at 0
  must start_member 3
  target 3 write --input "$input"
  target 3 bench --rw randwrite --runtime 1
  target 0 read --nsid 9 --output /dev/null
  spare 2
  volume status
  joined 2
  volume status
  volume destroy
  volume status
  volume read --output /dev/null
  volume create --region-size 64k
}
dead() {
  kill_member 2
  all
  looks_at 2
  target 2 write --input "$input"
  must start_member 2
  after
}
dead_others() {
  kill_member 2
  others
  volume destroy
  must start_member 3
  spare 2
}
slow() {
  echo 'delay_us=2000' >"$faults"
  must sleep 0.2
  all
  looks_at 2
  : >"$faults"
  after
}
slow_others() {
  echo 'delay_us=2000' >"$faults"
  others
  must start_member 3
  ends
  target 2 write --input "$input"
  target 2 bench --rw randwrite --runtime 1
}
full() {
  volume status
  volume write --input "$large"
  volume heal --for 2
  volume scrub
  volume bench --runtime 1 --size 8m --iodepth 4
  volume read --block-count 8 --output /dev/null
  volume detach
  volume status
  target 2 write --start-block 4096 --input "$large"
  looks_at 2
  must mount -o remount,size=64m "$tap_folder/small"
  after
}
full_others() {
  volume write --input "$large"
  others
  must start_member 3
  ends
  target 2 bench --rw randwrite --runtime 1
}
failing() {
  must prlimit --pid "${target_pids[2]}" --fsize=65536:
  all
  target 2 write --start-block 8192 --input "$input"
  looks_at 2
  must prlimit --pid "${target_pids[2]}" --fsize=unlimited:
  after
}
failing_others() {
  must prlimit --pid "${target_pids[2]}" --fsize=65536:
  others
  must prlimit --pid "${target_pids[2]}" --fsize=unlimited:
  after
}
failing_ends() {
  must prlimit --pid "${target_pids[2]}" --fsize=65536:
  volume destroy
  volume create --region-size 64k
  must prlimit --pid "${target_pids[2]}" --fsize=unlimited:
  volume create --region-size 64k
  must prlimit --pid "${target_pids[2]}" --fsize=65536:
  must start_member 3
  spare 2
  joined 2
  volume status
  target 2 bench --rw randwrite --runtime 1
}
stopped() {
  kill -STOP "${target_pids[2]}"
  all
  kill -CONT "${target_pids[2]}"
  after
}
stopped_others() {
  kill -STOP "${target_pids[2]}"
  others
  volume destroy
  kill -CONT "${target_pids[2]}"
  after
}
stopped_target() {
  kill -STOP "${target_pids[2]}"
  looks_at 2
  target 2 write --input "$input"
  must start_member 3
  spare 2
  kill -CONT "${target_pids[2]}"
}
two_away() {
  kill_member 1
  kill_member 2
  all
  looks_at 0
  # The volume is blank: these zeroes are there already.
  target 0 write --start-block 8192 --input "$zeroes"
  target 1 discover
  must start_member 1
  must start_member 2
  after
}
two_away_others() {
  kill_member 1
  kill_member 2
  others
  volume destroy
  must start_member 3
  spare 2
  must start_member 1
  must start_member 2
  after
}
other_host() {
  begin_host
  all
  looks_at 0
  target 0 write --start-block 8192 --input "$input"
  target 0 bench --rw randwrite --runtime 1
  must kill -0 "$host"
  end_host
  after
}
other_host_others() {
  must start_member 3
  begin_host
  others
  volume destroy
  spare 2
  must kill -0 "$host"
  volume write --take-over --input "$input"
  exec 7>&-
  local status=0
  wait "$host" || status=$?
  {
    echo
    echo "\$ tercet volume write (the host that was fenced)"
    outcome <"$tap_folder/host" | normalised
    echo "exit status $status"
  } >>"$tap_folder/section"
  volume detach
  after
}
# killed COMMAND...: the command is the first one after a host was killed that had the volume.
killed() { begin_host; end_host; "$@"; }
host_killed() {
  killed volume status
  volume read --block-count 8 --output /dev/null
  killed volume write --input "$input"
  killed volume heal --for 2
  killed volume scrub
  killed volume bench --runtime 1 --size 1m --iodepth 4
  killed looks_at 0
  killed target 0 write --start-block 8192 --input "$input"
  killed target 0 bench --rw randwrite --runtime 1
  after
}
host_killed_others() {
  killed exercise
  killed volume heal --scrub
  killed volume grow
  killed volume detach
  killed volume create
  killed fio
  after
}
host_killed_ends() {
  must start_member 3
  killed spare 2
  joined 2
  volume status
  killed volume destroy
  volume status
}

conditions=(well dead dead_others slow slow_others full full_others failing failing_others failing_ends stopped stopped_others
  stopped_target two_away two_away_others other_host other_host_others host_killed host_killed_others host_killed_ends)
declare -A titles=([well]="all is well" [dead]="a member is dead" [dead_others]="a member is dead (2)" [slow]="a member is slow"
  [slow_others]="a member is slow (2)" [full]="a member's disk is full" [full_others]="a member's disk is full (2)"
  [failing]="a member's disk fails its writes" [failing_others]="a member's disk fails its writes (2)"
  [failing_ends]="a member's disk fails its writes (3)"
  [stopped]="a target is stopped" [stopped_others]="a target is stopped (2)" [stopped_target]="a target is stopped (3)"
  [two_away]="two members are away" [two_away_others]="two members are away (2)" [other_host]="another host has the volume"
  [other_host_others]="another host has the volume (2)" [host_killed]="a host was killed" [host_killed_others]="a host was killed (2)"
  [host_killed_ends]="a host was killed (3)")

head -c 65536 /dev/urandom >"$tap_folder/input"
head -c 8388608 /dev/urandom >"$tap_folder/large"
head -c 65536 /dev/zero >"$tap_folder/zeroes"
input=$tap_folder/input
zeroes=$tap_folder/zeroes
large=$tap_folder/large

# night NUMBER NAME: a condition, with targets and a volume of its own.
night() {
  begin_condition "$2" "${titles[$2]}"
  port=$((port + 8 + 4 * $1))
  members=()
  local number
  for number in 0 1 2 3; do truncate -s 16M "$tap_folder/disk$number"; done
  for number in 0 1 2; do members+=(--member "$address:$((port + number))/$nqn.$number/1"); done
  faults=$tap_folder/faults
  if [[ "$2" = full* ]]; then
    small_disk 6m
    truncate -s 16M "$tap_folder/small/disk"
    rm "$tap_folder/disk2"
    ln -s "$tap_folder/small/disk" "$tap_folder/disk2"
  fi
  must start_member 0
  must start_member 1
  [[ "$2" != slow* ]] || { : >"$faults"; export SOFTVERBS_FAULT_FILE=$faults; }
  must start_member 2
  unset SOFTVERBS_FAULT_FILE
  must "$tercet" volume create "${members[@]}" --region-size 64k
  "$2"
  echo >>"$tap_folder/section"
}

if without_small_disks; then
  skip "a member's disk is full" "no file system can be mounted here"
  conditions=("${conditions[@]/full*/}")
fi

all_nights

conclude_night "An operator's night: what each command prints, and how it ends. Lines of the standard error begin with an exclamation" \
  "mark. Tests/Native/operators-night.t compares; UPDATE=1 writes this anew." \
  "The exit status is followed by the command's deadline, with a patience of $patience s; beside it $allowance s are for a machine that" \
  "does much at once."
