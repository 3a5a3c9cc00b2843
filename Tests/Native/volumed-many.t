#!/usr/bin/env bash
# Many volumes in one daemon on one reactor, VOLUMES of them (64): all attach, in turns, and serve. One more, and one whose targets are
# away, keep nobody waiting. What the idle daemon uses is told, over IDLE_SECONDS (2) from SETTLE_SECONDS (1) on; what was written has
# been flushed, and its intents cleared, after some 4.

. "$(dirname "$0")/native.sh"
. "$(dirname "$0")/volumed.sh"

volumes=${VOLUMES:-64}
patience=$((10 + volumes / 4))
control=$tap_folder/control.sock
target_pids=()
at_exit '[ ${#target_pids[@]} -eq 0 ] || kill -KILL "${target_pids[@]}"'

# Each volume is a host of its own at the one subsystem of each target.
python3 - "$volumes" "$port" "$tap_folder" "$nbd_socket" "$control" <<'PYTHON'
import json, sys
count, port, folder, nbd, control = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
def member(target, volume):
    return f"127.0.0.1:{port + target}/nqn.2026-11.io.tercet:m{target}/{volume + 1}"
def volume(number, port_offset=0):
    members = [member(target + port_offset, number) for target in range(3)]
    return {"name": f"v{number + 1}", "members": members}
for target in range(3):
    namespaces = [{"nsid": volume + 1, "backing": "ram:2M"} for volume in range(count + 1)]
    subsystems = [{"nqn": f"nqn.2026-11.io.tercet:m{target}", "allowAnyHost": True, "namespaces": namespaces}]
    json.dump({"reactors": 1, "listeners": [{"address": "127.0.0.1", "port": port + target}], "subsystems": subsystems},
              open(f"{folder}/target{target}.json", "w"))
away = {"name": "away", "members": [f"127.0.0.1:{port + 9}/nqn.2026-11.io.tercet:away.{target}/1" for target in range(3)]}
entries = [away] + [volume(number) for number in range(count)]
json.dump({"reactors": 1, "nbd": {"socket": nbd}, "controlSocket": control, "volumes": entries}, open(f"{folder}/volumed.json", "w"))
with open(f"{folder}/members", "w") as out:
    for number in range(count + 1):
        print(*[f"--member {text}" for text in volume(number)["members"]], file=out)
PYTHON

for number in 0 1 2; do
  "$tercetd" --config "$tap_folder/target$number.json" >"$tap_folder/target$number.log" 2>&1 </dev/null &
  target_pids+=($!)
done
for number in 0 1 2; do
  require "target $number starts" wait_until 20 "$tercet" discover -a "$address" -s $((port + number))
done
# create_all: makes a volume of each line of members.
create_all() {
  local members
  while read -ra members; do "$tercet" volume create "${members[@]}" --region-size 64k >/dev/null </dev/null || return; done <"$tap_folder/members"
}
require "$((volumes + 1)) volumes are created" create_all

attached() { grep -c "notice: volume attached" "$volumed_log"; }
all_attached() { [ "$(attached)" -ge "$1" ]; }
: >"$volumed_log"
"$volumed" --config "$tap_folder/volumed.json" >>"$volumed_log" 2>&1 </dev/null &
volumed_pid=$!
waits() { "$tercet" volume explain "v$volumes" --socket "$control" | grep -E "waits for its turn to be attached; before it: [0-9]"; }
check "one that waits says so" wait_until 5 waits
require "all $volumes attach" wait_until "$patience" all_attached "$volumes"
require "the daemon serves" wait_until 5 volumed_serves
check "the one whose targets are away is named, and tried again" volumed_said "cannot be attached; it is tried again.*volume=away"
expect_equal "nothing was refused for want of room" 0 \
  "$(grep -cE "no room|another control|more than [0-9]+ (connections|queue pairs)" "$volumed_log")"
grep "notice: volume attached" "$volumed_log" | sed 's/.*milliseconds=\([0-9]*\).*/\1/' | awk '
  {all[NR] = $1; if ($1 > most) most = $1}
  END {printf "attached in, in ms: first %d, last %d, longest %d\n", all[1], all[NR], most}' | diagnose

cat >"$tap_folder/all.py" <<'PYTHON'
# Writes to each volume what no other has, and reads it back.
import nbd, sys
uri, count = sys.argv[1], int(sys.argv[2])
def session(number):
    h = nbd.NBD()
    h.connect_uri(uri.replace("NAME", f"v{number}"))
    return h
for number in range(1, count + 1):
    h = session(number)
    h.pwrite(number.to_bytes(8, "big") * 512, 4096)
    h.shutdown()
for number in range(1, count + 1):
    h = session(number)
    assert h.pread(4096, 4096) == number.to_bytes(8, "big") * 512, number
    h.shutdown()
print("each has its own")
PYTHON
expect_output "all are served" "each has its own" /usr/bin/python3 "$tap_folder/all.py" "$(uri NAME)" "$volumes"

last=$(sed 's/--member /"/; s/ --member /", "/g; s/$/"/' "$tap_folder/members" | tail -1)
expect_output "one more is attached while one waits" '"phase":"serving"' \
  call '{"method": "attach", "params": {"name": "more", "members": ['"$last"']}}'
expect_output "the one that waits is taken back" '"result"' call '{"method": "detach", "params": {"name": "away"}}'
expect_output "... and gone" 'there is no volume' call '{"method": "explain", "params": {"name": "away"}}'

# processor: nanoseconds that the daemon's threads have had, a line for each with its name.
processor() { for task in /proc/"$volumed_pid"/task/*; do echo "${task##*/} $(cut -d ' ' -f 1 "$task/schedstat") $(<"$task/comm")"; done; }
sleep "${SETTLE_SECONDS:-1}"
processor >"$tap_folder/before"
sleep "${IDLE_SECONDS:-2}"
processor >"$tap_folder/after"
awk -v seconds="${IDLE_SECONDS:-2}" '
  NR == FNR {before[$1] = $2; next}
  {used = ($2 - before[$1]) / seconds / 1e7; all += used; $1 = $2 = ""; own[$0] += used}
  END {printf "idle, in percent of a processor: %.2f", all; for (name in own) printf ", %s %.2f", name, own[name]; print ""}' \
  "$tap_folder/before" "$tap_folder/after" | diagnose
check "SIGTERM detaches them all" stop_volumed
expect_output "... each" "^$((volumes + 1))\$" grep -c "notice: volume detached" "$volumed_log"
kill "${target_pids[@]}"
wait "${target_pids[@]}"
report $? "the targets end in good order"
target_pids=()
done_testing
