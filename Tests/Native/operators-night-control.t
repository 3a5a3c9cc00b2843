#!/usr/bin/env bash
# An operator's night, the part of the control plane: commands on registries, pools, running daemons, keys and traces, while registries
# and daemons are away, locked, full, damaged, dead or stopped, and before. What they print and their exit statuses are compared with
# operators-night-control.txt. That text says of each command within which time it has to end, which is checked too.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"
. "$(dirname "$0")/pools.sh"
. "$(dirname "$0")/night.sh"
. "$(dirname "$0")/operators-night-registries.sh"

golden=$project/Tests/Native/operators-night-control.txt
samples=$project/Tests/Native/import
node=${NODE:-$project/.build/release/tercet-node}
patience=3
# A command's deadline is the sum of what its steps may take, in seconds: a change of a registry that others change (also a call of
# etcd), a daemon that has not answered for 5 s and does not say within 10 s that it lives, a look at the members, a host that has the
# volume and may be about to go, and the detach.
registry=10 daemon=15 look=3 occupant=3 detach=10

# deadline LABEL: the deadline of a command in seconds.
deadline() {
  case $1 in
    "tercet key"* | "tercet trace"* | "tercet target import"*) echo 1 ;;
    "tercet doctor"*) echo 5 ;;
    "tercet target drain"*) echo $((daemon + 2)) ;;
    "tercet target"* | "tercet top"* | *" --socket"*) echo "$daemon" ;;
    "tercet-node"*) echo 4 ;;
    "tercet volume list" | "tercet volume show"* | "tercet registry export" | "tercet registry remove"*) echo "$registry" ;;
    "tercet registry import"* | "tercet pool remove"* | "tercet node "*) echo "$registry" ;;
    "tercet volume status"*) echo $((registry + look)) ;;
    "tercet registry add"* | "tercet registry check" | "tercet pool"*) echo $((registry + patience)) ;;
    *) echo $((registry + look + occupant + 2 * patience + detach)) ;;
  esac
}

# normalised: what a command printed, with names for what differs from run to run.
normalised() {
  sed -E \
    -e "s#$address:([0-9]+)/$nqn\.([0-9])/([0-9]+)#MEMBER\2/\3#g" \
    -e "s#$address:$port#ADDRESS0#g; s#$address:$((port + 1))#ADDRESS1#g; s#$address:$((port + 2))#ADDRESS2#g" \
    -e "s#$address:$((port + 3))#ADDRESS3#g; s#$tap_folder#FOLDER#g; s#$whole#FOLDER#g; s#$nqn#NQN#g" \
    -e "s#127.0.0.2:$port#OTHER#g" \
    -e 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g; s/[0-9a-f]{32}/NGUID/g' \
    -e 's/(no member could answer within 10.0 s) \([^)]*\)/\1 (REASONS)/' \
    -e 's/record [0-9]+\.[0-9]+(\/[0-9]+)?/record STAMP/g' \
    -e 's/DHHC-1:0([0-9]):[A-Za-z0-9+/=]+:/DHHC-1:0\1:KEY:/' \
    -e 's/\(process [0-9]+\)/(process PID)/g; s/python3? \([0-9]+\)/python3 (PID)/g; s/process [0-9]+/process PID/g' \
    -e 's/tercetd?-[a-z]*-?[0-9]+[-.0-9a-z]*trace/TRACE/g' \
    -e 's/(has not answered within) [0-9]+ s/\1 N s/; s/in [0-9]+ ms/in N ms/g; s/after [0-9]+\.[0-9] s/after N s/g; s/[0-9]+[KMG] free/N free/g' \
    -e 's/[0-9]+ bytes were copied/N bytes were copied/g; s/epoch [0-9]+/epoch N/g' \
    -e 's/since [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z?/since TIME/g; s/(suspended since TIME: ).*/\1.../' \
    -e '/^  going on without it$/d; s/verified: [0-9]+ I\/Os in [0-9]+ regions; members lost: [0-9]+; copied: .*/verified: N I\/Os/' \
    -e 's/on processors [0-9, -]+( of node [0-9]+)?/on processors .../; s/^up for [0-9]+ s/up for N s/' \
    -e "s/^node: $(uname -n)\$/node: NODE/; s/^(volumes become devices by|possible here): .*/\1: .../"
}

