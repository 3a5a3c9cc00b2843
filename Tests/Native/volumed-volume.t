#!/usr/bin/env bash
# A volume of three members as a disk for NBD clients: copied, checked, under faults, across a crash of the daemon.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

require "target 0 starts" start_member 0 --control "$tap_folder/target.sock"
for number in 1 2; do require "target $number starts" start_member "$number"; done
expect_refusal "three members are needed" "2 members; a volume has three" \
  "$volumed" --nbd "$nbd_socket" --volume "db=${members[1]},${members[3]}"
require "a volume is created" volume create
control=$tap_folder/control.sock
serve() { TMPDIR=$tap_folder start_volumed --control "$control" --nbd "$nbd_socket" --metrics "$tap_folder/metrics.sock" --volume "db=$(volume_members)" "$@"; }
require "the daemon attaches and serves it" serve
check "... and says so, with its size" volumed_said "volume attached bytes=6[0-9]{7} .*volume=db"
check "nbdinfo" nbdinfo "$(uri db)"
output_has "... flushes cover all connections" "can_multi_conn: true"
scrape() { curl --silent --show-error --max-time 10 --unix-socket "$tap_folder/metrics.sock" "http://volumed/$1"; }
expect_output "it is ready" "^\[\+\]volumes ok$" scrape "readyz?verbose"
expect_output "metrics tell the members in sync" '^tercet_volume_member_in_sync\{volume="db",member="2"\} 1$' scrape metrics
if command -v promtool >/dev/null; then
  check "... promtool finds no fault" sh -c 'promtool check metrics <"$1"' - "$tap_folder/output"
else
  skip "... promtool finds no fault" "promtool is not installed (Debian's package prometheus)"
fi
size=$(nbdinfo --size "$(uri db)")
[ $((size % 4096)) -eq 0 ]
report $? "its size is a multiple of 4096"

head -c "$size" /dev/urandom >"$tap_folder/image"
check "nbdcopy in" nbdcopy --flush "$tap_folder/image" "$(uri db)"
check "nbdcopy out" nbdcopy "$(uri db)" "$tap_folder/back"
check "... and all is there" cmp "$tap_folder/image" "$tap_folder/back"
expect_output "qemu-img compare" "Images are identical" qemu-img compare -s -f raw -F raw "$tap_folder/image" "$(uri db)"
check "qemu-img bench" qemu-img bench -w -c 500 -d 16 -s 4k -f raw "$(uri db)"
check "qemu-io: pattern, zeroes, discard, FUA" qemu-io -f raw -c 'write -P 0x5a 0 64k' -c 'read -P 0x5a 0 64k' \
  -c 'write -z 4k 8k' -c 'read -P 0 4k 8k' -c 'write -f -P 7 8k 4k' -c 'discard 64k 1M' -c flush -c 'read -P 7 8k 4k' "$(uri db)"
check "parts of blocks" qemu-io -f raw -c 'write -P 1 0 4k' -c 'write -P 2 100 1000' -c 'read -P 1 0 100' \
  -c 'read -P 2 100 1000' -c 'read -P 1 1100 2996' "$(uri db)"

fio --name=v --ioengine=nbd --uri="$(uri db)" --rw=randrw --bs=4k-32k --size=32M --io_size=64M --iodepth=16 \
  --verify=crc32c --verify_state_save=0 --fsync=32 --time_based --runtime=6 --rate_iops=2000 >"$tap_folder/fio.out" 2>&1 &
fio_pid=$!
under_load() { [ "$(stat -c %Y "$tap_folder/disk0")" -gt "$before" ] && volumed_said "session began"; }
before=$(($(date +%s) - 1))
require "fio runs" wait_until 10 under_load
top() { "$tercet" volume top --socket "$control" --count 1 --interval 0.5 "$@"; }
expect_output "what the volume does just now is shown" "^ +[0-9]+ +[0-9]+ +[0-9.]+ +[0-9.]+ +[1-9][0-9]* +[1-9][0-9]* +0 +[0-9]+ +[0-9]+ +0  db\$" top
output_has "... and each member" "^ +[1-9][0-9]* commands/s, +[0-9]+ under way, [1-9][0-9]* us  member 2, in sync\$"
expect_refusal "a volume that is not there is told" 'no volume "nowhere" is attached' top nowhere
expect_output "the daemon says how it is" "^NBD clients: $nbd_socket\$" "$tercet" volume state --socket "$control"
output_has "... where its threads run" "^reactors: 1, on processors [0-9]+( of node [0-9]+)?\$"
output_has "... its room" "^attached by control: 0 of 16\$"
output_has "... and its volumes" "^db: serving, $size bytes, exports: \"db\", sessions: [0-9]+, "
both() { "$tercet" top --target-socket "$tap_folder/target.sock" --volume-socket "$control" --count 1 --interval 0.5 "$@"; }
expect_output "both daemons are shown together: a target's namespaces" "^ +[0-9]+ +[0-9]+ .* $nqn.0 namespace 1\$" both
output_has "... and volumes" "^ +[0-9]+ +[0-9]+ .* 0  db\$"
rates_of_both() { both --json | python3 -c 'import json, sys; look = json.load(sys.stdin); print(len(look["target"]) > 0, [row["volume"] for row in look["volumes"]])'; }
expect_equal "... as JSON too" "True ['db']" "$(rates_of_both)"
expect_output "a daemon that is not there is told, and the other shown" \
  "^tercetd does not answer: $tap_folder/nobody: nobody serves at this socket" both --target-socket "$tap_folder/nobody"
output_has "... with its volumes" " 0  db\$"
expect_refusal "without either there is nothing to show" "neither daemon answers here\. tercetd: .*nobody.*tercet-volumed: .*none" \
  both --target-socket "$tap_folder/nobody" --volume-socket "$tap_folder/none"
