#!/usr/bin/env bash
# A volume offered to NVMe-oF hosts by the volume daemon: its identity, load with a target killed under it, and the control
# socket that says why.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

control=$tap_folder/control.sock
front=$((port + 10))
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
uuid=$(volume status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["members"][0]["volume"])')
require "the daemon offers it over NVMe and NBD" start_volumed --nbd "$nbd_socket" --nvme "$address:$front" \
  --control "$control" --metrics "$tap_folder/metrics.sock" --volume "db=$(volume_members)"
front_nqn=nqn.2014-08.org.nvmexpress:uuid:$uuid
expect_output "a host finds a subsystem of the volume's UUID" "$front_nqn" "$tercet" discover -a "$address" -s "$front"
expect_output "... with a namespace of that UUID" "$uuid" \
  "$tercet" identify -a "$address" -s "$front" -n "$front_nqn"

list() { "$tercet" volume list --socket "$control" "$@"; }
explain() { "$tercet" volume explain db --socket "$control" "$@"; }
expect_output "the daemon lists it" "db: serving, [0-9]+ bytes, exports: \"db\", sessions: 0, $uuid" list
expect_output "... and explains that all is well" "member 2 \(.*\): in sync since 20" explain
expect_refusal "what it does not know it names" "there is no volume \"x\"; there are \"db\"" \
  "$tercet" volume explain x --socket "$control"

timeout 60 "$tercet" bench -a "$address" -s "$front" -n "$front_nqn" --verify --rw randrw --bs 4096 --iodepth 8 \
  --runtime 6 >"$tap_folder/bench" 2>&1 &
bench_pid=$!
kill_under_load() { sleep 1.5; kill_member 1; }
require "a target is killed under a host's load" kill_under_load
check "... the daemon names the member" wait_until 10 volumed_said "member 1: lost"
explain >"$tap_folder/explained" 2>&1
expect_equal "explain asks for care then" 1 $?
grep -q "member 1 .*: away.* since 20.*: member 1: " "$tap_folder/explained" &&
  grep -q "needed: member 1 (.*) has to be reached again; the volume is served without it" "$tap_folder/explained" &&
  grep -q "risk: while fewer than three members are in sync" "$tap_folder/explained"
report $? "... says who is away, since when and why, what is needed, and the risk" || diagnose <"$tap_folder/explained"
require "the target comes back" start_member 1
check "... and is brought into sync" wait_until 20 volumed_said "member 1: in sync"
wait "$bench_pid"
report $? "the host's reads are verified" || diagnose <"$tap_folder/bench"
scrape() { curl --silent --show-error --max-time 10 --unix-socket "$tap_folder/metrics.sock" http://volumed/metrics; }
check "an NBD client reads a little" nbdcopy "$(uri db)" - --request-size=65536 --synchronous
expect_output "metrics count a host's I/O as that of NVMe" \
  '^tercet_volume_commands_total\{volume="db",front_end="nvme",operation="write"\} [1-9]' scrape
output_has "... with its times" '^tercet_volume_command_duration_seconds_count\{volume="db",front_end="nvme",operation="read"\} [1-9]'
output_has "... and the client's as that of NBD" \
  '^tercet_volume_commands_total\{volume="db",front_end="nbd",operation="read"\} [1-9]'
output_has "... which has written nothing" '^tercet_volume_transferred_bytes_total\{volume="db",front_end="nbd",operation="write"\} 0$'

expect_output "JSON for programs" '"phase" : "serving"' explain --json
expect_output "an export under another name" '"exportName":"other"' \
  call '{"method": "export", "params": {"name": "db", "exportName": "other"}}'
check "... is there" nbdinfo --size "$(uri other)"
check "... and is taken back" call '{"method": "unexport", "params": {"name": "other"}}'
check_fails "... so that nobody finds it" nbdinfo --size "$(uri other)"
expect_output "the volume is detached" '"result":\{"name":"db"\}' call '{"method": "detach", "params": {"name": "db"}}'
expect_output "... clean" "clean, members: in sync, in sync, in sync" volume status
joined=$(volume_members)
expect_output "... and attached again" '"phase":"serving"' \
  call "{\"method\": \"attach\", \"params\": {\"name\": \"db\", \"members\": [\"${joined//,/\", \"}\"]}}"
check "... for its clients" nbdinfo --size "$(uri db)"
check "... and its hosts" "$tercet" identify -a "$address" -s "$front" -n "$front_nqn"

# A death leaves regions that were being written. Slow members let it be seen how they are made equal.
explained() { explain --json | python3 -c "import json, sys; e = json.load(sys.stdin); print($1)"; }
expect_equal "nothing is to be made equal" "0 0" "$(explained "e['regionsToMakeEqual'], e['bytesToMakeEqual']")"
check "a client writes here and there" fio --name=w --ioengine=nbd --uri="$(uri db)" --rw=randwrite --bs=4k --size=48M \
  --io_size=2M --iodepth=32
stop_volumed KILL
export SOFTVERBS_FAULT=delay_us=20000
require "the daemon dies and is started again" start_volumed --nbd "$nbd_socket" --control "$control" --take-over \
  --volume "db=$(volume_members)"
unset SOFTVERBS_FAULT
is_uneven() { explain | tee "$tap_folder/uneven" | grep -q "needed: the members are being made equal after a death: [1-9]"; }
check "explain tells that the members are being made equal" wait_until 10 is_uneven
read -r regions bytes < <(sed -nE 's/.*death: ([0-9]+) regions \(([0-9]+) bytes\) are left/\1 \2/p' "$tap_folder/uneven")
region=$(volume status | sed -nE 's/.* regions of ([0-9]+) bytes/\1/p')
expect_equal "... how many regions and bytes are left" "$((regions * region))" "$bytes"
is_even() { [ "$(explained "e['regionsToMakeEqual'], e['bytesToMakeEqual'], e['needs']")" = "0 0 []" ]; }
check "... and in the end that nothing is needed" wait_until 30 is_even

check "SIGTERM ends it in good order" stop_volumed
check "the members are equal" members_are_equal
check "the targets end in good order" stop_members
done_testing
