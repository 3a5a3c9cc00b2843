# What the tests of tercet-fio share. Sourced, not run.

. "$(dirname "${BASH_SOURCE[0]}")/volume.sh"

tercet_fio=${TERCET_FIO:-$project/.build/release/tercet-fio}
engine=${TERCET_FIO_ENGINE:-$project/Tools/fio/engine/build/tercet-fio-engine.so}
namespace=$address:$((port + 3))/$nqn/1
namespace_pid=
# Where fio runs: what it leaves there is its own.
work=$tap_folder/work
mkdir "$work"

[ -r "$engine" ] || { echo "Bail out! there is no $engine: make -C Tools/fio/engine"; exit 1; }

# fio_on COUNT OPTION...: tercet-fio on softverbs with targets of its own.
fio_on() {
  local count=$1
  shift
  (cd "$work" && timeout -k 5 120 "$tercet_fio" --substrate softverbs --engine "$engine" --targets "$count" "$@")
}

# fio_at namespace|volume OPTION...: tercet-fio on the targets that the test has started.
fio_at() {
  local where=("${members[@]}")
  [ "$1" = volume ] || where=(--member "$namespace")
  shift
  (cd "$work" && timeout -k 5 120 "$tercet_fio" --substrate softverbs --engine "$engine" "${where[@]}" "$@")
}

# start_namespace STORE: starts a target with one namespace, and waits until it listens.
start_namespace() {
  "$tercetd" --reactors 1 --listen "$address:$((port + 3))" --export "$nqn=$1" >>"$tap_folder/namespace.log" 2>&1 </dev/null &
  namespace_pid=$!
  wait_until 30 "$tercet" discover -a "$address" -s "$((port + 3))"
}

stop_namespace() { kill "$namespace_pid"; wait "$namespace_pid"; }
at_exit '[ -z "$namespace_pid" ] || kill -KILL "$namespace_pid"'

# start_volume: three targets and a volume on them. Sets volume_bytes.
start_volume() {
  local number
  for number in 0 1 2; do start_member "$number" || return; done
  volume create || return
  volume_bytes=$(volume status --json |
    python3 -c 'import json, sys; member = json.load(sys.stdin)["members"][0]; print(member["blocks"] * member["block_size"])')
}

# nothing_left: no process and no folder of a tercet-fio of this test is there.
nothing_runs() { ! pgrep -f -- "$tap_folder/tercet-fio[.]"; }
nothing_left() { nothing_runs && [ -z "$(ls -d "$tap_folder"/tercet-fio.* 2>/dev/null)" ]; }
export TMPDIR=$tap_folder
