#!/usr/bin/env bash
# tercetd tells a service manager how it is doing (sd_notify(3)): a socket in the manager's place writes down what it is told.
. "$(dirname "$0")/native.sh"

configuration=$tap_folder/tercetd.json
echo "{ \"listeners\": [ { \"address\": \"$address\", \"port\": $port } ], \"reactors\": 1, \"subsystems\": [] }" >"$configuration"
python3 - "$tap_folder/notify" "$tap_folder/told" <<'PYTHON' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    text = s.recv(4096).decode()
    with open(sys.argv[2], "a") as told:
        told.write(text.replace("\n", " ") + "\n")
PYTHON
manager_pid=$!
at_exit "kill -KILL $manager_pid"
wait_until 10 test -S "$tap_folder/notify"
told() { grep -qE -- "$1" "$tap_folder/told"; }
beats() { grep -c "^WATCHDOG=1$" "$tap_folder/told"; }
more_beats() { [ "$(beats)" -gt "$1" ]; }

export NOTIFY_SOCKET=$tap_folder/notify WATCHDOG_USEC=400000
require "a target starts" start_tercetd --config "$configuration"
check "it says that it serves" wait_until 20 told "^READY=1 STATUS=serving 0 subsystems$"
check "the watchdog is fed" wait_until 10 more_beats 3
kill -HUP "$tercetd_pid"
check "it says that it reloads" wait_until 10 told "^RELOADING=1 MONOTONIC_USEC=[0-9]+$"
check "... and that it has" wait_until 10 sh -c "[ \$(grep -c ^READY=1 '$tap_folder/told') = 2 ]"
kill -STOP "$tercetd_pid"
sleep 0.1
before=$(beats)
sleep 1
expect_equal "one that stands still does not feed the watchdog" "$before" "$(beats)"
kill -CONT "$tercetd_pid"
check "it goes on" wait_until 10 more_beats "$before"
check "it stops" stop_tercetd
check "it says so" wait_until 10 told "^STOPPING=1 STATUS=stopping$"

done_testing
