#!/usr/bin/env bash
# A running target is changed, watched, drained and saved through its control socket, under load and without an I/O error.
# TARGET_CONTROL_ROUNDS: how often parts are added and removed (100).
. "$(dirname "$0")/native.sh"

rounds=${TARGET_CONTROL_ROUNDS:-100}
control=$tap_folder/control.sock
configuration=$tap_folder/tercetd.json
other=nqn.2026-11.io.tercet:other
truncate -s 64M "$tap_folder/store"
cat >"$configuration" <<JSON
{
  "subsystems": [
    { "namespaces": [ { "backing": "$tap_folder/store", "nsid": 1 } ], "nqn": "$nqn", "allowAnyHost": true }
  ],
  "reactors": 2,
  "listeners": [ { "address": "$address", "port": $port } ]
}
JSON
cp "$configuration" "$configuration.first"

start() {
  TMPDIR=$tap_folder start_tercetd --config "$configuration" --control "$control" --metrics "$tap_folder/metrics.sock"
  wait_until 20 target_listens
}
target() { timeout 60 "$tercet" target "$@" --socket "$control"; }
state() { target show --json | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["configuration"], sort_keys=True))'; }
refusal() { expect_refusal "$1" "$2" target "${@:3}"; }

require "a target with a control socket serves" start
expect_equal "the socket is for its user alone" 600 "$(stat -c %a "$control")"
# Load until it is told to end; it fails with the first I/O that does.
load() {
  until [ -e "$tap_folder/enough" ]; do
    timeout 60 "$tercet" bench -a "$address" -s "$port" -n "$nqn" --nsid 1 --verify --rw randrw --bs 4k --iodepth 16 \
      --queues 2 --size 4m --runtime 4 || return
  done
}
load >"$tap_folder/bench" 2>&1 &
load_pid=$!
at_exit "kill -KILL $load_pid"
check "hosts read and write" wait_until 20 is_written
timeout $((120 + rounds)) "$tercet" target watch --socket "$control" >"$tap_folder/events" 2>&1 &
watch_pid=$!
at_exit "kill -KILL $watch_pid"
heard() { target reload && [ -s "$tap_folder/events" ]; }
require "who watches hears what happens" wait_until 20 heard

# Each command says what it did.
expect_output "a subsystem is added" "^subsystem $other added" target add subsystem "$other" --serial S1 --allow-any-host
expect_output "a namespace is added" "namespace 1 added \(ram:1M\)" target add namespace "$other" 1 ram:1M --ana-group 2
expect_output "... which hosts see" '"nsze" *: *2048' timeout 20 "$tercet" identify -a "$address" -s "$port" -n "$other" --json
expect_output "a namespace is added to a subsystem that has hosts" "namespace 2 added" target add namespace "$nqn" 2 null:1T
expect_output "... and changed" "namespace 2 added \(null:2T\)" target set namespace "$nqn" 2 backing=null:2T
expect_output "the state of a group changes" "ANA group 2 is inaccessible" target set ana "$other" 2 inaccessible
expect_output "... and back" "ANA group 2 is optimized" target set ana "$other" 2 default
expect_output "a listener is added" "^listener 127.0.0.2:$port added" target add listener "127.0.0.2:$port"
check "... at which hosts find the target" timeout 20 "$tercet" discover -a 127.0.0.2 -s "$port"
expect_output "... and removed" "^listener 127.0.0.2:$port removed" target remove listener "127.0.0.2:$port"
expect_output "a referral is added" "^referral 192.0.2.1:4420 added" target add referral 192.0.2.1
expect_output "... which hosts see" 192.0.2.1 timeout 20 "$tercet" discover -a "$address" -s "$port"
expect_output "hosts are limited" "1 hosts may connect" target set subsystem "$other" 'hosts=["nqn.2026-11.io.tercet:h"]'
check_fails "... others are refused" timeout 20 "$tercet" identify -a "$address" -s "$port" -n "$other"
expect_output "a host is added" "2 hosts may connect" target add host "$other" nqn.2026-11.io.tercet:i
expect_output "... and removed" "1 hosts may connect" target remove host "$other" nqn.2026-11.io.tercet:i
expect_output "sizes take effect later, and it is said" "dataMemory differs; this takes effect at the next start" \
  target set settings dataMemory=128M
