#!/usr/bin/env bash
# A random target, or the initiator, or both are killed at a random moment of a verified load of overlapping writes, zeroes,
# trims, flushes and reads, round after round. ROUNDS says how many, SEED repeats a run's choices.

. "$(dirname "$0")/volume.sh"

rounds=${ROUNDS:-3}
RANDOM=${SEED:=$((RANDOM + 1))}
diagnose "SEED=$SEED ROUNDS=$rounds"
region_size=65536 window=$((2 << 20))
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create --region-size "$region_size"

milliseconds_now() { echo "$((${EPOCHREALTIME/[.,]/} / 1000))"; }
# pause MILLISECONDS: the moment of the fault is chance, and is waited for.
pause() { read -r -t "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))" <> <(:) || :; }

# exercise SECONDS: a load, to be run in the background; its process is the initiator.
exercise() {
  exec "$tercet" volume exercise "${members[@]}" --record "$tap_folder/record" --window "$window" --seed "$seed" \
    --runtime "$1" >"$tap_folder/exercise.txt" 2>&1 </dev/null
}
told() { grep -q "$1" "$tap_folder/exercise.txt"; }
has_ended() { ! kill -0 "$1" 2>/dev/null; }
# ends_well PROCESS: the load ends by itself, with everything verified and all members in sync.
ends_well() {
  wait_until 60 has_ended "$1" || kill -KILL "$1"
  wait "$1"
}
explain() { { echo "seed $seed"; tail -n 30 "$tap_folder/exercise.txt"; tail -n 5 "$tap_folder"/target*.log; } | diagnose; }

for round in $(seq "$rounds"); do
  kinds=(target initiator both)
  kind=${kinds[RANDOM % 3]} victim=$((RANDOM % 3)) before=$((RANDOM % 700)) dead=$((RANDOM % 400)) seed=$((SEED * 1000 + round))
  began=$(milliseconds_now)
  : >"$tap_folder/exercise.txt"
  exercise 1 &
  load=$!
  wait_until 20 told serving
  pause "$before"
  [ "$kind" = initiator ] && whom=$kind || whom="$kind (target $victim)"
  what="round $round: $whom killed after $before ms, for $dead ms"
  case $kind in
    target) kill_member "$victim" ;;
    initiator) kill -KILL "$load" ;;
    both) kill_member "$victim"; kill -KILL "$load" ;;
  esac
  pause "$dead"
  [ "$kind" = initiator ] || start_member "$victim" || diagnose "target $victim did not start"
  if [ "$kind" != target ]; then
    wait "$load" 2>/dev/null
    exercise 0 &
    load=$!
  fi
  ends_well "$load"
  report $? "$what: all that was acknowledged is read" || explain
  check "round $round: ... and is on every member" \
    "$tercet" volume exercise --record "$tap_folder/record" --check "$tap_folder/disk0" --check "$tap_folder/disk1" \
    --check "$tap_folder/disk2"
  check "round $round: ... which are equal, byte for byte" members_are_equal
  # A member that is lost is copied what is dirty, at most: the regions of the window. After the end of the initiator all three
  # members are written, the source too: what it holds may be in its cache alone.
  read -r regions lost copied <<<"$(sed -n 's/.* in \([0-9]*\) regions; members lost: \([0-9]*\); .* \([0-9]*\) bytes$/\1 \2 \3/p' \
    "$tap_folder/exercise.txt")"
  [ "$kind" = target ] && copies=$lost || copies=$((lost + 3))
  expect_at_most "round $round: resync moved dirty regions only" "$((${regions:-0} * region_size * copies))" "${copied:-999999999999}"
  diagnose "$(grep -h verified "$tap_folder/exercise.txt"); $(($(milliseconds_now) - began)) ms"
done

check "the targets end in good order" stop_members
done_testing
