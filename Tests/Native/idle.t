#!/usr/bin/env bash
# With four hosts connected that send keep-alives and nothing else, the daemon sleeps: it wakes up for their keep-alives and
# its timers, and uses less than 1 % of a processor. What is judged is how often it was switched, and its processor time as
# the system counts it, not how long anything took.

. "$(dirname "$0")/native.sh"

require "the target starts" export_target ram:16M --reactors 2

"$tercet" connect-test -a "$address" -s "$port" -n "$nqn" -i 4 --hosts 4 -k 15 --hold 120 >"$tap_folder/holder" 2>&1 </dev/null &
holder=$!
at_exit "kill $holder"
require "four hosts of four queues connect" wait_until 30 grep -q "^4 connected" "$tap_folder/holder"

seconds=${SECONDS_IDLE:-20}
require "the daemon comes to rest" wait_until 30 tercetd_rests
ticks_before=$(tercetd_ticks) switches_before=$(tercetd_switches)
sleep "$seconds"
ticks_used=$(($(tercetd_ticks) - ticks_before)) switched=$(($(tercetd_switches) - switches_before))
diagnose "$ticks_used ticks of $(getconf CLK_TCK) a second and $switched context switches in $seconds s"
expect_at_most "processor time (ticks): 1 % of a processor" $((seconds * $(getconf CLK_TCK) / 100)) "$ticks_used"
# Ten rounds of timers a second in each of two reactors, two switches each, as many again for what the hosts send and the
# system does; a reactor that polled would be switched thousands of times.
expect_at_most "context switches" $((seconds * 2 * 10 * 2 * 2)) "$switched"
check "the hosts are still connected" kill -0 "$holder"
check "the target ends in good order" stop_tercetd
done_testing
