#!/usr/bin/env bash
# Commands on named volumes that are killed at random moments: a check of the registry finishes what they have begun, or removes it.

. "$(dirname "$0")/volume.sh"

export TERCET_REGISTRY=sqlite:$tap_folder/registry
# More on request.
kills=${TERCET_REGISTRY_KILLS:-20}

by_name() { timeout 120 "$tercet" volume "$@"; }
create() { by_name create db "${members[@]}" --size 2m --region-size 64k "$@"; }

for number in 0 1 2; do require "target $number starts" start_member "$number"; done

# shot MICROSECONDS COMMAND...: kills a command after some time; whether it had not ended before.
shot() {
  local pid
  SOFTVERBS_FAULT=delay_us=1000 "$tercet" volume "${@:2}" >"$tap_folder/shot" 2>&1 </dev/null &
  pid=$!
  sleep "$(printf '%d.%06d' $(($1 / 1000000)) $(($1 % 1000000)))"
  kill -KILL "$pid" 2>/dev/null || return
  wait "$pid" 2>/dev/null
  [ $? -eq 137 ]
}

# The time that each takes with the delays.
duration() {
  local start=${EPOCHREALTIME/[.,]/}
  SOFTVERBS_FAULT=delay_us=1000 "$tercet" volume "$@" >/dev/null 2>&1 </dev/null || return
  echo $((${EPOCHREALTIME/[.,]/} - start))
}
creation=$(duration create db "${members[@]}" --size 2m --region-size 64k)
destruction=$(duration destroy db)
check "a creation and an end take their time" [ "${creation:-0}" -gt 1000 -a "${destruction:-0}" -gt 1000 ]

# nothing_left: no member holds anything of a volume, and the registry has no entry.
nothing_left() {
  [ -z "$(by_name list)" ] || return
  volume status --json >"$tap_folder/status" 2>/dev/null
  python3 - "$tap_folder/status" <<'PYTHON'
import json, sys
members = json.load(open(sys.argv[1]))["members"]
sys.exit(0 if len(members) == 3 and all("volume" not in member and "error" in member for member in members) else 1)
PYTHON
}

# settled NAME: a check leaves a whole volume or nothing. What is left after it is destroyed, or created, without --overwrite.
settled() {
  check "$1: a check settles it" "$tercet" registry check
  if grep -q "^db: ready" <<<"$(by_name list)"; then
    whole=$((whole + 1))
    check "... and the whole volume is there" by_name status db
  else
    none=$((none + 1))
    check "... and nothing is left" nothing_left
  fi
}

died=0 whole=0 none=0
for ((round = 0; round < kills / 2; round++)); do
  moment=$((RANDOM * 32768 + RANDOM))
  shot $((moment % creation)) create db "${members[@]}" --size 2m --region-size 64k && died=$((died + 1))
  settled "a creation is killed"
  grep -q "^db: ready" <<<"$(by_name list)" || require "... it is created anew" create
  shot $((moment % destruction)) destroy db && died=$((died + 1))
  settled "an end is killed"
  [ -z "$(by_name list)" ] || require "... it is destroyed" by_name destroy db
done 2>/dev/null
diagnose "$died of $((kills / 2 * 2)) commands died; afterwards $whole volumes were whole, and $none were nothing"
check "most were killed in time" [ "$died" -ge $((kills / 2)) ]

# What is still at work is left alone.
SOFTVERBS_FAULT=delay_us=60000 "$tercet" volume create db "${members[@]}" --region-size 64k >"$tap_folder/slow" 2>&1 </dev/null &
slow=$!
require "a slow creation has begun" wait_until 20 eval 'by_name list | grep -q "^db: creating"'
kill -STOP "$slow"
expect_refusal "it is left alone while it lives" "process $slow on .* is at work on its creation" "$tercet" registry check
expect_refusal "... and cannot be used" "is not ready: it is creating" by_name read db
kill -KILL "$slow"
wait "$slow" 2>/dev/null
kill_member 2
expect_refusal "nothing is removed as long as a member cannot be asked" "is left as it is: member 2" "$tercet" registry check
require "its target starts again" start_member 2
expect_output "then it is" "nothing of it is left" "$tercet" registry check
check "... really" nothing_left

check "the targets end in good order" stop_members
done_testing
