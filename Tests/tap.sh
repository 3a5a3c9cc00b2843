# What every shell test is made of; its lines are TAP, for prove. A test file sources this, checks, and ends with
# done_testing. Sourced, not run.

tap_count=0
tap_failures=0
tap_folder=$(mktemp -d "${TMPDIR:-/tmp}/tercet-test.XXXXXX")
tap_clean_up=()
project=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
tercetd=${TERCETD:-$project/.build/release/tercetd}
tercetd_pid=
tercetd_log=$tap_folder/tercetd.log

# Registers a command to be run when the file ends, however it ends; the last one registered runs first.
at_exit() { tap_clean_up=("$*" "${tap_clean_up[@]}"); }

tap_exit() {
  local status=$? command
  trap - EXIT
  for command in "${tap_clean_up[@]}"; do eval "$command" >/dev/null 2>&1; done
  [ -z "$tercetd_pid" ] || kill -KILL "$tercetd_pid" 2>/dev/null
  rm -rf "$tap_folder"
  exit "$status"
}
trap tap_exit EXIT
trap 'exit 130' INT TERM HUP

# Prints a diagnosis: each line of standard input, or of the arguments, after a hash.
diagnose() { if [ $# -gt 0 ]; then printf '%s\n' "$@"; else cat; fi | sed 's/^/# /'; }

# Reports a test. $1: 0 if it passed; $2: its name.
report() {
  tap_count=$((tap_count + 1))
  if [ "$1" -eq 0 ]; then
    echo "ok $tap_count - $2"
  else
    tap_failures=$((tap_failures + 1))
    echo "not ok $tap_count - $2"
  fi
  return "$1"
}

# What is worth knowing when a test failed: the command, what it printed, the daemon's last words.
tap_explain() {
  diagnose "the command: $*"
  tail -n 30 "$tap_folder/output" | diagnose
  if [ -s "$tercetd_log" ]; then tail -n 10 "$tercetd_log" | sed 's/^/tercetd: /' | diagnose; fi
}

# check NAME COMMAND...: passes if the command succeeds. Its output is in $tap_folder/output.
check() {
  local name=$1 status=0
  shift
  "$@" >"$tap_folder/output" 2>&1 </dev/null || status=$?
  report "$((status != 0))" "$name" && return 0
  diagnose "exit status $status"
  tap_explain "$@"
  return 1
}

# require NAME COMMAND...: a check without which nothing below makes sense: where it fails, the file ends.
require() {
  check "$@" && return
  diagnose "nothing below makes sense without this"
  exit 1
}

# check_fails NAME COMMAND...: passes if the command ends with an exit status from 1 to 123: it failed, and neither
# crashed nor hung.
check_fails() {
  local name=$1 status=0
  shift
  "$@" >"$tap_folder/output" 2>&1 </dev/null || status=$?
  report "$((status < 1 || status > 123))" "$name" && return 0
  diagnose "exit status $status where the command should have failed"
  tap_explain "$@"
  return 1
}

# expect_output NAME PATTERN COMMAND...: passes if the command succeeds and its output matches the extended pattern.
expect_output() {
  local name=$1 pattern=$2 status=0
  shift 2
  "$@" >"$tap_folder/output" 2>&1 </dev/null || status=$?
  { [ "$status" -eq 0 ] && grep -qE -- "$pattern" "$tap_folder/output"; }
  report $? "$name" && return 0
  diagnose "exit status $status; expected: $pattern"
  tap_explain "$@"
  return 1
}

# output_has NAME PATTERN: passes if the output of the last command that was checked matches the extended pattern.
output_has() {
  grep -qE -- "$2" "$tap_folder/output"
  report $? "$1" && return 0
  diagnose "expected: $2"
  head -n 60 "$tap_folder/output" | diagnose
  return 1
}

# expect_refusal NAME PATTERN COMMAND...: passes if the command fails and its output matches the extended pattern.
expect_refusal() {
  local name=$1 pattern=$2 status=0
  shift 2
  "$@" >"$tap_folder/output" 2>&1 </dev/null || status=$?
  { [ "$status" -ge 1 ] && [ "$status" -le 123 ] && grep -qE -- "$pattern" "$tap_folder/output"; }
  report $? "$name" && return 0
  diagnose "exit status $status; expected a failure that says: $pattern"
  tap_explain "$@"
  return 1
}

# expect_equal NAME EXPECTED ACTUAL
expect_equal() {
  [ "$2" = "$3" ]
  report $? "$1" && return 0
  diagnose "expected: $2" "actual:   $3"
  return 1
}

# expect_at_most NAME LIMIT ACTUAL: whole numbers.
expect_at_most() {
  [ "$3" -le "$2" ]
  report $? "$1" && return 0
  diagnose "at most:  $2" "actual:   $3"
  return 1
}

# skip NAME REASON: reports a test that has no meaning here; the reason is shown.
skip() {
  tap_count=$((tap_count + 1))
  echo "ok $tap_count - $1 # SKIP $2"
}

# wait_until SECONDS COMMAND...: polls until the command succeeds; fails when the time is up.
wait_until() {
  local deadline=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "${EPOCHREALTIME/[.,]/}" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# unchanged COMMAND...: a condition for wait_until: whether the command has printed the same for a second.
unchanged() {
  local now
  now=$("$@")
  [ "$now" = "${tap_last-}" ] || { tap_last=$now tap_since=${EPOCHREALTIME/[.,]/}; return 1; }
  [ $((${EPOCHREALTIME/[.,]/} - tap_since)) -ge 1000000 ] && unset tap_last
}

# outlast SECONDS: lets time pass that is the matter of the test itself.
outlast() { local until=$((SECONDS + $1)); wait_until $(($1 + 60)) eval "[ \$SECONDS -ge $until ]"; }

# times_in_bench PATTERN COUNT: whether what the bench has printed has so many lines that match.
times_in_bench() { [ "$(grep -c "$1" "$tap_folder/bench")" -ge "$2" ]; }

# The daemon's processor time so far in clock ticks, how often its threads have been switched, its descriptors.
tercetd_ticks() { awk '{print $14 + $15}' "/proc/$tercetd_pid/stat"; }
tercetd_switches() { cat "/proc/$tercetd_pid"/task/*/status | awk '/ctxt_switches/ {sum += $2} END {print sum}'; }
tercetd_descriptors() { find "/proc/$tercetd_pid/fd" -mindepth 1 | wc -l; }
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

# Marks the kernel log: check_kernel_log looks at what comes after.
mark_kernel_log() { tap_kernel_mark=$(dmesg | wc -l); }

# check_kernel_log NAME [PATTERN]: passes if since the mark the kernel has logged no warning or worse, other than lines
# that match the extended pattern, and nothing at all that tells of a fault of its own. That timers are late on
# an emulated processor, and that an interface made of software has no speed, is no news.
check_kernel_log() {
  local allowed="hrtimer: interrupt took|speed is unknown, defaulting to${2:+|$2}" lines
  lines=$(dmesg --decode | tail -n "+$((tap_kernel_mark + 1))" |
    awk '/^[a-z0-9]+ *: *(emerg|alert|crit|err|warn) *:/ || /WARNING:|BUG:|Call Trace|blocked for more than|refcount_t/')
  [ -z "$lines" ] || lines=$(grep -vE -- "$allowed" <<<"$lines")
  [ -z "$lines" ]
  report $? "$1" && return 0
  head -n 40 <<<"$lines" | diagnose
  return 1
}

done_testing() { echo "1..$tap_count"; exit "$((tap_failures > 0))"; }

mark_kernel_log
