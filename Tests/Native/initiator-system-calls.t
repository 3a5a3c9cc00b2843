#!/usr/bin/env bash
# While it polls, the initiator makes no system call for an I/O. What is counted is what the kernel sees of tercet bench, for
# few and for many I/Os: what both runs need drops out. softverbs moves data with process_vm_readv and process_vm_writev, which
# nobody else in the process calls; an RDMA device would do it by itself. The rest, the calls with which softverbs wakes a peer
# among it, are those of time that passes: asking for connection events, and yielding and sleeping where nothing arrives.

. "$(dirname "$0")/native.sh"

tercet_itself=${TERCET:-$project/.build/release/tercet}
few=5000 many=55000
require "the target starts" export_target ram:64M

# trace IOS: counts the system calls of so many I/Os, by name, in $tap_folder/calls.IOS.
trace() {
  timeout 300 strace -f -qq -c -U name,calls -o "$tap_folder/calls.$1" -E LD_PRELOAD="$softverbs" "$tercet_itself" bench -a "$address" \
    -s "$port" -n "$nqn" --rw randrw --iodepth 32 --number-ios "$1" --runtime 280
}

# more_calls OPERATOR PATTERN: how many calls more many I/Os took than few, of names that match (~) or do not (!~).
more_calls() {
  awk -v few="$tap_folder/calls.$few" '
    $1 == "total" || $2 !~ /^[0-9]+$/ { next }
    $1 '"$1"' /'"$2"'/ { sum += FILENAME == few ? -$2 : $2 }
    END { print sum + 0 }' "$tap_folder/calls.$few" "$tap_folder/calls.$many"
}

for ios in $few $many; do
  check "$ios I/Os are traced" trace "$ios"
  diagnose <"$tap_folder/calls.$ios"
done
ios=$((many - few))
carried=$(more_calls '~' '^process_vm_(readv|writev)$')
others=$(more_calls '!~' '^process_vm_(readv|writev)$')
yields=$(more_calls '~' '^sched_yield$')
sleeps=$(more_calls '~' '^epoll_wait$')
diagnose "$ios I/Os more: $carried calls more that move data, $others others, $yields yields and $sleeps sleeps among them"
check "softverbs moves data with system calls: they are counted" [ "$carried" -gt 0 ]
# Where the processor is needed elsewhere too, little arrives: a reactor yields in empty rounds, then sleeps, and what wakes it up
# and clears that are some four calls. One call for each I/O would be twice, or four times, as many as these bounds.
expect_at_most "it does not sleep for each I/O" $((ios / 2)) "$sleeps"
expect_at_most "an I/O takes no system call" $((ios / 4)) $((others - yields - 4 * sleeps))
check "the target ends in good order" stop_tercetd
done_testing
