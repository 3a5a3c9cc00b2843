#!/usr/bin/env bash
# Whole volumes in simulated worlds: many seeds are sound, a seed has the same history in two processes and on another
# machine (the lab: another kernel, an emulated processor; TERCET_LAB=no leaves it out), and a volume that is broken on
# purpose is noticed, with its seed, its fewest faults and the exit status of a failure. So is a world that does not end.
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tap.sh"
simulate=${TERCET_SIMULATE:-$project/.build/release/tercet-simulate}
seeds=${TERCET_SEEDS:-500}

histories() { "$simulate" --profile small --seeds 40 --jobs "$1" --hashes | grep '^seed' | sort; }

same_history() {
  histories 1 >"$tap_folder/first" && histories 2 >"$tap_folder/second" || return 1
  [ "$(wc -l <"$tap_folder/first")" -eq 40 ] && diff "$tap_folder/first" "$tap_folder/second"
}

same_history_elsewhere() {
  "$project/Tools/lab" run --timeout 300 -- "$simulate" --profile small --seeds 20 --jobs 1 --hashes >"$tap_folder/lab" || return 1
  grep '^seed' "$tap_folder/lab" | sort >"$tap_folder/elsewhere"
  grep -E '^seed ([1-9]|1[0-9]|20):' "$tap_folder/first" >"$tap_folder/here"
  [ "$(wc -l <"$tap_folder/elsewhere")" -eq 20 ] && diff "$tap_folder/here" "$tap_folder/elsewhere"
}

noticed() {
  local status=0
  "$simulate" --broken overlapUnordered --seeds 20 --jobs 1 >"$tap_folder/broken" 2>&1 || status=$?
  cat "$tap_folder/broken"
  [ "$status" -eq 1 ] && grep -q 'FAILED' "$tap_folder/broken"
}

minimised() {
  local seed status=0
  seed=$(sed -n 's/^seed \([0-9]*\) FAILED.*/\1/p' "$tap_folder/broken" | head -n 1)
  "$simulate" --broken overlapUnordered --seed "$seed" --minimise >"$tap_folder/fewest" 2>&1 || status=$?
  cat "$tap_folder/fewest"
  [ "$status" -eq 1 ] && grep -q 'of its .* faults' "$tap_folder/fewest"
}

# Somebody who asks for a fault that the seed does not have is told so.
unknown_fault() {
  local status=0
  "$simulate" --seed 42 --keep 9999 >"$tap_folder/unknown" 2>&1 || status=$?
  cat "$tap_folder/unknown"
  [ "$status" -eq 2 ] && grep -q 'has no fault 9999' "$tap_folder/unknown"
}

# A worker that stands still is what a world is that does not end.
hanging() {
  local soak
  "$simulate" --seeds 1000000 --jobs 1 --time-limit 2 >"$tap_folder/hanging" 2>&1 &
  soak=$!
  wait_until 10 pgrep -P "$soak" && kill -STOP "$(pgrep -P "$soak")"
  wait_until 60 grep -q 'FAILED' "$tap_folder/hanging"
  kill "$soak"
  wait "$soak"
  # What it has begun in the place of the worker ends when it finds nobody to tell.
  cat "$tap_folder/hanging"
  grep -qE '^seed [0-9]+ FAILED: hanging' "$tap_folder/hanging"
}

# One seed says the same as many: what is wrong, and 1.
one_seed() {
  local status=0
  "$simulate" --broken overlapUnordered --seed "$(sed -n 's/^seed \([0-9]*\) FAILED.*/\1/p' "$tap_folder/broken" | head -n 1)" \
    >"$tap_folder/one" 2>&1 || status=$?
  cat "$tap_folder/one"
  [ "$status" -eq 1 ] && grep -qF "$(sed -n 's/^seed [0-9]* FAILED: //p' "$tap_folder/broken" | head -n 1)" "$tap_folder/one"
}

check "$seeds seeds are sound" "$simulate" --profile small --seeds "$seeds"
grep -E 'simulated hours|^never met' "$tap_folder/output" | diagnose
check "and so are seeds with three to five kinds of faults" "$simulate" --profile dense --seeds 60
check "and so are seeds of all families, as their shares are" "$simulate" --seeds 100
check "and so are seeds of daemons that succeed each other" "$simulate" --profile succession --seeds 150
check "a seed has the same history in two processes" same_history
[ "${TERCET_LAB:-yes}" = no ] || check "and on another machine, the lab" same_history_elsewhere
check "a broken volume is noticed, and the exit status is 1" noticed
check "its seed alone says the same" one_seed
check "and the faults that it takes are few" minimised
check "a fault that the seed does not have is refused" unknown_fault
check "a world that does not end is a failure" hanging

done_testing
