#!/usr/bin/env bash
# With four hosts connected that do nothing, the daemon does nothing either.
. "$(dirname "$0")/lab.sh"

require "the target starts" start_target "$nqn=ram:64M"
for host in 01 02 03 04; do check "host $host connects" connect_as "$host" keep_alive_tmo=15; done
expect_equal "four hosts are connected" 4 "$(controllers "$nqn" | wc -l)"

if [ "$target" = tercetd ]; then
  # The daemon's processor time so far, in clock ticks.
  used() { awk '{print $14 + $15}' "/proc/$tercetd_pid/stat"; }
  switches() { cat "/proc/$tercetd_pid"/task/*/status | awk '/ctxt_switches/ {sum += $2} END {print sum}'; }
  seconds=20
  sleep 2
  before=$(used) switches_before=$(switches)
  sleep "$seconds"
  after=$(used) switched=$(($(switches) - switches_before))
  diagnose "$((after - before)) ticks of $(getconf CLK_TCK) a second, in $seconds s"
  # An emulated processor is ten to twenty times slower than a real one, and counts as its own the time that the real one was
  # away.
  percent=1
  [ "${LAB:-}" != 1 ] || percent=10
  expect_at_most "the daemon used at most $percent % of a processor" $((percent * seconds * $(getconf CLK_TCK) / 100)) \
    $((after - before))
  # Ten rounds of timers a second in each of two reactors, two switches each, and as many again for what the hosts send; a
  # reactor that polled would be switched thousands of times.
  diagnose "$switched context switches"
  expect_at_most "the daemon sleeps: context switches" $((seconds * 2 * 10 * 2 * 2)) "$switched"
  diagnose "$(grep VmRSS "/proc/$tercetd_pid/status")"
else
  skip "the daemon is idle" "nvmet is no process"
fi
for name in $(controllers "$nqn"); do check "$name is still live" state_is "$name" live; done
check "all disconnect" disconnect
check "the target ends in good order" stop_target
check_kernel_log "the kernel has nothing to complain about"
done_testing
