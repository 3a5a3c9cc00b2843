#!/usr/bin/env bash
# The volume daemon, a target, or both at once are killed at random moments, ROUNDS times (5): everything that was acknowledged is there.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

rounds=${ROUNDS:-5}
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
serve() { start_volumed --nbd "$nbd_socket" --volume "db=$(volume_members)" "$@"; }
require "the daemon serves it" serve

cat >"$tap_folder/writer.py" <<'PYTHON'
# Writes numbered blocks, half of them with FUA and the others flushed by and by. Comes again after each loss of its connection, and
# looks at all that it wrote: a block holds what was acknowledged last, or what was on its way after that.
import nbd, os, random, sys, time
uri, folder = sys.argv[1:]
blocks = 2000
acknowledged, pending = [0] * blocks, [set() for _ in range(blocks)]
number, rounds = 0, 0

def verify(h):
    for block in range(blocks):
        data = h.pread(4096, block * 4096)
        found = int.from_bytes(data[:8], "big")
        assert data == data[:8] * 512, ("torn", block)
        assert found == acknowledged[block] or found in pending[block], (block, found, acknowledged[block], pending[block])
        acknowledged[block], pending[block] = found, set()

while not os.path.exists(f"{folder}/stop"):
    h = nbd.NBD()
    try:
        h.connect_uri(uri)
        verify(h)
        rounds += 1
        print("verified", rounds, number, flush=True)
        while not os.path.exists(f"{folder}/stop"):
            number += 1
            block = random.randrange(blocks)
            pending[block].add(number)
            h.pwrite(number.to_bytes(8, "big") * 512, block * 4096, random.choice([0, nbd.CMD_FLAG_FUA]))
            acknowledged[block], pending[block] = number, set()
            if number % 50 == 0: h.flush()
    except nbd.Error:
        time.sleep(0.05)
h = nbd.NBD()
h.connect_uri(uri)
verify(h)
print("all there", number, flush=True)
PYTHON
/usr/bin/python3 "$tap_folder/writer.py" "$(uri db)" "$tap_folder" >"$tap_folder/writer" 2>&1 &
writer=$!
at_exit 'kill -KILL $writer'
verified() { [ "$(grep -c verified "$tap_folder/writer")" -gt "$1" ] || ! kill -0 "$writer"; }
require "a client writes" wait_until 10 verified 0

# restart WHAT: kills the daemon, a target or both, and starts them again.
restart() {
  local count member=$((RANDOM % 3))
  count=$(grep -c verified "$tap_folder/writer")
  case $1 in
    daemon) stop_volumed KILL ;;
    target) kill_member "$member" ;;
    both)
      kill -KILL "$volumed_pid" "${target_pids[$member]}"
      wait "$volumed_pid" "${target_pids[$member]}" 2>/dev/null
      volumed_pid=
      ;;
  esac
  [ "$1" = daemon ] || { sleep "0.$((RANDOM % 9))"; start_member "$member" || return; }
  if [ "$1" = target ]; then
    wait_until 30 eval "[ \"\$(grep -c 'member $member: in sync' '$volumed_log')\" -gt 0 ]" && : >"$volumed_log"
  else
    local began=${EPOCHREALTIME/[.,]/}
    serve --take-over && wait_until 30 verified "$count" || return
    echo $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) >>"$tap_folder/pauses"
  fi
  kill -0 "$writer"
}
kinds=(daemon target both)
for ((round = 1; round <= rounds; round++)); do
  kind=${kinds[round % 3]}
  sleep "0.$((RANDOM % 900 + 100))"
  require "$round: $kind killed, and all that was acknowledged is there" restart "$kind"
done
sort -n "$tap_folder/pauses" | awk '
  {all[NR] = $1}
  END {printf "from the start of the daemon until all was verified, in ms: least %d, median %d, greatest %d\n", all[1],
    all[int((NR + 1) / 2)], all[NR]}' | diagnose
touch "$tap_folder/stop"
wait "$writer"
report $? "the client has found all that was acknowledged"
tail -1 "$tap_folder/writer" | diagnose
check "SIGTERM ends the daemon" stop_volumed
check "the members are equal" members_are_equal
check "the targets end in good order" stop_members
done_testing
