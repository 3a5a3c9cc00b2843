#!/usr/bin/env bash
# One volume daemon takes the place of another under clients' load, by NBD and by NVMe: no error, and a short pause. ROUNDS says how
# often (3).

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

rounds=${ROUNDS:-3}
control=$tap_folder/control.sock
front=$((port + 10))
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
uuid=$(volume status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["members"][0]["volume"])')
serve() {
  start_volumed --nbd "$nbd_socket" --nvme "$address:$front" --control "$control" --volume "db=$(volume_members)" "$@"
}
require "the daemon serves it" serve

fio --name=v --ioengine=nbd --uri="$(uri db)" --rw=randrw --bs=4k-64k --offset=32M --size=24M --io_size=1T --iodepth=8 \
  --verify=crc32c --verify_state_save=0 --verify_backlog=256 --verify_fatal=1 --time_based --runtime=7200 >"$tap_folder/fio.out" 2>&1 &
fio_pid=$!
at_exit 'kill -KILL $fio_pid'
# fio asks for the size with a connection of its own; the second one carries the load.
has_two_sessions() { [ "$(grep -c "session began" "$volumed_log")" -ge 2 ]; }
require "fio runs" wait_until 10 has_two_sessions
# The host keeps to the beginning of the volume, and fio to the rest.
timeout 7200 "$tercet" bench -a "$address" -s "$front" -n "nqn.2014-08.org.nvmexpress:uuid:$uuid" --verify --rw randrw \
  --bs 4096 --iodepth 4 --size 24M --runtime 7000 --fast-io-fail-tmo 60 >"$tap_folder/bench" 2>&1 &
bench_pid=$!
at_exit 'kill -KILL $bench_pid'
require "an NVMe host runs" wait_until 10 volumed_said "NVMe host connected"

# take_over: exchanges the daemon; its pause is in $pause.
take_over() {
  former=$volumed_pid
  cp "$volumed_log" "$tap_folder/former.log"
  serve --take-over-from "$control" || return
  volumed_said "taken over from the former daemon lost=0 .*sessions=[1-9]" || return
  pause=$(grep -o 'pauseMilliseconds=[0-9]*' "$volumed_log" | cut -d= -f2)
  wait "$former" && wait_until 30 volumed_said "NVMe host connected" && kill -0 "$fio_pid" "$bench_pid"
}
for ((round = 1; round <= rounds; round++)); do
  require "$round: the next daemon takes over, with its clients, and the former one ends in good order" take_over
  echo "$pause" >>"$tap_folder/pauses"
  sleep 0.5
done
sort -n "$tap_folder/pauses" | awk '
  {all[NR] = $1}
  END {printf "pauses in ms: least %d, median %d, 95th of a hundred %d, greatest %d, rounds %d\n", all[1], all[int((NR + 1) / 2)],
    all[int(NR * 0.95 + 0.99)], all[NR], NR}' | tee "$tap_folder/table" | diagnose
expect_at_most "no pause is longer than a second" 1000 "$(sort -n "$tap_folder/pauses" | tail -1)"
kill -INT "$fio_pid"
wait "$fio_pid"
grep -q 'err= 0' "$tap_folder/fio.out" && ! grep -qE 'error=|verify:|bad (magic|header)' "$tap_folder/fio.out"
report $? "fio has noticed nothing, and verified every read" || diagnose <"$tap_folder/fio.out"
# A block that differs would have ended it.
kill -0 "$bench_pid"
report $? "... nor has the NVMe host" || diagnose <"$tap_folder/bench"
kill -INT "$bench_pid"
wait "$bench_pid"
check "new clients come to the last one" nbdinfo --size "$(uri db)"
check "SIGTERM ends it" stop_volumed
[ ! -e "$nbd_socket" ]
report $? "... and the socket is gone"
check "the members are equal" members_are_equal
expect_output "status says clean" "clean, members: in sync, in sync, in sync" volume status
check "the targets end in good order" stop_members
done_testing