timeout 300 "$tercet" volume watch --socket "$control" >"$tap_folder/events" 2>&1 &
watch_pid=$!
at_exit 'kill -KILL $watch_pid'
# Each trace is a line of the log.
heard() { "$tercet" volume trace --socket "$control" >"$tap_folder/trace" && grep -q "trace written" "$tap_folder/events"; }
require "who watches hears what happens" wait_until 20 heard
expect_output "a trace is written" " response-in +queue [0-9]" "$tercet" trace "$(<"$tap_folder/trace")"
kill_member 1
check "a target is killed under it: the daemon names the member" wait_until 10 volumed_said "member 1: lost"
check "... to who watches too" wait_until 10 grep -q "warning: member 1: lost" "$tap_folder/events"
expect_output "... shows it" "member 1, away\$" top db
expect_output "metrics count users' I/O" '^tercet_volume_commands_total\{volume="db",front_end="nbd",operation="write"\} [1-9]' scrape metrics
output_has "... and its times" '^tercet_volume_command_duration_seconds_count\{volume="db",front_end="nbd",operation="read"\} [1-9]'
output_has "... and commands to each member" '^tercet_volume_member_commands_total\{volume="db",member="2"\} [1-9]'
expect_output "... and tell that the member is out" '^tercet_volume_member_in_sync\{volume="db",member="1"\} 0$' scrape metrics
require "... it comes back" start_member 1
check "... and is brought into sync" wait_until 20 volumed_said "member 1: in sync"
wait "$fio_pid"
report $? "fio has verified every read" || diagnose <"$tap_folder/fio.out"

cat >"$tap_folder/acknowledged.py" <<'PYTHON'
# Writes numbered blocks with FUA until the daemon dies; prints the last block that was acknowledged.
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
done = -1
try:
    for number in range(1000000):
        h.pwrite(number.to_bytes(8, "big") * 512, number % 4096 * 4096, nbd.CMD_FLAG_FUA)
        done = number
        if number == 200: print("running", flush=True)
except nbd.Error:
    pass
print(done, flush=True)
PYTHON
/usr/bin/python3 "$tap_folder/acknowledged.py" "$(uri db)" >"$tap_folder/acknowledged" &
writer=$!
require "writes with FUA run" wait_until 20 grep -q running "$tap_folder/acknowledged"
stop_volumed KILL
wait "$writer"
last=$(tail -1 "$tap_folder/acknowledged")
diagnose "acknowledged: $last"
require "after SIGKILL of the daemon the next one attaches" serve --take-over
cat >"$tap_folder/check.py" <<'PYTHON'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
last = int(sys.argv[2])
assert last >= 200
for number in range(max(0, last - 4095), last + 1):
    block = h.pread(4096, number % 4096 * 4096)
    found = int.from_bytes(block[:8], "big")
    # The one behind the last acknowledged may have landed in the place of an old one.
    assert block == block[:8] * 512 and found in (number, number + 4096), (number, found)
h.shutdown()
print("all there")
PYTHON
expect_output "... everything that was acknowledged is there" "all there" \
  /usr/bin/python3 "$tap_folder/check.py" "$(uri db)" "$last"

expect_refusal "another command leaves the volume alone" "has the volume attached" \
  "$tercet" volume bench "${members[@]}" --runtime 1

if [ -e /dev/fuse ]; then
  mkdir "$tap_folder/mount"
  nbdfuse "$tap_folder/mount/disk" "$(uri db)" >/dev/null 2>&1 &
  fuse_pid=$!
  unmount() { umount "$tap_folder/mount" || fusermount3 -u "$tap_folder/mount" || fusermount -u "$tap_folder/mount"; }
  at_exit unmount
  require "nbdfuse" wait_until 10 test -e "$tap_folder/mount/disk"
  check "a file system on it" mke2fs -q -F "$tap_folder/mount/disk"
  check "... is clean" e2fsck -fn "$tap_folder/mount/disk"
  unmount 2>/dev/null
  wait "$fuse_pid" 2>/dev/null
else
  skip "nbdfuse" "no /dev/fuse here"
fi

check "SIGTERM detaches it" stop_volumed
check "... cleanly" volumed_said "volume detached"

RUNTIME_DIRECTORY=$tap_folder start_volumed --nbd "$nbd_socket" --volume "db=$(volume_members)"
report $? "without --control the socket is in the folder of the service manager"
usual=$tap_folder/volumed.sock
expect_output "... where it is asked" "^db: serving" "$tercet" volume list --socket "$usual"
expect_equal "... by its user alone" 600 "$(stat -c %a "$usual")"
check "it is told to stop" "$tercet" volume shutdown --socket "$usual"
wait "$volumed_pid"
expect_equal "... and ends in good order" 0 $?
volumed_pid=
check "... cleanly" volumed_said "volume detached"
check_fails "... with its socket" test -e "$usual"
check "the members are equal" members_are_equal
expect_output "status says clean" "clean, members: in sync, in sync, in sync" volume status

knows_members_by_name
by_name() { start_volumed --nbd "$nbd_socket" --volume "db=$nqn.0/1,$nqn.1/1,$1"; }
require "the daemon finds members by name, in nvme-cli's file of connections" by_name "$nqn.2/1"
check "... and the target knows the host by the name there" grep -q "host=$nqn:host" "$tap_folder/target0.log"
check "... it ends" stop_volumed
expect_refusal "a member that the file does not know is told" "fabrics.conf knows no subsystem $nqn.9" \
  "$volumed" --nbd "$nbd_socket" --volume "db=$nqn.0/1,$nqn.1/1,$nqn.9/1"
check "the targets end in good order" stop_members
done_testing
