#!/usr/bin/env bash
# One volume daemon takes the place of another under a client's load: no error, and a short pause.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

control=$tap_folder/control.sock
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
serve() { start_volumed --nbd "$nbd_socket" --control "$control" --volume "db=$(volume_members)" "$@"; }
require "the daemon serves it" serve

fio --name=v --ioengine=nbd --uri="$(uri db)" --rw=randrw --bs=4k-64k --size=32M --io_size=1G --iodepth=8 \
  --verify=crc32c --verify_state_save=0 --verify_backlog=256 --time_based --runtime=10 >"$tap_folder/fio.out" 2>&1 &
fio_pid=$!
# fio asks for the size with a connection of its own; the second one carries the load.
has_two_sessions() { [ "$(grep -c "session began" "$volumed_log")" -ge 2 ]; }
require "fio runs" wait_until 10 has_two_sessions
for round in 1 2 3; do
  former=$volumed_pid
  cp "$volumed_log" "$tap_folder/former.log"
  require "$round: the next daemon takes over" serve --take-over-from "$control"
  check "... with the client" volumed_said "taken over from the former daemon lost=0 .*sessions=[1-9]"
  grep -o 'pauseMilliseconds=[0-9]*' "$volumed_log" | diagnose
  pause=$(grep -o 'pauseMilliseconds=[0-9]*' "$volumed_log" | cut -d= -f2)
  expect_at_most "... pausing for less than a second" 1000 "$pause"
  status=0
  wait "$former" || status=$?
  expect_equal "... and the former one ends in good order" 0 "$status"
done
wait "$fio_pid"
report $? "fio has noticed nothing, and verified every read" || diagnose <"$tap_folder/fio.out"
check "new clients come to the last one" nbdinfo --size "$(uri db)"
check "SIGTERM ends it" stop_volumed
[ ! -e "$nbd_socket" ]
report $? "... and the socket is gone"
check "the members are equal" members_are_equal
expect_output "status says clean" "clean, members: in sync, in sync, in sync" volume status
check "the targets end in good order" stop_members
done_testing
