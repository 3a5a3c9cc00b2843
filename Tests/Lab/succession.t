#!/usr/bin/env bash
# A Linux host with native multipath on two volume daemons that share a volume: the one that serves is killed, stopped and continued, and
# told to hand over, under a load that verifies. The gaps of the host are told.
. "$(dirname "$0")/lab.sh"

# Linux counts the I/O of a disk with several paths from 6.3 on. The gaps are those of an emulated processor.
if [ "${SUCCESSION:-}" != 1 ]; then
  skip "a Linux host on two daemons that share a volume" "on request: Tools/lab run --kernel 6.12 -- env SUCCESSION=1 prove -v $0"
  done_testing
fi

tercet=${TERCET:-$project/.build/release/tercet}
volumed=${VOLUMED:-$project/.build/release/tercet-volumed}
lab_fabric
pids=()
daemon_pids=()
at_exit 'kill -KILL "${pids[@]}" "${daemon_pids[@]}"'
daemons=(a b)
export TERCET_REGISTRY=sqlite:$tap_folder/registry

start_member() {
  truncate -s 80M "$store/disk$1"
  "$tercetd" --reactors 1 --listen "$address4:$((4421 + $1))" --state-directory "$tap_folder/state$1" \
    --export "$nqn.$1=$store/disk$1" >>"$tap_folder/target$1.log" 2>&1 </dev/null &
  pids[$1]=$!
  wait_until 60 grep -q serving "$tap_folder/target$1.log"
}

# start_daemon NUMBER: starts a daemon, and waits until it offers the volume.
start_daemon() {
  local name=${daemons[$1]} before
  touch "$tap_folder/$name.log"
  before=$(grep -c 'notice: serving' "$tap_folder/$name.log")
  "$volumed" --nvme "$address4:$((4430 + $1))" --control "$tap_folder/$name.sock" --daemon "$name" --place "$1" --lease 15 \
    --volume db >>"$tap_folder/$name.log" 2>&1 </dev/null &
  daemon_pids[$1]=$!
  wait_until 90 eval "[ \$(grep -c 'notice: serving' '$tap_folder/$name.log') -gt $before ]"
}

# has_served NUMBER TIMES: whether a daemon has begun to serve so often.
has_served() { [ "$(grep -c 'this daemon owns it' "$tap_folder/${daemons[$1]}.log")" -ge "$2" ]; }
turns() { grep -c 'this daemon owns it' "$tap_folder/${daemons[$1]}.log"; }

# goes_to NUMBER NAME COMMAND...: what the command does has the other daemon serve, and the host go on.
goes_to() {
  local number=$1 name=$2 before began
  shift 2
  before=$(turns "$number")
  began=$(date +%s%3N)
  "$@" >"$tap_folder/output" 2>&1 || diagnose <"$tap_folder/output"
  check "$name: the other daemon serves" wait_until 60 has_served "$number" $((before + 1))
  mark_load
  check "... and the host goes on" wait_until 60 load_moves 200
  phases+=("$began $(date +%s%3N) $name")
}

sectors_written() { awk '{print $7}' "/sys/block/${namespace#/dev/}/stat"; }

store=$(file_store)
for name in "${daemons[@]}"; do tap_logs+=("$tap_folder/$name.log"); done
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
members=()
for number in 0 1 2; do members+=(--member "$address4:$((4421 + number))/$nqn.$number/1"); done
require "a volume is created" timeout 120 "$tercet" volume create db "${members[@]}"
for number in 0 1; do require "daemon ${daemons[$number]} starts" start_daemon "$number"; done
require "the first one serves" wait_until 60 has_served 0 1
uuid=$("$tercet" volume show db --json | sed -n 's/.*"uuid" *: *"\([0-9a-f-]*\)".*/\1/p')
volume_nqn=nqn.2014-08.org.nvmexpress:uuid:$uuid
at_exit 'nvme disconnect -n "$volume_nqn"'
require "Linux connects to the first" eval 'port=4430 connect "$volume_nqn"'
find_controllers "$volume_nqn"
known=${found[*]}
second() {
  nvme connect -t rdma -n "$volume_nqn" -s 4431 --traddr="$address4" --hostnqn="$host_nqn" --hostid="$host_id" --reconnect-delay=1 &&
    new_controller "$volume_nqn" && wait_until 30 state_is "$controller" live
}
require "... and to the second" second
one_disk_of_two_paths() {
  [ "$(ls -d /sys/class/nvme-subsystem/*/nvme*n* 2>/dev/null | grep -c "${namespace#/dev/}\$")" -ge 1 ] &&
    [ "$(cat /sys/class/nvme/nvme*/nvme*c*n*/ana_state | sort | tr '\n' ' ')" = "inaccessible optimized " ]
}
check "it has one disk with two paths, one of them optimized" wait_until 30 one_disk_of_two_paths
cat /sys/class/nvme/nvme*/nvme*c*n*/ana_state 2>&1 | diagnose

phases=()
start_load --size=32M --iodepth=4 --write_lat_log="$tap_folder/latency" --log_unix_epoch=1
mark_load
require "a load runs" wait_until 60 load_moves 200
goes_to 1 "hand-over" "$tercet" volume hand-over db --socket "$tap_folder/a.sock"
goes_to 0 "hand-over back" "$tercet" volume hand-over db --socket "$tap_folder/b.sock"
die() { kill -KILL "$1" && wait "$1" 2>/dev/null; return 0; }
goes_to 1 "SIGKILL" die "${daemon_pids[0]}"
require "the killed one comes back" start_daemon 0
both_paths() { [ "$(cat /sys/class/nvme/nvme*/nvme*c*n*/ana_state | sort | tr '\n' ' ')" = "inaccessible optimized " ] &&
  [ "$(cat /sys/class/nvme/nvme*/state | grep -c live)" -ge 2 ]; }
check "... and its path too" wait_until 60 both_paths
goes_to 0 "SIGSTOP" kill -STOP "${daemon_pids[1]}"
kill -CONT "${daemon_pids[1]}"
check "the stopped one wakes up, and stands by" wait_until 60 grep -q "volume not served any more: the lease has ended" "$tap_folder/b.log"
check "... with its path" wait_until 60 both_paths
goes_to 1 "SIGTERM" kill -TERM "${daemon_pids[0]}"
check "no I/O failed, and what was read is right" end_load
# The longest latency of those that ended in each phase: time in ms, latency in ns.
for phase in "${phases[@]}"; do
  read -r began ended name <<<"$phase"
  diagnose "gap of the host: $name: $(cat "$tap_folder"/latency_clat*.log | awk -F', *' -v b="$began" -v e="$ended" \
    '$1 >= b && $1 <= e && $2 > m {m = $2} END {printf "%d ms", m / 1000000}')"
done
disconnect "$volume_nqn"
kill -TERM "${daemon_pids[1]}"
wait "${daemon_pids[1]}"
expect_equal "the last daemon ends in good order" 0 $?
expect_output "the volume is clean" "members: in sync, in sync, in sync" timeout 120 "$tercet" volume status db
check_kernel_log "the kernel has only complained of what was done to it" \
  'no usable path - requeuing|starting error recovery|Connect rejected|Connect Invalid Data Parameter|Admin Cmd|keep_alive|Property Set error'
done_testing
