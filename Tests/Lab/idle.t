#!/usr/bin/env bash
# With four hosts connected that do nothing, the daemon does nothing either.
. "$(dirname "$0")/lab.sh"

require "the target starts" start_target "$nqn=ram:64M"
for host in 01 02 03 04; do check "host $host connects" connect_as "$host" keep_alive_tmo=15; done
expect_equal "four hosts are connected" 4 "$(controllers "$nqn" | wc -l)"

if [ "$target" = tercetd ]; then
  seconds=20
  require "the daemon comes to rest" wait_until 30 tercetd_rests
  before=$(tercetd_ticks) switches_before=$(tercetd_switches)
  sleep "$seconds"
  after=$(tercetd_ticks) switched=$(($(tercetd_switches) - switches_before))
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
