# What the tests of the volume daemon share: it is started, stopped, and asked by NBD clients. Sourced behind native.sh or
# volume.sh, not run.

volumed=$(on_softverbs "${VOLUMED:-$project/.build/release/tercet-volumed}")
volumed_pid=
volumed_log=$tap_folder/volumed.log
nbd_socket=$tap_folder/nbd.sock
tap_logs+=("$volumed_log")
at_exit '[ -z "$volumed_pid" ] || kill -KILL "$volumed_pid"'

# start_volumed ARGUMENT...: starts the daemon and waits until it serves.
start_volumed() {
  : >"$volumed_log"
  "$volumed" "$@" >>"$volumed_log" 2>&1 </dev/null &
  volumed_pid=$!
  wait_until 30 volumed_serves
}

volumed_serves() { grep -q 'notice: serving' "$volumed_log"; }
volumed_said() { grep -qE "$1" "$volumed_log"; }

# stop_volumed [SIGNAL]: ends the daemon and waits for its end; its exit status is the result.
stop_volumed() {
  local status=0
  kill "-${1:-TERM}" "$volumed_pid"
  wait "$volumed_pid" 2>/dev/null || status=$?
  volumed_pid=
  return "$status"
}

# uri [EXPORT]: where an export is.
uri() { echo "nbd+unix:///${1:-}?socket=$nbd_socket"; }

# The volume of volume.sh, as the daemon wants it.
volume_members() {
  local joined
  joined=$(printf ',%s' "${members[@]}")
  echo "${joined//,--member,/,}" | sed 's/^,//; s/^--member,//'
}
