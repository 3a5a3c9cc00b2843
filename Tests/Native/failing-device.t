#!/usr/bin/env bash
# A device that fails is named in the log, once, with the reason.
. "$(dirname "$0")/../tap.sh"
. "$(dirname "$0")/../daemons.sh"
tercet=${TERCET:-$(dirname "$tercetd")/tercet}
library=$project/Tools/softverbs/build/libsoftverbs.so
[ -e "$library" ] && [ -x "$tercetd" ] || { echo "Bail out! tercetd and softverbs are not built"; exit 1; }
nqn=nqn.2026-11.io.tercet:failing
host=(-q nqn.2014-08.org.nvmexpress:uuid:6d1a6a1e-0000-4000-8000-000000000001 -I 6d1a6a1e-0000-4000-8000-000000000001)
folder=$tap_folder/small
mkdir "$folder"
if ! mount -t tmpfs -o size=4m tmpfs "$folder" 2>"$tap_folder/refusal"; then
  skip "a file system that is full" "no file system can be mounted here: $(cat "$tap_folder/refusal")"
  done_testing
  exit
fi
at_exit umount "$folder"
truncate -s 64M "$folder/disk.img"
cat >"$tap_folder/tercetd.json" <<JSON
{ "listeners": [ { "address": "127.0.0.1" } ], "subsystems": [
  { "nqn": "$nqn", "allowAnyHost": true, "namespaces": [ { "nsid": 1, "backing": "$folder/disk.img" } ] } ] }
JSON
LD_PRELOAD=$library "$tercetd" --config "$tap_folder/tercetd.json" >>"$tercetd_log" 2>&1 </dev/null &
tercetd_pid=$!
log_has() { grep -qF -- "$1" "$tercetd_log"; }
require "the daemon serves" wait_until 20 log_has serving
fill() { LD_PRELOAD=$library timeout 60 "$tercet" bench -a 127.0.0.1 -n "$nqn" "${host[@]}" --rw write --bs 64k --iodepth 4 --runtime 2; }
check_fails "writing more than there is room for fails" fill
check "the log names the namespace and the reason" wait_until 10 log_has "I/O of a namespace fails device=$folder/disk.img errno=28"
fill >/dev/null 2>&1
fill >/dev/null 2>&1
expect_equal "... once" 1 "$(grep -c 'I/O of a namespace fails' "$tercetd_log")"
kill -HUP "$tercetd_pid"
check "a full file system is no reason to open the device anew" wait_until 10 log_has "reload: nothing has changed"

check "it ends cleanly" stop_tercetd
done_testing
