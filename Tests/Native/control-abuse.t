#!/usr/bin/env bash
# Clients of both control sockets that do not behave: each is told what is allowed, or loses its connection; clients that do behave,
# hosts' I/O and the memory of the daemon notice nothing. Two changes at once are one after the other.
. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

target_control=$tap_folder/target.sock volume_control=$tap_folder/volumed.sock
require "target 0 starts, with a control socket" start_member 0 --control "$target_control"
for number in 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
require "the daemon serves it" start_volumed --nbd "$nbd_socket" --control "$volume_control" --volume "db=$(volume_members)"
fio --name=v --ioengine=nbd --uri="$(uri db)" --rw=randrw --bs=4k --size=16M --io_size=1T --iodepth=4 --rate_iops=500 \
  --verify=crc32c --verify_state_save=0 --verify_backlog=256 --verify_fatal=1 --time_based --runtime=600 >"$tap_folder/fio" 2>&1 &
fio_pid=$!
at_exit 'kill -KILL $fio_pid'
require "hosts read and write" wait_until 20 volumed_said "session began"

cat >"$tap_folder/abuse.py" <<'PYTHON'
import json, os, socket, sys, threading, time
path, process = sys.argv[1], int(sys.argv[2])
look, wrong = ("state.get", ("namespace.add", {"subsystem": sys.argv[3], "nsid": "x", "backing": "ram:1M"})) if sys.argv[3].startswith("nqn.") else (
    "list", ("attach", {"name": "x", "members": "none"}))
told, lock = {}, threading.Lock()

def tell(name, text):
    with lock: told[name] = text

def connect():
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(path)
    return client

def end(client):
    """What comes until the connection ends."""
    answer = b""
    while True:
        try: part = client.recv(65536)
        except ConnectionResetError: part = b""
        if not part: return answer.decode()
        answer += part

def line(name, bytes):
    client = connect()
    # A line that is too long is answered before its end.
    try: client.sendall(bytes + b"\n")
    except (BrokenPipeError, ConnectionResetError): pass
    tell(name, client.makefile().readline().strip())

def request(method, params, version="2.0"):
    return json.dumps({"jsonrpc": version, "id": 1, "method": method, "params": params}).encode()

def endless(name):
    client, sent = connect(), 0
    try:
        while True: sent += client.send(b"x" * 65536)
    except (BrokenPipeError, ConnectionResetError): pass
    try: said = end(client)
    except OSError: said = ""
    assert sent < 16 << 20, sent
    tell(name, said.strip() + " ended")

def half(name):
    client, start = connect(), time.monotonic()
    client.sendall(request(look, {})[:20])
    said = end(client)
    tell(name, f"{said}ended in time" if time.monotonic() - start < 30 else "ended late")

def drip(name):
    """A byte each half second never is a request."""
    client, start = connect(), time.monotonic()
    client.settimeout(0.5)
    while time.monotonic() - start < 40:
        try: client.send(b" ")
        except (BrokenPipeError, ConnectionResetError): return tell(name, "ended")
        try:
            if not client.recv(1): return tell(name, "ended")
        except TimeoutError: pass
    tell(name, "goes on")

def unread(name):
    client, text = connect(), request(look, {}) + b"\n"
    client.settimeout(None)
    try:
        while True: client.sendall(text * 64)
    except (BrokenPipeError, ConnectionResetError): tell(name, "ended")

def memory():
    with open(f"/proc/{process}/status") as status:
        return next(int(row.split()[1]) for row in status if row.startswith("VmRSS"))

def well_behaved():
    """Asks again and again, on connections of its own."""
    while not enough.is_set():
        start = time.monotonic()
        client = connect()
        try:
            client.sendall(request(look, {}) + b"\n")
            answer = client.makefile().readline()
        except (BrokenPipeError, ConnectionResetError): answer = ""
        client.close()
        # All places were taken by others before it had asked.
        if not answer: continue
        assert "result" in json.loads(answer), answer
        times.append(time.monotonic() - start)
        time.sleep(0.02)

