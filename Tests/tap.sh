# The verbs of every shell test; their output is TAP, for prove. A test file sources this, checks, and ends with
# done_testing. Sourced, not run.

tap_count=0
tap_failures=0
tap_folder=$(mktemp -d "${TMPDIR:-/tmp}/tercet-test.XXXXXX")
tap_clean_up=()
project=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

# Registers a command to be run when the file ends, however it ends; the last one registered runs first.
at_exit() { tap_clean_up=("$*" "${tap_clean_up[@]}"); }

tap_exit() {
  local status=$? command
  trap - EXIT
  for command in "${tap_clean_up[@]}"; do eval "$command" >/dev/null 2>&1; done
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

# Logs whose last lines are worth knowing when a test failed; whoever starts a program adds its log.
tap_logs=()

# Explains a failure: the command, what it printed, the last words of the logs.
tap_explain() {
  local log
  diagnose "the command: $*"
  tail -n 30 "$tap_folder/output" | diagnose
  for log in "${tap_logs[@]}"; do
    if [ -s "$log" ]; then tail -n 10 "$log" | sed "s/^/$(basename "$log"): /" | diagnose; fi
  done
}

# Runs a command: its output is in $tap_folder/output, its exit status in tap_status.
tap_run() {
  tap_status=0
  "$@" >"$tap_folder/output" 2>&1 </dev/null || tap_status=$?
}

# Whether the last command has failed by itself, with an exit status from 1 to 123: it neither crashed nor hung.
tap_has_failed() { [ "$tap_status" -ge 1 ] && [ "$tap_status" -le 123 ]; }

# Whether the output of the last command matches the extended pattern.
tap_matches() { grep -qE -- "$1" "$tap_folder/output"; }

# tap_conclude STATUS NAME EXPECTATION COMMAND...: reports a test of a command, and explains it if it failed.
tap_conclude() {
  local status=$1 name=$2 expectation=$3
  shift 3
  report "$status" "$name" && return 0
  diagnose "exit status $tap_status${expectation:+; expected: $expectation}"
  tap_explain "$@"
  return 1
}

# check NAME COMMAND...: passes if the command succeeds. Its output is in $tap_folder/output.
check() {
  local name=$1
  shift
  tap_run "$@"
  tap_conclude "$((tap_status != 0))" "$name" "" "$@"
}

# require NAME COMMAND...: a check without which nothing below makes sense: if it fails, the file ends.
require() {
  check "$@" && return
  diagnose "nothing below makes sense without this"
  exit 1
}

# check_fails NAME COMMAND...: passes if the command fails by itself.
check_fails() {
  local name=$1
  shift
  tap_run "$@"
  tap_has_failed
  tap_conclude $? "$name" "a failure" "$@"
}

# expect_output NAME PATTERN COMMAND...: passes if the command succeeds and its output matches the extended pattern.
expect_output() {
  local name=$1 pattern=$2
  shift 2
  tap_run "$@"
  [ "$tap_status" -eq 0 ] && tap_matches "$pattern"
  tap_conclude $? "$name" "$pattern" "$@"
}

# output_has NAME PATTERN: passes if the output of the last command that was checked matches the extended pattern.
output_has() {
  tap_matches "$2"
  report $? "$1" && return 0
  diagnose "expected: $2"
  head -n 60 "$tap_folder/output" | diagnose
  return 1
}

# expect_refusal NAME PATTERN COMMAND...: passes if the command fails by itself and its output matches the extended pattern.
expect_refusal() {
  local name=$1 pattern=$2
  shift 2
  tap_run "$@"
  tap_has_failed && tap_matches "$pattern"
  tap_conclude $? "$name" "a failure that says: $pattern" "$@"
}

# expect_code NAME CODE PATTERN COMMAND...: passes if the command ends with that exit status and says what the pattern matches.
expect_code() {
  local name=$1 code=$2 pattern=$3
  shift 3
  tap_run "$@"
  [ "$tap_status" -eq "$code" ] && tap_matches "$pattern"
  tap_conclude $? "$name" "exit status $code and: $pattern" "$@"
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

done_testing() { echo "1..$tap_count"; exit "$((tap_failures > 0))"; }