expect_output "the level of the log changes" "logLevel is notice" target set settings logLevel=notice
expect_output "... and back" "logLevel is info" target set settings logLevel=null

# Mistakes are told in the words of the configuration file, and change nothing.
before=$(state)
refusal "a wrong value is told" "queueDepth: 4096 is out of range; allowed: 2 to 1024" set settings queueDepth=4096
refusal "an unknown key is told" "'querySize' is unknown.*allowed: reactors, queueDepth" set settings querySize=1
refusal "a device that is not there is told" "namespace 3: /nowhere: there is no such file or device; nothing was changed" \
  add namespace "$nqn" 3 /nowhere
refusal "an address that is not ours is told" "cannot listen at 192.0.2.77.*nothing was changed" add listener 192.0.2.77
refusal "the last listener stays" "listeners: there is none; allowed: one address or more" remove listener "$address:$port"
refusal "a subsystem that is not there is told" "there is no subsystem \"x\"; there are: $nqn, $other" remove subsystem x
refusal "memory is not emptied" "is in memory and would lose its contents" set namespace "$other" 1 anaGroup=3
expect_equal "nothing has changed" "$before" "$(state)"
check_fails "no daemon is told" timeout 10 "$tercet" target list --socket "$tap_folder/none"
expect_equal "... with exit status 1" 1 "$tap_status"
check_fails "wrong usage" timeout 10 "$tercet" target add listener nowhere --socket "$control"
expect_equal "... has exit status 2" 2 "$tap_status"

# A reload answers with what it has done, when that is over.
expect_output "a reload says what it has done: what was not saved goes" "^subsystem $other removed" target reload
output_has "... all of it" "^subsystem $nqn: namespace 2 removed"
check_fails "... and it is done by then" timeout 20 "$tercet" identify -a "$address" -s "$port" -n "$other"
call '{"method": "state.reload"}' >"$tap_folder/output"
expect_equal "a reload that finds nothing to do answers so" "[]" \
  "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["result"]["done"])' "$tap_folder/output")"
cp "$configuration" "$tap_folder/kept.json"
echo '{ "listeners": 5 }' >"$configuration"
refusal "a reload of a file with a mistake answers with its place" "$configuration:1:16: listeners: a number where an array" reload
cp "$tap_folder/kept.json" "$configuration"
for part in "subsystem $other --serial S1" "namespace $other 1 ram:1M --ana-group 2" "namespace $nqn 2 null:2T" "host $other nqn.2026-11.io.tercet:h"; do
  check "a part is added again" target add $part
done

# What it does.
expect_output "the list" "^$nqn: 2 namespaces, [01] hosts, [01] controllers" target list
expect_output "its counters" "namespace 1: [1-9][0-9]* reads of [0-9]+ bytes, [1-9][0-9]* writes of .* bytes, 0 failed, 0 device" \
  target stats "$nqn"
expect_output "what it does just now" "^ +[1-9][0-9]* .* $nqn namespace 1" target top --count 1 --interval 0.5
expect_output "... and each queue" "^ +[1-9][0-9]* +[0-9]+ +[0-9]+ +[01]  $nqn controller [0-9]+ queue [1-9]" \
  target top "$nqn" --queues --count 1 --interval 0.5
output_has "... the admin queue too" "$nqn controller [0-9]+ admin queue of nqn"
# The host connects anew between two loads: the list may be empty just then.
has_queues() { target top --queues --count 1 --interval 0.5 --json >"$tap_folder/queues" && grep -q underWay "$tap_folder/queues"; }
queues_are_bounded() {
  wait_until 20 has_queues && python3 -c '
import json, sys
rows = json.load(sys.stdin)
assert all(row["underWay"] <= row["entries"] for row in rows), rows' <"$tap_folder/queues"
}
check "... with no more under way than it has entries" queues_are_bounded
check "a trace is written" test -s "$(target trace)"

