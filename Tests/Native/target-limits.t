#!/usr/bin/env bash
# What the target says where the system gives it too little: descriptors and locked memory, in the operator's words, with the limit. A
# refusal that comes again and again is one line, and later one with how often it has come.

. "$(dirname "$0")/native.sh"

log_has() { grep -qE -- "$1" "$tercetd_log"; }
count() { grep -cE -- "$1" "$tercetd_log"; }
host() { timeout 30 "$tercet" connect-test -a "$address" -s "$port" -n "$nqn" --connect-timeout 5 "$@"; }

# At the start: what the configuration needs, beside what there is.
# too_little LIMIT OPTION...: starts a daemon with a limit of the shell's.
too_little() {
  local as=(env)
  [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  (ulimit "$@" && exec "${as[@]}" timeout 20 env LD_PRELOAD="$softverbs" "${TERCETD:-$project/.build/release/tercetd}" --reactors 1 \
    --listen "$address:$port" --export "$nqn=ram:1M") >>"$tercetd_log" 2>&1 </dev/null &
  little=$!
}
enough() { kill "$little"; wait "$little" 2>/dev/null; }
too_little -n 45
check "a limit of descriptors that is too low is told at the start, with the number that is needed" \
  wait_until 20 log_has 'the limit of file descriptors is 45, and [0-9]+ are needed before any host comes \(LimitNOFILE=, ulimit -n\)'
enough
# Root has no limit of locked memory.
too_little -l 64
check "a limit of locked memory that is too low is told at the start, with both sizes" wait_until 20 log_has \
  'the limit of locked memory is 64K, and the reactors register [0-9]+[KMG] with an RDMA device: hosts will be refused \(LimitMEMLOCK=infinity'
enough

# Later: a daemon that serves is out of descriptors.
: >"$tercetd_log"
cat >"$tap_folder/tercetd.json" <<JSON
{ "listeners": [ { "address": "$address", "port": $port } ], "reactors": 1, "subsystems": [
  { "nqn": "$nqn", "allowAnyHost": true, "namespaces": [ { "nsid": 1, "backing": "ram:1M" } ] },
  { "nqn": "$nqn.closed", "hosts": [ "$nqn:friend" ], "namespaces": [ { "nsid": 1, "backing": "ram:1M" } ] } ] }
JSON
start_tercetd --config "$tap_folder/tercetd.json"
require "a target serves" wait_until 20 target_listens
check "a host connects" host
# Each step of an accept wants descriptors of its own: which one fails first depends on the limit. Some are silent: the system
# refuses the host by itself.
words='out of file descriptors: this process may have [0-9]+ \(LimitNOFILE=, ulimit -n\)|too many open files \(`ulimit -n`, LimitNOFILE=\)'
for limit in $(seq $(($(tercetd_descriptors) - 3)) $(($(tercetd_descriptors) + 6))); do
  prlimit --pid "$tercetd_pid" --nofile="$limit:"
  ! host >"$tap_folder/host" 2>&1 || { diagnose "with a limit of $limit hosts connect"; break; }
  ! wait_until 1 log_has "connection refused .*($words)" || break
done
check "a daemon that is out of descriptors refuses hosts, and says why in words" log_has "connection refused .*($words)"
diagnose "with a limit of $limit: $(grep -E "$words" "$tercetd_log")"
check "it may have more" prlimit --pid "$tercetd_pid" --nofile=1024:
check "... and hosts connect" wait_until 20 host

# A host that tries again and again.
for number in 1 2 3 4 5; do host -n "$nqn.closed" -q "$nqn:stranger" >/dev/null 2>&1; done
check "a host that is not let in is in the log" wait_until 10 log_has "host refused host=$nqn:stranger "
expect_equal "... once" 1 "$(count "host=$nqn:stranger ")"
check "... and later once more, with how often it has come" wait_until 30 log_has "host refused .*host=$nqn:stranger .*repeated=4"
expect_equal "... twice in all" 2 "$(count "host=$nqn:stranger ")"

check "the target ends in good order" stop_tercetd
done_testing
