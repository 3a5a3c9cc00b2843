# What the tests of volumes on softverbs share: three targets with a file each. Sourced, not run.

. "$(dirname "${BASH_SOURCE[0]}")/native.sh"

target_pids=()
members=()
for number in 0 1 2; do
  truncate -s 64M "$tap_folder/disk$number"
  members+=(--member "$address:$((port + number))/$nqn.$number/1")
done

# start_member NUMBER [OPTION...]: starts a target and waits until it listens.
start_member() {
  "$tercetd" --reactors 1 --listen "$address:$((port + $1))" --state-directory "$tap_folder/state$1" \
    --export "$nqn.$1=$tap_folder/disk$1,buffered" "${@:2}" >>"$tap_folder/target$1.log" 2>&1 </dev/null &
  target_pids[$1]=$!
  wait_until 30 "$tercet" discover -a "$address" -s "$((port + $1))"
}

# kill_member NUMBER: ends a target with SIGKILL.
kill_member() {
  kill -KILL "${target_pids[$1]}" && wait "${target_pids[$1]}" 2>/dev/null
  return 0
}

stop_members() { kill "${target_pids[@]}"; wait "${target_pids[@]}"; }
at_exit '[ ${#target_pids[@]} -eq 0 ] || kill -KILL "${target_pids[@]}"'

# volume COMMAND OPTION...: runs tercet volume on the three members.
volume() {
  local command=$1
  shift
  timeout 120 "$tercet" volume "$command" "${members[@]}" "$@"
}

# knows_members_by_name: makes nvme-cli's file of connections, with the addresses of the members, that of all programs from here on.
knows_members_by_name() {
  export TERCET_FABRICS=$tap_folder/fabrics.conf
  printf '[Host]\nhostnqn = %s:host\n' "$nqn" >"$TERCET_FABRICS"
  for number in 0 1 2; do
    printf '[Subsystem]\nnqn = %s\ncontroller = transport=rdma;traddr=%s;trsvcid=%d\n' "$nqn.$number" "$address" $((port + number))
  done >>"$TERCET_FABRICS"
}

# members_are_equal: the data of the three files is the same, byte for byte.
members_are_equal() {
  local blocks
  blocks=$(volume status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["members"][0]["blocks"])')
  cmp -n $((blocks * 512)) "$tap_folder/disk0" "$tap_folder/disk1" &&
    cmp -n $((blocks * 512)) "$tap_folder/disk0" "$tap_folder/disk2"
}