# Metrics and health, by HTTP.
expect_output "it is shown where reactors run" '^reactors: 2, on processors [0-9]+( of node [0-9]+)?, [0-9]+' target show
scrape() { curl --silent --show-error --max-time 10 --unix-socket "$tap_folder/metrics.sock" "http://target/$1"; }
expect_output "reactors live" "^ok$" scrape livez
expect_output "the target is ready" "^\[\+\]listeners ok$" scrape "readyz?verbose"
expect_output "commands are counted by host" "^tercet_target_commands_total\{subsystem=\"$nqn\",host=\"nqn[^\"]*\",operation=\"write\"\} [1-9]" scrape metrics
output_has "... and by namespace" "^tercet_target_namespace_commands_total\{subsystem=\"$nqn\",nsid=\"1\",operation=\"read\"\} [1-9]"
output_has "... and by how long they took" "^tercet_target_command_duration_seconds_bucket\{.*operation=\"read\",le=\"\+Inf\"\} [1-9]"
if command -v promtool >/dev/null; then
  check "promtool finds no fault" sh -c 'promtool check metrics <"$1"' - "$tap_folder/output"
  check "... nor in the alert rules" promtool check rules "$project/Deploy/tercet-alerts.yml"
else
  skip "promtool finds no fault" "promtool is not installed (Debian's package prometheus)"
fi

# Parts come and go, round after round, on one connection; how long the calls take is measured.
cat >"$tap_folder/rounds.py" <<'PYTHON'
import json, socket, sys, time
path, metrics, nqn, port, rounds, key, folder = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), *sys.argv[6:8]
s = socket.socket(socket.AF_UNIX)
s.connect(path)
answers, times, scrapes = s.makefile(), [], []
def scrape():
    start = time.monotonic()
    http = socket.socket(socket.AF_UNIX)
    http.connect(metrics)
    http.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    text = http.makefile().read()
    scrapes.append(time.monotonic() - start)
    assert text.startswith("HTTP/1.1 200 ") and "tercet_target_commands_total" in text, text
def call(method, **parameters):
    start = time.monotonic()
    s.sendall((json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}) + "\n").encode())
    answer = json.loads(answers.readline())
    times.append((time.monotonic() - start, method))
    assert "error" not in answer, (method, answer)
    return answer["result"]
b, pool = nqn + ":b", nqn + ":pool"
for number in range(rounds):
    call("subsystem.add", nqn=b, allowAnyHost=True)
    call("namespace.add", subsystem=b, nsid=1, backing="ram:1M")
    call("subsystem.set", nqn=b, hosts=["nqn.2026-11.io.tercet:h"], maxIOQueues=None)
    call("host.add", subsystem=b, host="nqn.2026-11.io.tercet:i")
    call("subsystem.set", nqn=b, authentication={"required": False})
    call("host.set", subsystem=b, host="nqn.2026-11.io.tercet:i", key=key)
    call("host.set", subsystem=b, host="nqn.2026-11.io.tercet:i")
    # Pools are written to the disk: some of the rounds have one.
    if number % 10 == 0:
        call("subsystem.add", nqn=pool, allowAnyHost=True, pool={"folder": folder, "capacity": "64M"})
        call("pool.create", subsystem=pool, size=4 << 20, isAttached=True)
        call("pool.grow", subsystem=pool, nsid=1, size=8 << 20)
        call("pool.detach", subsystem=pool, nsid=1)
        call("pool.attach", subsystem=pool, nsid=1)
        call("pool.delete", subsystem=pool, nsid=1)
        call("subsystem.remove", nqn=pool)
    call("namespace.add", subsystem=nqn, nsid=9, backing="null:1G")
    call("namespace.set", subsystem=nqn, nsid=9, readOnly=None, anaGroup=5)
    call("ana.set", subsystem=nqn, group=5, state="nonOptimized")
    call("listener.add", address="127.0.0.3", port=port)
    call("referral.add", address="192.0.2.2")
    call("settings.set", queueDepth=64, inCapsuleDataSize=8192, keepAlive={"maxMilliseconds": 60000})
    call("state.get")
    call("statistics.get")
    scrape()
    call("settings.set", queueDepth=None, inCapsuleDataSize=None, keepAlive=None)
    call("referral.remove", address="192.0.2.2")
    call("listener.remove", address="127.0.0.3", port=port)
    call("ana.clear", subsystem=nqn, group=5)
    call("namespace.remove", subsystem=nqn, nsid=9)
    call("host.remove", subsystem=b, host="nqn.2026-11.io.tercet:i")
    call("subsystem.remove", nqn=b)