volume() { run "tercet volume $*" "$tercet" volume "$@"; }
registry() { run "tercet registry $*" "$tercet" registry "$@"; }
pool() { run "tercet pool $*" "$tercet" pool "$@" --hostnqn "$manager" --patience "$patience"; }
nodes() { run "tercet node $*" "$tercet" node "$@"; }
pool_remove() { run "tercet pool remove $1" "$tercet" pool remove "$1"; }
target() { run "tercet target $*" "$tercet" target "$@" --socket "$tap_folder/target0.sock"; }
# asked COMMAND OPTION...: a command on the volume daemon.
asked() { run "tercet volume $* --socket" "$tercet" volume "$@" --socket "$tap_folder/volumed.sock"; }
# Numbers are no matter here.
without_numbers() { sed -E 's/ +[0-9]+(\.[0-9]+)?\b/ N/g; s/  +/ /g'; }
top_of_target() { "$tercet" target top --count 1 --interval 0.1 --socket "$tap_folder/target0.sock" | without_numbers; return "${PIPESTATUS[0]}"; }
top_of_volumes() { "$tercet" volume top --count 1 --interval 0.1 --socket "$tap_folder/volumed.sock" | without_numbers; return "${PIPESTATUS[0]}"; }
top_of_both() {
  "$tercet" top --count 1 --interval 0.1 --target-socket "$tap_folder/target0.sock" --volume-socket "$tap_folder/volumed.sock" | without_numbers
  return "${PIPESTATUS[0]}"
}
statistics() { "$tercet" target stats --socket "$tap_folder/target0.sock" >"$place/statistics" && wc -l <"$place/statistics" | sed 's/^[1-9].*/numbers/'; }

# fill: leaves no room on the small disk.
fill() { ! cp /dev/zero "$tap_folder/small/rest" 2>/dev/null; }
three_members() {
  local number
  members=()
  for number in 0 1 2; do
    truncate -s 16M "$tap_folder/disk$number"
    members+=(--member "$address:$((port + number))/$nqn.$number/1")
    must start_member "$number"
  done
}

# A target's daemon, with a pool.
looks() {
  target list
  target show
  target pool list
  run "tercet target stats" statistics
  run "tercet target top --count 1" top_of_target
  run "tercet top --count 1" top_of_both
}
orders() {
  target add subsystem "$nqn.b" --host "$nqn:other"
  target add namespace "$nqn.b" 1 null:1M
  target add listener "127.0.0.2:$port"
  target add referral 192.0.2.1
  target add host "$nqn.b" "$nqn:host"
  target set host "$nqn.b" "$nqn:host" --key-file "$tap_folder/key"
  target set subsystem "$nqn.b" model=Other
  target set namespace "$nqn.b" 1 anaGroup=2
  target set ana "$nqn.b" 2 inaccessible
  target set settings logLevel=debug
  target pool create "$nqn.0" 16M
  target pool grow "$nqn.0" 1 --size 32M
  target pool attach "$nqn.0" 1
  target pool detach "$nqn.0" 1
  target pool delete "$nqn.0" 1
  target drain --seconds 2
  target drain --back
  target remove host "$nqn.b" "$nqn:host"
  target remove referral 192.0.2.1
  target remove listener "127.0.0.2:$port"
  target remove namespace "$nqn.b" 1
  target remove subsystem "$nqn.b"
  target save
  target save --to "$tap_folder/saved"
  target reload
  target trace
}
# start_target: a target with a pool, which has a namespace.
start_target() {
  start_pool 0 && "$tercet" target pool create "$nqn.0" 16M --socket "$tap_folder/target0.sock" && "$tercet" key make --output "$tap_folder/key"
}
ends() {
  target shutdown
  target watch
}
target_well() {
  must start_target
  looks
  orders
  looks
  run "tercet target watch (behind a shutdown)" watched
  looks
}
# The events of a daemon that ends.
watched() {
  "$tercet" target watch --socket "$tap_folder/target0.sock" >"$place/watched" &
  local watcher=$! status=0
  wait_until 10 watch_hears && "$tercet" target shutdown --socket "$tap_folder/target0.sock" || return
  wait "$watcher" || status=$?
  grep -c 'notice: reload' "$place/watched" | sed 's/^[1-9].*/it has heard of reloads/'
  return "$status"
}
watch_hears() { "$tercet" target reload --socket "$tap_folder/target0.sock" && [ -s "$place/watched" ]; }
target_dead() {
  must start_target
  must add_pool 0 a
  kill_pool 0
  looks
  orders
  ends
  pool list
  pool add p0 --address "$address:$port" --nqn "$nqn.0"
  volume create db --size 16M --hostnqn "$manager" --patience "$patience"
  run "tercet doctor --target ADDRESS0" doctor
}
# The doctor's words on a target; the rest is this machine's.
doctor() {
  local status=0
  "$tercet" doctor --target "$address:$port" >"$place/doctor" || status=$?
  grep -A 2 "^error: target" "$place/doctor"
  return "$status"
}
pools_of_stopped() {
  pool list
  pool add p0 --address "$address:$port" --nqn "$nqn.0"
  volume create db --size 16M --hostnqn "$manager" --patience "$patience"
  run "tercet doctor --target ADDRESS0" doctor
}
target_stopped() {
  must start_target
  must add_pool 0 a
  kill -STOP "${pool_pids[0]}"
  beside pools_of_stopped
  at_once looks orders
  # It does now what was asked of it meanwhile, and nobody hears: of more at a time than it has places for, not all. The end is asked
  # for afterwards.
  kill -CONT "${pool_pids[0]}"
  must wait_until 20 "$tercet" target list --socket "$tap_folder/target0.sock"
  kill -STOP "${pool_pids[0]}"
  at_once ends
  kill -CONT "${pool_pids[0]}"
  must wait_until 20 pool_has_ended
  looks
}
pool_has_ended() { [[ ! -e /proc/${pool_pids[0]} || $(cut -d ' ' -f 3 "/proc/${pool_pids[0]}/stat") = Z ]]; }
# A daemon whose configuration, state and pool lie on one disk.
target_full() {
  small_disk 4m
  mkdir "$tap_folder/small/pool" "$tap_folder/small/state" "$tap_folder/small/tmp"
  ln -s small/pool "$tap_folder/pool0"
  ln -s small/state "$tap_folder/state0"
  : >"$tap_folder/small/tercetd.json"
  ln -s small/tercetd.json "$tap_folder/tercetd0.json"
  TMPDIR=$tap_folder/small/tmp must start_target
  must fill
  orders
  looks
  must rm "$tap_folder/small/rest"
  target save
  target pool create "$nqn.0" 16M
  looks
}
target_failing() {
  TMPDIR=$tap_folder must start_target
  must prlimit --pid "${pool_pids[0]}" --fsize=0:
  orders
  looks
  must prlimit --pid "${pool_pids[0]}" --fsize=unlimited:
  target save
  target pool create "$nqn.0" 16M
  looks
}

