#!/usr/bin/env bash
# The ways in which a load waits for answers (--poll), by what the kernel sees of its thread: one that polls always never gives its
# processor away, one that never polls sleeps for its answers, and one that adapts sleeps when nothing is there.

. "$(dirname "$0")/native.sh"

tercet_itself=${TERCET:-$project/.build/release/tercet}
few=200 many=2200
# Connecting and ending wait too, a few times more or less in each run: one wait in ten I/Os is far from both.
some=$(((many - few) / 10))
require "the target starts" export_target ram:16M

# calls MODE IOS: yields and sleeps of so many I/Os at depth 1.
calls() {
  timeout 100 strace -f -qq -c -U name,calls -e trace=sched_yield,epoll_wait -o "$tap_folder/calls" -E LD_PRELOAD="$softverbs" \
    "$tercet_itself" bench -a "$address" -s "$port" -n "$nqn" --rw randread --bs 4K --iodepth 1 --number-ios "$2" --runtime 90 \
    --poll "$1" >/dev/null || return 1
  awk '$1 == "sched_yield" || $1 == "epoll_wait" { sum += $2 } END { print sum + 0 }' "$tap_folder/calls"
}

for mode in always adaptive never; do
  before=$(calls $mode $few) after=$(calls $mode $many)
  check "the load runs with --poll $mode" [ -n "$before" ] && [ -n "$after" ]
  eval "$mode=$((after - before))"
  diagnose "--poll $mode: $((many - few)) I/Os more take $((after - before)) yields and sleeps more"
done
expect_at_most "one that polls always gives nothing away" "$some" "$always"
# On a busy machine an answer may be there before the thread could sleep for it: it is given two more chances.
for chance in 2 3; do
  [ "$never" -lt $(((many - few) / 2)) ] || break
  before=$(calls never $few) after=$(calls never $many)
  never=$((after - before))
  diagnose "--poll never, for the time $chance: $never"
done
check "one that never polls gives its processor away for most I/Os" [ "$never" -ge $(((many - few) / 2)) ]
check_fails "another word is refused" bench --poll often --number-ios 1
check "the target ends in good order" stop_tercetd
done_testing