def percentile(seconds, fraction): return sorted(seconds)[int(len(seconds) * fraction)] * 1000
looks = [t for t, method in times if method in ("state.get", "statistics.get")]
for name, seconds in (("calls", [t for t, _ in times]), ("looks", looks), ("scrapes", scrapes)):
    print(f"{len(seconds)} {name}, 99 % within {percentile(seconds, 0.99):.1f} ms")
PYTHON
before=$(state)
mkdir "$tap_folder/pool"
require "a key is made" "$tercet" key make --output "$tap_folder/key"
expect_output "$rounds rounds of parts that come and go" "^$((rounds * 22 + (rounds + 9) / 10 * 7)) calls" \
  timeout 1200 python3 "$tap_folder/rounds.py" "$control" "$tap_folder/metrics.sock" "$nqn" "$port" "$rounds" \
  "$(<"$tap_folder/key")" "$tap_folder/pool"
diagnose <"$tap_folder/output"
expect_equal "nothing is left of them" "$before" "$(state)"

# Two that change at once: one after the other, and both have an effect.
two_at_once() {
  local a b
  target add host "$other" nqn.2026-11.io.tercet:j & a=$!
  target add referral 192.0.2.3 & b=$!
  wait "$a" && wait "$b"
}
check "two changes at once" two_at_once
expect_output "... both are there" '192.0.2.3.*tercet:j|tercet:j.*192.0.2.3' state

# The configuration is written as it was, with what has changed; after a crash the target is what it was.
expect_output "the configuration is saved" "^saved to $configuration$" target save
expect_equal "what was not changed keeps its order" "subsystems namespaces backing nsid nsid backing nqn allowAnyHost" \
  "$(sed -n '/"subsystems"/,/allowAnyHost/p' "$configuration" | grep -o '"[a-zA-Z]*":' | tr -d '":' | head -8 | paste -sd ' ')"
check "its state is that of the file" grep -q '"isSaved" : true' <(target show --json)
before=$(state)
echo >>"$configuration"
refusal "a file that somebody else has changed is not overwritten" "has been changed since it was read" save
expect_output "... another one is written" "^saved to $tap_folder/copy.json" target save --to "$tap_folder/copy.json"
# What is no file is not replaced by one; a link stays, and its file is written, with the mode that it has.
if mknod "$tap_folder/device" c 1 3 2>"$tap_folder/output"; then
  refusal "a device is not written to" "$tap_folder/device: is there and no file" save --to "$tap_folder/device"
  check "... and stays one" test -c "$tap_folder/device"
else
  skip "a device is not written to" "no device can be made here"
fi
mkdir "$tap_folder/elsewhere"
touch "$tap_folder/elsewhere/file"
chmod 640 "$tap_folder/elsewhere/file"
ln -s elsewhere/file "$tap_folder/link"
expect_output "where a link leads is written" "^saved to $tap_folder/elsewhere/file$" target save --to "$tap_folder/link"
check "... the link stays" test -L "$tap_folder/link"
check "... its file has the configuration" cmp "$tap_folder/copy.json" "$tap_folder/elsewhere/file"
expect_equal "... and its mode" 640 "$(stat -c %a "$tap_folder/elsewhere/file")"
ln -s elsewhere/none "$tap_folder/dangling"
refusal "a link that leads nowhere is not written" "is a link to something that is not there" save --to "$tap_folder/dangling"
check "... and stays" test -L "$tap_folder/dangling"

# Hosts go to other paths, and come back; the load waits meanwhile.
check "the target is drained" target drain --seconds 20
check "a drained target says so" grep -q "drained" <(target list)
check "hosts come back" target drain --back
check "... and the load goes on" wait_until 20 sh -c "! '$tercet' target top $nqn --count 1 --interval 0.5 --socket '$control' | grep -q '^ *0 *0 .*namespace 1'"
touch "$tap_folder/enough"
wait "$load_pid"
expect_equal "no I/O has failed, and all data is right" 0 "$?"
tail -n 3 "$tap_folder/bench" | diagnose
check "who watches has heard of all that" grep -q "control: subsystem $other added" "$tap_folder/events"

stop_tercetd KILL
wait "$watch_pid"
expect_equal "who watches notices the end" 0 "$?"
require "killed and started again" start
expect_equal "... it is the same" "$before" "$(state)"
check "it is told to stop" target shutdown
check "... and stops" wait_until 20 tercetd_has_ended
check_fails "its socket is gone" test -e "$control"
tercetd_pid=

done_testing