# A volume daemon.
daemon_looks() {
  asked list
  asked state
  asked explain db
  asked limit db
  run "tercet volume top --count 1 --socket" top_of_volumes
  run "tercet top --count 1" top_of_both
}
daemon_orders() {
  asked limit db --ios 1000 --bytes 100M --weight 200
  asked mark db "being formatted"
  asked hand-over db
  asked trace
}
daemon_ends() {
  asked shutdown
  asked watch
}
serve_volume() {
  three_members
  must "$tercet" volume create db "${members[@]}" --region-size 64k
  volumed_log=$tap_folder/volumed.log
  TMPDIR=$tap_folder must start_volumed --nbd "$tap_folder/nbd.sock" --control "$tap_folder/volumed.sock" --volume "${1:-db=$(volume_members)}"
}
explains() { "$tercet" volume explain db --socket "$tap_folder/volumed.sock" | grep -q "$1"; }
volumed_well() {
  serve_volume
  daemon_looks
  daemon_orders
  asked mark db written
  asked mark db "being formatted"
  asked mark db empty
  asked explain other
  asked limit other
  asked hand-over other
  daemon_looks
  daemon_ends
}
volumed_dead() {
  serve_volume
  kill -KILL "$volumed_pid" && wait "$volumed_pid" 2>/dev/null
  daemon_looks
  daemon_orders
  daemon_ends
}
volumed_stopped() {
  serve_volume
  kill -STOP "$volumed_pid"
  at_once daemon_looks daemon_orders daemon_ends
  kill -CONT "$volumed_pid"
}
volumed_member() {
  serve_volume
  kill_member 2
  must wait_until 20 explains "member 2.*nobody accepts"
  daemon_looks
  daemon_orders
}
volumed_two_away() {
  serve_volume
  kill_member 1
  kill_member 2
  must wait_until 20 explains "member 1.*nobody accepts"
  daemon_looks
  daemon_orders
}
volumed_registry() {
  serve_volume db
  rm "$tap_folder/registry"*
  daemon_looks
  daemon_orders
}

