# The daemon in tests: started, stopped, and looked at. Sourced behind tap.sh, not run.

tercetd=${TERCETD:-$project/.build/release/tercetd}
tercetd_pid=
tercetd_log=$tap_folder/tercetd.log
tap_logs+=("$tercetd_log")
at_exit '[ -z "$tercetd_pid" ] || kill -KILL "$tercetd_pid"'

# times_in_bench PATTERN COUNT: whether what the bench has printed has so many lines that match.
times_in_bench() { [ "$(grep -c "$1" "$tap_folder/bench")" -ge "$2" ]; }

# The daemon's processor time so far in clock ticks, how often its threads have been switched, its descriptors.
tercetd_ticks() { awk '{print $14 + $15}' "/proc/$tercetd_pid/stat"; }
tercetd_switches() { cat "/proc/$tercetd_pid"/task/*/status | awk '/ctxt_switches/ {sum += $2} END {print sum}'; }
tercetd_descriptors() { find "/proc/$tercetd_pid/fd" -mindepth 1 | wc -l; }
# own_threads PID: how many threads a daemon has that are its own. Those of libdispatch's pool (it names them by their quality of
# service) come with the work and end when they had none for some seconds; how many there are says nothing of what was left.
own_threads() { cat "/proc/$1"/task/*/comm 2>/dev/null | grep -cv 'qos'; }
pool_threads() { cat "/proc/$1"/task/*/comm 2>/dev/null | grep -c 'qos'; }
has_own_threads() { [ "$(own_threads "$1")" -le "$2" ]; }
# expect_threads NAME SECONDS PID COUNT: passes if within that time the daemon has no more threads of its own than so many, and the
# pool as many as its work may need.
expect_threads() {
  wait_until "$2" has_own_threads "$3" "$4"
  expect_at_most "$1" "$4" "$(own_threads "$3")"
  expect_at_most "... and the pool has as many as its work needs at most" 16 "$(pool_threads "$3")"
}
# Whether its threads are switched no more often in a second than its timers and silent hosts make them: ten rounds a second
# in each of two reactors, two switches each, and as many again.
tercetd_rests() {
  local before
  before=$(tercetd_switches)
  sleep 1
  [ $(($(tercetd_switches) - before)) -le 80 ]
}

# start_tercetd ARGUMENT...: starts the daemon; its log is $tercetd_log, its process $tercetd_pid.
start_tercetd() {
  echo "== tercetd $*" >>"$tercetd_log"
  "$tercetd" "$@" >>"$tercetd_log" 2>&1 </dev/null &
  tercetd_pid=$!
}

# stop_tercetd [SIGNAL]: ends the daemon with a signal (TERM) and waits for its end; its exit status is the result.
stop_tercetd() {
  local status=0
  [ -n "$tercetd_pid" ] || return 0
  kill "-${1:-TERM}" "$tercetd_pid"
  if ! wait_until 20 tercetd_has_ended; then
    diagnose "tercetd did not end on SIG${1:-TERM}"
    kill -KILL "$tercetd_pid"
  fi
  wait "$tercetd_pid" 2>/dev/null || status=$?
  tercetd_pid=
  return "$status"
}

tercetd_has_ended() { [[ ! -e /proc/$tercetd_pid || $(cut -d ' ' -f 3 "/proc/$tercetd_pid/stat") = Z ]]; }

# call REQUEST: asks the volume daemon at $control by JSON-RPC and prints the answer.
call() { python3 - "$control" "$1" <<'PYTHON'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall((json.dumps({"jsonrpc": "2.0", "id": 1} | json.loads(sys.argv[2])) + "\n").encode())
print(s.makefile().readline(), end="")
PYTHON
}
