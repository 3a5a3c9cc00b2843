# What the tests of volumes in pools share: three targets with a pool each. Sourced behind native.sh, not run.

manager=nqn.2026-11.io.tercet:controller
pool_pids=()
at_exit '[ ${#pool_pids[@]} -eq 0 ] || kill -KILL "${pool_pids[@]}"'

# start_pool NUMBER [MEMBER...]: starts a target with a pool of 256 MiB, unless members of the pool's object say otherwise.
start_pool() {
  local number=$1 folder=$tap_folder/pool$1
  shift
  mkdir -p "$folder"
  cat >"$tap_folder/tercetd$number.json" <<JSON
{
  "reactors": 1,
  "stateDirectory": "$tap_folder/state$number",
  "listeners": [ { "address": "$address", "port": $((port + number)) } ],
  "subsystems": [
    { "nqn": "$nqn.$number", "allowAnyHost": true,
      "pool": { "folder": "$folder", "capacity": "256M", "managers": ["$manager"] ${*/#/, } } } ]
}
JSON
  "$tercetd" --config "$tap_folder/tercetd$number.json" --control "$tap_folder/target$number.sock" \
    >>"$tap_folder/target$number.log" 2>&1 </dev/null &
  pool_pids[number]=$!
  wait_until 30 "$tercet" discover -a "$address" -s "$((port + number))"
}

# kill_pool NUMBER: ends a target with SIGKILL.
kill_pool() {
  kill -KILL "${pool_pids[$1]}" && wait "${pool_pids[$1]}" 2>/dev/null
  return 0
}

stop_pools() { kill "${pool_pids[@]}"; wait "${pool_pids[@]}"; }

# add_pool NUMBER DOMAIN: enters a pool in the registry.
add_pool() { timeout 60 "$tercet" pool add "p$1" --address "$address:$((port + $1))" --nqn "$nqn.$1" --domain "$2" --hostnqn "$manager"; }

# namespaces: how many files of namespaces the pools have, beside each other.
namespaces() {
  local folder
  for folder in "$tap_folder"/pool[0-9]; do printf '%s ' "$(find "$folder" -name '*.namespace' | wc -l)"; done | sed 's/ $//'
}
