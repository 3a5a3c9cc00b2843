#!/usr/bin/env bash
# A service manager starts the volume daemon anew under a client's load (systemctl restart): what clients hold waits in the manager's
# descriptor store (sd_notify(3)). A script stands in the manager's place.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

rounds=${ROUNDS:-3}
for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create

# SIGHUP starts the daemon anew, SIGTERM ends it. `told` has what the daemon says, and how many descriptors it left.
cat >"$tap_folder/manager.py" <<'PYTHON'
import array, os, signal, socket, sys, time
folder, command = sys.argv[1], sys.argv[2:]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(f"{folder}/notify")
store, wanted = [], []
for s in (signal.SIGHUP, signal.SIGTERM): signal.signal(s, lambda number, frame: wanted.append(number))
def tell(text):
    with open(f"{folder}/told", "a") as told: told.write(text + "\n")
def hear():
    """A message of the daemon's, if there is one within a moment."""
    notify.settimeout(0.05)
    try: data, ancillary, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(64))
    except TimeoutError: return
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS): descriptors.frombytes(content)
    said = dict(line.split("=", 1) for line in data.decode().splitlines())
    if "WATCHDOG" not in said: tell(" ".join(data.decode().split()))
    if "FDSTORE" in said:
        store.extend((said["FDNAME"], d) for d in descriptors)
        return
    if "FDSTOREREMOVE" in said:
        for entry in [e for e in store if e[0] == said["FDNAME"]]:
            os.close(entry[1]); store.remove(entry)
    # A barrier ends when its descriptor is closed.
    for d in descriptors: os.close(d)
def start():
    child = os.fork()
    if child: return child
    held = [os.dup2(d, 100 + place) for place, (_, d) in enumerate(store)]
    for place, d in enumerate(held): os.dup2(d, 3 + place)
    os.closerange(3 + len(store), 1024)
    environment = dict(os.environ, NOTIFY_SOCKET=f"{folder}/notify", FDSTORE="64")
    if store:
        environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(store)),
                        "LISTEN_FDNAMES": ":".join(name for name, _ in store)}
    os.execve(command[0], command, environment)
def stop(child):
    os.kill(child, signal.SIGTERM)
    while True:
        hear()
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended: break
    tell(f"ended {os.waitstatus_to_exitcode(status)}, {len(store)} left")
child = start()
while True:
    hear()
    if not wanted: continue
    stop(child)
    if wanted.pop() == signal.SIGTERM: break
    child = start()
PYTHON
/usr/bin/python3 "$tap_folder/manager.py" "$tap_folder" $volumed --nbd "$nbd_socket" --control none \
  --volume "db=$(volume_members)" >"$volumed_log" 2>&1 &
manager=$!
at_exit "kill -KILL $manager; pkill -KILL -P $manager"
served() { [ "$(grep -c '^READY=1' "$tap_folder/told")" -ge "$1" ]; }
require "the daemon serves" wait_until 30 served 1

fio --name=v --ioengine=nbd --uri="$(uri db)" --rw=randrw --bs=4k-64k --size=24M --io_size=1T --iodepth=8 \
  --verify=crc32c --verify_state_save=0 --verify_backlog=256 --verify_fatal=1 --time_based --runtime=7200 >"$tap_folder/fio.out" 2>&1 &
fio_pid=$!
at_exit 'kill -KILL $fio_pid'
has_two_sessions() { [ "$(grep -c "session began" "$volumed_log")" -ge 2 ]; }
require "fio runs" wait_until 10 has_two_sessions

taken_over() { [ "$(grep -c 'taken over from the former daemon lost=0 .*sessions=1' "$volumed_log")" -ge "$1" ]; }
anew() { kill -HUP "$manager" && wait_until 30 served "$((round + 1))" && wait_until 10 taken_over "$round" && kill -0 "$fio_pid"; }
for ((round = 1; round <= rounds; round++)); do
  require "$round: it is started anew, and goes on with its client" anew
  sleep 0.3
done
expect_equal "it ended in good order each time" "$rounds" "$(grep -c '^ended 0, [2-9] left$' "$tap_folder/told")"
grep -o 'pauseMilliseconds=[0-9]*' "$volumed_log" | diagnose
# How long a pause is depends on the machine: a benchmark tells. This one is for pauses that only a deadline ends.
expect_at_most "no pause lasts until a deadline" 10000 "$(grep -o 'pauseMilliseconds=[0-9]*' "$volumed_log" | cut -d= -f2 | sort -n | tail -1)"
check "new clients find it at the same socket" nbdinfo --size "$(uri db)"
kill -INT "$fio_pid"
wait "$fio_pid"
grep -q 'err= 0' "$tap_folder/fio.out" && ! grep -qE 'error=|verify:|bad (magic|header)' "$tap_folder/fio.out"
report $? "fio has noticed nothing, and verified every read" || diagnose <"$tap_folder/fio.out"
expect_output "a daemon that has taken everything leaves nothing behind in the store" "FDSTOREREMOVE=1 FDNAME=clients" tail -n 30 "$tap_folder/told"
kill -TERM "$manager"
wait "$manager"
report $? "it ends"
check "the members are equal" members_are_equal
check "the targets end in good order" stop_members
done_testing
