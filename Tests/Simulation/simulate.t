#!/usr/bin/env bash
# Whole volumes in simulated worlds: many seeds are sound, a seed has the same history in two processes and on another
# machine (the lab: another kernel, an emulated processor; TERCET_LAB=no leaves it out), and a volume that is broken on
# purpose is noticed, with its seed, its fewest faults and the exit status of a failure.
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tap.sh"
simulate=${TERCET_SIMULATE:-$project/.build/release/tercet-simulate}
seeds=${TERCET_SEEDS:-500}

histories() { "$simulate" --seeds 40 --jobs "$1" --hashes | grep '^seed' | sort; }

same_history() {
  histories 1 >"$tap_folder/first" && histories 2 >"$tap_folder/second" || return 1
  [ "$(wc -l <"$tap_folder/first")" -eq 40 ] && diff "$tap_folder/first" "$tap_folder/second"
}

same_history_elsewhere() {
  "$project/Tools/lab" run --timeout 300 -- "$simulate" --seeds 20 --jobs 1 --hashes >"$tap_folder/lab" || return 1
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

check "$seeds seeds are sound" "$simulate" --seeds "$seeds"
grep -E 'simulated hours|^never met' "$tap_folder/output" | diagnose
check "a seed has the same history in two processes" same_history
[ "${TERCET_LAB:-yes}" = no ] || check "and on another machine, the lab" same_history_elsewhere
check "a broken volume is noticed, and the exit status is 1" noticed
check "and the faults that it takes are few" minimised

done_testing
