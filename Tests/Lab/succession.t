#!/usr/bin/env bash
# A Linux host with native multipath on two volume daemons that share a volume: the one that serves is told to hand over, killed, stopped
# and continued, as often as SUCCESSION says, and etcd is restarted, under a load that verifies. The gaps of the host are told.
. "$(dirname "$0")/lab.sh"

# Linux counts the I/O of a disk with several paths from 6.3 on. The gaps are those of an emulated processor.
if ! [ "${SUCCESSION:-0}" -gt 0 ]; then
  skip "a Linux host on two daemons that share a volume" \
    "on request: Tools/lab run --kernel 6.12 --timeout 3000 -- env SUCCESSION=20 prove -v $0"
  done_testing
fi

tercet=${TERCET:-$project/.build/release/tercet}
volumed=${VOLUMED:-$project/.build/release/tercet-volumed}
lab_fabric
pids=()
daemon_pids=()
at_exit 'kill -KILL "${pids[@]}" "${daemon_pids[@]}"'
daemons=(a b)
lease=${SUCCESSION_LEASE:-10}
port_slot=0
. "$project/Tests/Native/etcd.sh"
export TERCET_REGISTRY=etcd://$etcd_address:2379

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
  "$volumed" --nvme "$address4:$((4430 + $1))" --control "$tap_folder/$name.sock" --daemon "$name" --place "$1" --lease "$lease" \
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
  began=${EPOCHREALTIME/[.,]/}
  "$@" >"$tap_folder/output" 2>&1 || diagnose <"$tap_folder/output"
  check "$name: the other daemon serves" wait_until 60 has_served "$number" $((before + 1))
  mark_load
  check "... and the host goes on" wait_until 60 load_moves 200
  local ended=${EPOCHREALTIME/[.,]/}
  phases+=("${began%???} ${ended%???} ${name%% *}")
}

# gaps KIND: the longest times between two ends of I/Os around what was done, in milliseconds, one a line.
gaps() {
  local phase began ended name
  for phase in "${phases[@]}"; do
    read -r began ended name <<<"$phase"
    [ "$name" = "$1" ] || continue
    awk -v b="$began" -v e="$ended" '$2 >= b && $1 <= e && $2 - $1 > m {m = $2 - $1} END {print m + 0}' "$tap_folder/pauses"
  done
}
# row NAME: a line of a table, of the numbers on standard input.
row() {
  sort -n | awk -v name="$1" '{a[NR] = $1} END {if (NR) printf "%-34s %3d times, min %d, median %d, max %d ms\n", name, NR, a[1], a[int((NR + 1) / 2)], a[NR]}' |
    diagnose
}
# told PATTERN: the numbers behind a word in the daemons' logs.
told() { sed -n "s/.*$1\\([0-9]*\\).*/\\1/p" "$tap_folder/a.log" "$tap_folder/b.log"; }

sectors_written() { awk '{print $7}' "/sys/block/${namespace#/dev/}/stat"; }

store=$(file_store)
for name in "${daemons[@]}"; do tap_logs+=("$tap_folder/$name.log"); done
start_etcd 0 http "m0=http://$etcd_address:2389"
require "etcd starts" wait_until 120 etcd_client "$etcd_address:2379" endpoint health
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
start_load --size=32M --iodepth=4 --runtime=$((SUCCESSION * 300 + 900)) --write_lat_log="$tap_folder/latency" --log_unix_epoch=1
mark_load
require "a load runs" wait_until 60 load_moves 200
both_paths() { [ "$(cat /sys/class/nvme/nvme*/nvme*c*n*/ana_state | sort | tr '\n' ' ')" = "inaccessible optimized " ] &&
  [ "$(cat /sys/class/nvme/nvme*/state | grep -c live)" -ge 2 ]; }
die() { kill -KILL "$1" && wait "$1" 2>/dev/null; return 0; }
# find_owner: sets owner to the daemon whose path is the optimized one.
find_owner() {
  local state word address
  for state in /sys/class/nvme/nvme*/nvme*c*n*/ana_state; do
    read -r word <"$state" && [ "$word" = optimized ] && read -r address <"${state%/*/*}/address" || continue
    [[ $address = *trsvcid=4430* ]] && owner=0 || owner=1
    return
  done
  return 1
}
# How often the owner has said that its lease has ended; and whether it has said so again.
leases_ended() { grep -c "volume not served any more: the lease has ended" "$tap_folder/${daemons[$owner]}.log"; }
woke_up() { [ "$(leases_ended)" -gt "$before" ]; }
# Each of them has the volume go to the other daemon.
for round in $(seq "$SUCCESSION"); do
  # The gaps so far are worth telling.
  [ "$tap_failures" -eq 0 ] || break
  # A machine that does much else may have lost its lease.
  require "... by one of which the volume is served" wait_until 60 find_owner
  other=$((1 - owner))
  goes_to $other "hand-over $round" "$tercet" volume hand-over db --socket "$tap_folder/${daemons[$owner]}.sock"
  check "... with both paths" wait_until 60 both_paths
  goes_to $owner "SIGKILL $round" die "${daemon_pids[$other]}"
  require "the killed one comes back" start_daemon $other
  check "... and its path too" wait_until 60 both_paths
  before=$(leases_ended)
  goes_to $other "SIGSTOP $round" kill -STOP "${daemon_pids[$owner]}"
  kill -CONT "${daemon_pids[$owner]}"
  check "the stopped one wakes up, and stands by" wait_until 60 woke_up
  check "... with its path" wait_until 60 both_paths
done
require "one of them serves" wait_until 60 find_owner
mark_load
began=${EPOCHREALTIME/[.,]/}
before=$(leases_ended)
kill_etcd 0
check "etcd is away for longer than the lease: nobody serves" wait_until 60 woke_up
start_etcd 0 http "m0=http://$etcd_address:2389"
mark_load
check "... it is back, and the host goes on" wait_until 90 load_moves 200
ended=${EPOCHREALTIME/[.,]/}
phases+=("${began%???} ${ended%???} etcd")
check "... with both paths" wait_until 60 both_paths
require "... one of which serves" wait_until 60 find_owner
goes_to $((1 - owner)) "SIGTERM" kill -TERM "${daemon_pids[$owner]}"
check "no I/O failed, and what was read is right" end_load
sort -n "$tap_folder"/latency_clat*.log | awk -F', *' 'last && $1 - last >= 10 {print last, $1} {last = $1}' >"$tap_folder/pauses"
for kind in hand-over SIGKILL SIGSTOP etcd SIGTERM; do gaps "$kind" | row "gap of the host: $kind"; done
told 'volume detached.*milliseconds=' | row "a part of it: detach"
told 'volume attached.*milliseconds=' | row "a part of it: attach"
disconnect "$volume_nqn"
kill -TERM "${daemon_pids[$((1 - owner))]}"
wait "${daemon_pids[$((1 - owner))]}"
expect_equal "the last daemon ends in good order" 0 $?
expect_output "the volume is clean" "members: in sync, in sync, in sync" timeout 120 "$tercet" volume status db
check_kernel_log "the kernel has only complained of what was done to it" \
  'no usable path - requeuing|starting error recovery|Connect rejected|Connect Invalid Data Parameter|Admin Cmd|keep_alive|keepalive RTT|Property Set error'
done_testing
