#!/usr/bin/env bash
# A device that fails is named in the log, once, with the reason.
. "$(dirname "$0")/native.sh"
nqn=nqn.2026-11.io.tercet:failing
host=(-q nqn.2014-08.org.nvmexpress:uuid:6d1a6a1e-0000-4000-8000-000000000001 -I 6d1a6a1e-0000-4000-8000-000000000001)
folder=$tap_folder/small
mkdir "$folder"
if ! mount -t tmpfs -o size=4m,mode=700 tmpfs "$folder" 2>"$tap_folder/refusal"; then
  skip "a file system that is full" "no file system can be mounted here: $(cat "$tap_folder/refusal")"
  done_testing
  exit
fi
at_exit umount "$folder"
truncate -s 64M "$folder/disk.img"
cat >"$tap_folder/tercetd.json" <<JSON
{ "listeners": [ { "address": "$address", "port": $port } ], "subsystems": [
  { "nqn": "$nqn", "allowAnyHost": true, "namespaces": [ { "nsid": 1, "backing": "$folder/disk.img" } ] } ] }
JSON
"$tercetd" --config "$tap_folder/tercetd.json" >>"$tercetd_log" 2>&1 </dev/null &
tercetd_pid=$!
log_has() { grep -qF -- "$1" "$tercetd_log"; }
require "the daemon serves" wait_until 20 log_has serving
fill() { timeout 60 "$tercet" bench -a "$address" -s "$port" -n "$nqn" "${host[@]}" --rw write --bs 64k --iodepth 4 --runtime 2; }
check_fails "writing more than there is room for fails" fill
check "the log names the namespace and the reason" wait_until 10 log_has "I/O of a namespace fails device=$folder/disk.img errno=28"
fill >/dev/null 2>&1
fill >/dev/null 2>&1
expect_equal "... once" 1 "$(grep -c 'I/O of a namespace fails' "$tercetd_log")"
kill -HUP "$tercetd_pid"
check "a full file system is no reason to open the device anew" wait_until 10 log_has "reload: nothing has changed"

# A load whose write finds no room says so; nothing that it has read was wrong.
verified_fill() {
  timeout 60 "$tercet" bench -a "$address" -s "$port" -n "$nqn" "${host[@]}" --verify --rw write --bs 64k --iodepth 4 --runtime 2
}
expect_refusal "a load that verifies says what ended it" "Capacity Exceeded|no room" verified_fill
check_fails "... and not that it read something wrong" grep -q "verification failed" "$tap_folder/output"
diagnose <"$tap_folder/output"

# While it goes on it is said again after sixty looks at the devices, with how often. A reload is such a look.
over() { grep -c "reload over" "$tercetd_log"; }
reload() {
  local before
  before=$(over)
  kill -HUP "$tercetd_pid"
  wait_until 10 eval "[ \$(over) -gt $before ]"
}
for number in {1..60}; do reload || break; done
fill >/dev/null 2>&1
check "a device that goes on failing is named again, with how often it has failed" wait_until 10 \
  grep -qE 'I/O of a namespace fails .* failed=[1-9][0-9]* failedInAll=[1-9][0-9]*' <(grep 'I/O of a namespace fails' "$tercetd_log" | tail -n +2)
expect_at_most "... and not each time" 3 "$(grep -c 'I/O of a namespace fails' "$tercetd_log")"
check "the daemon ends cleanly" stop_tercetd

# One whose device failed, with another file in its place, as after a repair: it is opened anew.
trap '' XFSZ
truncate -s 8M "$tap_folder/first.img"
truncate -s 12M "$tap_folder/second.img"
cat >"$tap_folder/tercetd.json" <<JSON
{ "listeners": [ { "address": "$address", "port": $port } ], "subsystems": [
  { "nqn": "$nqn", "allowAnyHost": true, "namespaces": [ { "nsid": 1, "backing": "$tap_folder/first.img" } ] } ] }
JSON
: >"$tercetd_log"
"$tercetd" --config "$tap_folder/tercetd.json" >>"$tercetd_log" 2>&1 </dev/null &
tercetd_pid=$!
require "the daemon serves" wait_until 20 log_has serving
prlimit --pid "$tercetd_pid" --fsize=65536:
check_fails "its device fails writes" fill
check "the log says so" wait_until 10 log_has "I/O of a namespace fails device=$tap_folder/first.img errno=27"
prlimit --pid "$tercetd_pid" --fsize=unlimited:
mv "$tap_folder/second.img" "$tap_folder/first.img"
shows() { "$tercet" identify -a "$address" -s "$port" -n "$nqn" "${host[@]}" --json | tr -d ' \n' | grep -q "$1"; }
check "until a reload hosts see the one that failed" shows '"nsze":16384'
check "a reload" reload
check "... opens what is at the path now" wait_until 10 shows '"nsze":24576'
check "... and writes to it succeed" fill
diagnose "$(grep 'reload' "$tercetd_log")"

check "it ends cleanly" stop_tercetd
done_testing
