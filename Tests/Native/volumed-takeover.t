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
  start_volumed --nbd "$nbd_socket" --nvme "$address:$front" --control "$control" --metrics "$address:$((port + 30))" \
    --volume "db=$(volume_members)" "$@"
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
# How long a pause is depends on the machine: a benchmark tells. This one is for pauses that only a deadline ends.
expect_at_most "no pause lasts until a deadline" 10000 "$(sort -n "$tap_folder/pauses" | tail -1)"
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
expect_output "... which answers for metrics" '^tercet_volume_sessions\{' curl --silent --max-time 20 "http://$address:$((port + 30))/metrics"

# A TCP listener goes to the next daemon as it is: a client that knocks meanwhile waits, and is not refused.
keys=$tap_folder/keys.psk
echo "alice:$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" >"$keys"
chmod 600 "$keys"
tls_port=$((port + 20))
tls=nbds://alice@$address:$tls_port/db?tls-psk-file=$keys
# listener: the kernel's number of the socket that listens at the port.
listener() { awk -v port="$(printf ':%04X' "$tls_port")" '$4 == "0A" && $2 ~ port "$" {print $10}' /proc/net/tcp; }
require "the next daemon listens at a TCP port besides" serve --take-over-from "$control" --nbd "tcp://$address:$tls_port" \
  --nbd-keys "$keys"
expect_output "... with TLS" "protocol: newstyle-fixed with TLS" nbdinfo "$tls"
number=$(listener)
/usr/bin/python3 - "$tls" "$address" "$tls_port" "$tap_folder" >"$tap_folder/knocks" 2>&1 <<'PYTHON' &
# Holds a session, and knocks at the port all the time, until it is told to stop; comes again once its session has ended.
import nbd, os, socket, sys
uri, address, port, folder = sys.argv[1:]
def session():
    h = nbd.NBD()
    h.set_uri_allow_local_file(True)
    h.connect_uri(uri)
    return h
h = session()
h.pwrite(b"before" + bytes(506), 0)
print("holds a session", flush=True)
knocks = greeted = 0
while not os.path.exists(f"{folder}/enough"):
    # A knock that is refused, or gets no answer in time, ends this. One that the former daemon has let in ends with it.
    with socket.create_connection((address, int(port)), 5) as s:
        try: greeted += s.recv(8) == b"NBDMAGIC"
        except ConnectionResetError: pass
    knocks += 1
assert knocks - greeted <= 1, (knocks, greeted)
try: h.pread(512, 0); print("the session goes on")
except nbd.Error: print("the session has ended")
assert session().pread(512, 0)[:6] == b"before"
print("all there", flush=True)
PYTHON
knocker=$!
at_exit 'kill -KILL $knocker'
require "a client holds a session, and knocks" wait_until 10 grep -q "holds a session" "$tap_folder/knocks"
serve_there() { former=$volumed_pid && serve --take-over-from "$control" "$@" && wait "$former"; }
require "another one takes over" serve_there --nbd "tcp://$address:$tls_port" --nbd-keys "$keys"
expect_equal "... the same socket" "$number" "$(listener)"
touch "$tap_folder/enough"
wait "$knocker"
report $? "who knocked came in at last, and the session of TLS was made anew" || diagnose <"$tap_folder/knocks"
grep -q "the session has ended" "$tap_folder/knocks"
report $? "... for no other process can go on with it"
require "one that is to serve no TCP takes over" serve_there
check "... says so" volumed_said "former daemon's address is not served any more .*tcp://$address:$tls_port"
expect_equal "... and listens there no more" "" "$(listener)"
check "... but at the Unix socket" nbdinfo --size "$(uri db)"
check "SIGTERM ends it" stop_volumed
[ ! -e "$nbd_socket" ]
report $? "... and the socket is gone"
check "the members are equal" members_are_equal
expect_output "status says clean" "clean, members: in sync, in sync, in sync" volume status
check "the targets end in good order" stop_members
done_testing