# imports OUTPUT: a configuration is made; what it leaves out is no matter here.
imports() {
  local status=0
  "$tercet" target import "$samples/nvmet.json" --output "$1" 2>"$place/losses" || status=$?
  grep -v 'not carried over' "$place/losses" >&2
  return "$status"
}
# Commands that need no daemon.
alone() {
  run "tercet key make" "$tercet" key make
  run "tercet key make --hash sha512 --output FOLDER/key" "$tercet" key make --hash sha512 --output "$tap_folder/key"
  run "tercet key make --output FOLDER/key" "$tercet" key make --output "$tap_folder/key"
  run "tercet key make --output FOLDER/none/key" "$tercet" key make --output "$tap_folder/none/key"
  run "tercet key make --output /dev/full" "$tercet" key make --output /dev/full
  run "tercet key check FOLDER/key" "$tercet" key check "$tap_folder/key"
  sed 's/:0/:1/' "$tap_folder/key" >"$tap_folder/bad"
  run "tercet key check FOLDER/bad" "$tercet" key check "$tap_folder/bad"
  run "tercet key check FOLDER/none" "$tercet" key check "$tap_folder/none"
  run "tercet trace FOLDER/none" "$tercet" trace "$tap_folder/none"
  run "tercet trace FOLDER/bad" "$tercet" trace "$tap_folder/bad"
  run "tercet target import nvmet.json --output FOLDER/imported" imports "$tap_folder/imported"
  run "tercet target import nvmet.json --output FOLDER/imported" imports "$tap_folder/imported"
  run "tercet target import nvmet.json --output /dev/full" imports /dev/full
  run "tercet target import FOLDER/none" "$tercet" target import "$tap_folder/none"
  run "tercet target import FOLDER/bad" "$tercet" target import "$tap_folder/bad"
}

# The node agent, and the daemon that it asks.
agent() {
  local verb=$1
  shift
  run "tercet-node $verb${*:+ $*}" "$node" "$verb" "$@" --timeout 4 --socket "$tap_folder/volumed.sock" \
    --nbd-socket "$tap_folder/nbd.sock" --run-folder "$tap_folder/run"
}
agents() {
  agent info
  agent list
  agent stage db --staging "$tap_folder/staging"
  agent unstage db --staging "$tap_folder/staging"
  agent publish db --staging "$tap_folder/staging" --target "$tap_folder/pod"
  agent unpublish db --target "$tap_folder/pod"
  agent stats db --path "$tap_folder/staging"
  agent expand db --path "$tap_folder/staging"
}
agent_dead() { agents; }
agent_stopped() {
  volumed_log=$tap_folder/volumed.log
  must start_volumed --nbd "$tap_folder/nbd.sock" --control "$tap_folder/volumed.sock" --device db=ram:1M
  kill -STOP "$volumed_pid"
  agents
  kill -CONT "$volumed_pid"
}

conditions=(registry_well registry_locked registry_full registry_damaged registry_away registry_silent target_well target_dead
  target_stopped target_full target_failing volumed_well volumed_dead volumed_stopped volumed_member volumed_two_away volumed_registry
  alone agent_dead agent_stopped)
declare -A titles=([registry_well]="a registry: there is none, all is well, a member is dead" [registry_locked]="the registry is locked"
  [registry_full]="the registry's disk is full" [registry_damaged]="the registry is damaged" [registry_away]="etcd is away"
  [registry_silent]="etcd does not answer" [target_well]="a target: all is well, and it ends" [target_dead]="a target's daemon is dead"
  [target_stopped]="a target's daemon is stopped" [target_full]="a target's own disk is full"
  [target_failing]="a target's own disk fails its writes" [volumed_well]="a volume daemon: all is well, and it ends"
  [volumed_dead]="a volume daemon is dead" [volumed_stopped]="a volume daemon is stopped"
  [volumed_member]="a member of a daemon's volume is dead" [volumed_two_away]="two members of a daemon's volume are away"
  [volumed_registry]="the registry of a volume daemon has gone" [alone]="keys, traces and imports"
  [agent_dead]="the node agent: the volume daemon is dead" [agent_stopped]="the node agent: the volume daemon is stopped")

# night NUMBER NAME: a condition, with what it needs of its own.
night() {
  begin_condition "$2" "${titles[$2]}"
  port=$((port + 4 * $1))
  members=(--member "$address:$port/$nqn.0/1" --member "$address:$((port + 1))/$nqn.1/1" --member "$address:$((port + 2))/$nqn.2/1")
  export TERCET_REGISTRY=sqlite:$tap_folder/registry
  "$2"
  echo >>"$tap_folder/section"
}

if without_small_disks; then
  for kind in registry target; do skip "${titles[${kind}_full]}" "no file system can be mounted here"; done
  conditions=("${conditions[@]/*_full/}")
fi
all_nights
conclude_night "An operator's night, the part of the control plane: what each command prints, and how it ends. Lines of the standard error" \
  "begin with an exclamation mark. Tests/Native/operators-night-control.t compares; UPDATE=1 writes this anew." \
  "The exit status is followed by the command's deadline; beside it $allowance s are for a machine that does much at once."