cases = [
    (line, "broken", b'{"jsonrpc"'), (line, "garbage", os.urandom(60000).replace(b"\n", b"x")), (line, "not UTF-8", b'{"jsonrpc":"\xff\xfe"}'),
    (line, "NUL", request(look, {}).replace(b"params", b"par\0ms")), (line, "deep", b"[" * 500_000),
    (line, "deep parameters", request(look, {}).replace(b"{}", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    (line, "version", request(look, {}, "1.0")), (line, "batch", b"[" + request(look, {}) + b"]"), (line, "number", b"1e999999"),
    (line, "unknown", request("nonsense", {})), (line, "type", request(*wrong)),
    (line, "long name", request("x" * 200_000, {})), (line, "long", request(look, {"a": "x" * (2 << 20)})),
    (endless, "endless"), (half, "half"), (drip, "drip"), (unread, "unread"),
]
enough, times = threading.Event(), []
friend = threading.Thread(target=well_behaved)
friend.start()
before = memory()
threads = [threading.Thread(target=case[0], args=case[1:]) for case in cases]
idle = [connect() for _ in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
enough.set()
friend.join()
for name, text in sorted(told.items()): print(f"{name}: {text[:500]}")
print(f"grown by {(memory() - before) >> 10} MiB")
print(f"others: {len(times)} calls, the longest {max(times) * 1000:.0f} ms", file=sys.stderr)
assert len(told) == len(cases), [case[1] for case in cases if case[1] not in told]
PYTHON

# abused DAEMON SOCKET PROCESS ALLOWED NAME: plays them against a daemon; ALLOWED is among its methods, NAME is a subsystem that it has.
abused() {
  expect_output "$1: one that sends no JSON is told" '^broken: .*"code":-32700,"message":"this is no JSON"' \
    timeout 120 python3 "$tap_folder/abuse.py" "$2" "$3" "${@:5}"
  local name
  for name in garbage "not UTF-8" NUL deep "deep parameters" number; do output_has "... and with $name" "^$name: .*\"code\":-32(700|600)"; done
  for name in version batch; do
    output_has "... and what a request is: $name" "^$name: .*\"code\":-32600,\"message\":\"this is no request of JSON-RPC 2.0: "
  done
  output_has "... and which methods there are" "^unknown: .*\"code\":-32601,\"message\":\"there is no method 'nonsense'; there are .*$4"
  output_has "... and which parameter is wrong" "^type: .*\"message\":\"[^\"]*(nsid|'members' has a wrong type)"
  output_has "... and how long a line may be" "^long: .*\"message\":\"a request has at most [0-9]+ bytes"
  output_has "a request without end ends" "^endless: .*ended$"
  output_has "... so does half of one" "^half: ended in time$"
  output_has "... so does one that never comes to its end" "^drip: ended$"
  output_has "a client that reads no answers loses its connection" "^unread: ended$"
  output_has "the daemon has not grown by more than 100 MiB" "^grown by -?[0-9]{1,2} MiB$"
  cut -c 1-120 "$tap_folder/output" | diagnose
}
abused tercetd "$target_control" "${target_pids[0]}" namespace.add "$nqn.0"
abused tercet-volumed "$volume_control" "$volumed_pid" attach volumes

# Two changes at once.
twice() {
  local first second
  "$tercet" target add referral 192.0.2.9 --socket "$target_control" >"$tap_folder/one" 2>&1 & first=$!
  "$tercet" target add referral 192.0.2.9 --socket "$target_control" >"$tap_folder/two" 2>&1 & second=$!
  wait "$first"; wait "$second"
  cat "$tap_folder/one" "$tap_folder/two"
}
expect_output "of two clients that add the same thing, one does" "^referral 192.0.2.9:4420 added" twice
output_has "... and the other is told that it is there" "192.0.2.9:4420 (is there twice|.*already)"
expect_equal "... it is there once" 1 "$("$tercet" target show --json --socket "$target_control" | grep -c '"192.0.2.9"')"
attach_twice() {
  local first second
  local member=127.0.0.1:1/nqn.2026-11.io.tercet:away
  local request="{\"method\": \"attach\", \"params\": {\"name\": \"again\", \"members\": [\"$member.a/1\", \"$member.b/1\", \"$member.c/1\"]}}"
  call "$request" >"$tap_folder/one" 2>&1 & first=$!
  call "$request" >"$tap_folder/two" 2>&1 & second=$!
  wait "$first"; wait "$second"
  cat "$tap_folder/one" "$tap_folder/two"
}
control=$volume_control
expect_output "of two clients that attach one volume, one tries" "no member can be read" attach_twice
output_has "... and the other is told that it is there" 'there is \\"again\\" already'
expect_equal "... and nothing is left of what failed" "db" "$("$tercet" volume list --socket "$volume_control" | sed 's/:.*//' | paste -sd ' ')"

kill -INT "$fio_pid"
wait "$fio_pid"
grep -q 'err= 0' "$tap_folder/fio" && ! grep -qE 'error=|verify:|bad (magic|header)' "$tap_folder/fio"
report $? "hosts have noticed nothing, and verified what they read" || diagnose <"$tap_folder/fio"
check "SIGTERM ends the daemon in good order" stop_volumed
done_testing
