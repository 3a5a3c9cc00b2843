#!/usr/bin/env bash
# A random target is killed under a verified load, and started again, round after round. ROUNDS says how many, SEED repeats
# a run's choices.

. "$(dirname "$0")/volume.sh"

rounds=${ROUNDS:-5}
RANDOM=${SEED:=$((RANDOM + 1))}
diagnose "SEED=$SEED ROUNDS=$rounds"
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create

milliseconds_now() { echo "$((${EPOCHREALTIME/[.,]/} / 1000))"; }
# pause MILLISECONDS: the moment of the fault is chance, and is waited for.
pause() {
  local until=$(($(milliseconds_now) + $1))
  wait_until 60 eval "[ \"\$(milliseconds_now)\" -ge $until ]"
}

for round in $(seq "$rounds"); do
  victim=$((RANDOM % 3)) before=$((RANDOM % 1500)) dead=$((RANDOM % 1500))
  volume bench --runtime 5 --size 16m --seed "$((SEED + round))" >"$tap_folder/bench.txt" 2>&1 </dev/null &
  load=$!
  pause $((700 + before))
  kill_member "$victim"
  pause "$dead"
  start_member "$victim" || diagnose "target $victim did not start"
  wait "$load"
  report $? "round $round: target $victim killed after $((700 + before)) ms, away for $dead ms: verified" ||
    { tail -n 30 "$tap_folder/bench.txt"; tail -n 5 "$tap_folder"/target*.log; } | diagnose
  grep -h "longest time\|copied in resync" "$tap_folder/bench.txt" | diagnose
  check "round $round: the members are equal" members_are_equal
done

# The initiator dies in the middle of its writes: the next one finds out, heals, and serves.
for round in $(seq "$rounds"); do
  volume bench --runtime 20 --size 16m --rwmixread 0 --seed "$round" >"$tap_folder/bench.txt" 2>&1 </dev/null &
  load=$!
  pause $((1000 + RANDOM % 1000))
  pkill -KILL -f "tercet volume bench .*$nqn.0/"
  wait "$load" 2>/dev/null
  check "round $round: after the initiator's death the volume heals" volume heal
  check "round $round: the members are equal" members_are_equal
done
done_testing
