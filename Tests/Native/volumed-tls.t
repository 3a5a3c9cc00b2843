#!/usr/bin/env bash
# NBD over TCP: TLS with keys that both sides know, by clients of GnuTLS; wrong keys, none, halves of handshakes, and none of it.

. "$(dirname "$0")/native.sh"
. "$(dirname "$0")/volumed.sh"

keys=$tap_folder/keys.psk
wrong=$tap_folder/wrong
mkdir "$wrong"
# add_key FILE USER
add_key() {
  if command -v psktool >/dev/null; then psktool -u "$2" -p "$1" >/dev/null 2>&1; else
    echo "$2:$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" >>"$1"; fi
}
for user in alice bob; do add_key "$keys" "$user"; done
for user in alice mallory; do add_key "$wrong/keys.psk" "$user"; done
chmod 600 "$keys" "$wrong/keys.psk"

expect_refusal "TCP without keys is refused" "clients over TCP need keys: --nbd-keys FILE" \
  "$volumed" --nbd "tcp://$address:$port" --device ram:1M
expect_refusal "keys and none contradict each other" "contradict each other" \
  "$volumed" --nbd "tcp://$address:$port" --nbd-keys "$keys" --nbd-insecure --device ram:1M
expect_refusal "what is no address is refused" "is no address" \
  "$volumed" --nbd "tcp://here" --nbd-keys "$keys" --device ram:1M
chmod 644 "$keys"
expect_refusal "keys that others may read are refused" "chmod 600 or 640" \
  "$volumed" --nbd "tcp://$address:$port" --nbd-keys "$keys" --device ram:1M
chmod 600 "$keys"

require "it serves with keys, and at a Unix socket beside" start_volumed --nbd "tcp://$address:$port" --nbd "$nbd_socket" \
  --nbd-keys "$keys" --device disk=ram:64M --client-patience 1500
# tls USER [KEYS]: where the export is for a user.
tls() { echo "nbds://$1@$address:$port/disk?tls-psk-file=${2:-$keys}"; }

expect_output "nbdinfo with a key" "^67108864\$" nbdinfo --size "$(tls alice)"
expect_output "... which tells of TLS" "protocol: newstyle-fixed with TLS" nbdinfo "$(tls bob)"
head -c 67108864 /dev/urandom >"$tap_folder/image"
check "nbdcopy in, by several connections" nbdcopy --flush "$tap_folder/image" "$(tls alice)"
check "nbdcopy out" nbdcopy "$(tls bob)" "$tap_folder/back"
check "... and all is there" cmp "$tap_folder/image" "$tap_folder/back"
check "... as at the Unix socket" nbdcopy "$(uri disk)" "$tap_folder/back"
check "... which is the same" cmp "$tap_folder/image" "$tap_folder/back"

# qemu FOLDER USER: qemu-img compare with the image, with the keys of a folder.
qemu() {
  qemu-img compare --object "tls-creds-psk,id=tls0,dir=$1,endpoint=client,username=$2" --image-opts \
    "driver=nbd,host=$address,port=$port,export=disk,tls-creds=tls0" "driver=raw,file.driver=file,file.filename=$tap_folder/image"
}
expect_output "qemu-img with a key" "Images are identical" qemu "$tap_folder" alice
printf '[overrides]\ndisabled-version = tls1.3\n' >"$tap_folder/tls12"
expect_output "nbdinfo in TLS 1.2" "^67108864\$" env GNUTLS_SYSTEM_PRIORITY_FILE="$tap_folder/tls12" nbdinfo --size "$(tls alice)"
printf '[overrides]\ndisabled-version = tls1.3\ndisabled-version = tls1.2\n' >"$tap_folder/tls11"
check_fails "... and not in TLS 1.1" env GNUTLS_SYSTEM_PRIORITY_FILE="$tap_folder/tls11" nbdinfo --size "$(tls alice)"

for try in first second third; do
  check_fails "a wrong key gets nothing, for the $try time" nbdinfo --size "$(tls alice "$wrong/keys.psk")"
done
check "... which is logged with the peer's address and the reason" wait_until 5 volumed_said \
  "NBD client refused .*peer=\"?$address:[0-9]+.*key for the user alice"
expect_equal "... once" 1 "$(grep -c 'NBD client refused.*key for the user' "$volumed_log")"
check_fails "a user that is not known gets nothing" nbdinfo --size "$(tls mallory "$wrong/keys.psk")"
check_fails "qemu-img with a wrong key gets nothing" qemu "$wrong" alice
check_fails "nbdinfo without TLS gets nothing" nbdinfo --size "nbd://$address:$port/disk"
check_fails "... and no list" nbdinfo --list "nbd://$address:$port"
check_fails "qemu-img without TLS gets nothing" qemu-img info "nbd://$address:$port/disk"

cat >"$tap_folder/half.py" <<'PYTHON'
import os, socket, sys, time
address, port = sys.argv[1], int(sys.argv[2])
option = lambda number, data=b"": b"IHAVEOPT" + number.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data
flags = bytes([0, 0, 0, 3])
begins = {
    "nothing": b"", "half of the flags": flags[:2], "an option without its data": flags + option(7, bytes(64))[:40],
    "TLS and no more": flags + option(5), "more behind NBD_OPT_STARTTLS": flags + option(5) + bytes([22, 3, 1]),
    "noise": os.urandom(4096), "an export without TLS": flags + option(1, b"disk"),
    "options without end": flags + option(3) * 10000,
}
clients = {}
for name, begin in begins.items():
    clients[name] = socket.create_connection((address, port))
    try: clients[name].sendall(begin)
    except OSError: pass
noise = socket.create_connection((address, port))
noise.sendall(flags + option(5))
time.sleep(0.2)
noise.sendall(os.urandom(1000))
clients["noise in place of TLS"] = noise
start = time.monotonic()
for name, client in clients.items():
    client.settimeout(8)
    try:
        while client.recv(65536): pass
    except ConnectionError: pass
    print(f"{name}: closed")
print("in time" if time.monotonic() - start < 5 else "late")
PYTHON
python3 "$tap_folder/half.py" "$address" "$port" >"$tap_folder/halves" 2>&1 &
halves=$!
expect_output "beside halves of handshakes others are served" "^67108864\$" nbdinfo --size "$(tls alice)"
wait "$halves"
expect_equal "halves of handshakes end" 9 "$(grep -c ': closed' "$tap_folder/halves")"
check "... in time" grep -q "^in time" "$tap_folder/halves"

/usr/bin/python3 - "$keys" "$address" "$port" >"$tap_folder/held" 2>&1 <<'PYTHON' &
import nbd, sys, time
h = nbd.NBD()
h.set_tls(nbd.TLS_REQUIRE)
h.set_tls_username("alice")
h.set_tls_psk_file(sys.argv[1])
h.set_export_name("disk")
h.connect_tcp(sys.argv[2], sys.argv[3])
h.pwrite(b"held" + bytes(508), 0)
print("held", flush=True)
time.sleep(30)
PYTHON
client=$!
at_exit "kill -KILL $client 2>/dev/null"
check "a client holds a connection" wait_until 10 grep -q held "$tap_folder/held"
! grep -qiE "$(cut -d: -f2 "$keys" "$wrong/keys.psk" | paste -sd '|')" "$volumed_log"
report $? "nothing of a key is in the log"
check "the daemon ends in good order, with a client" stop_volumed
kill -KILL "$client"

require "it serves without TLS where that is asked for" start_volumed --nbd "tcp://$address:$port" --nbd-insecure --device disk=ram:64M
check "... and says so" volumed_said "warning: NBD clients over TCP are served without TLS"
expect_output "nbdinfo without TLS" "^67108864\$" nbdinfo --size "nbd://$address:$port/disk"
check "fio, verified" fio --name=v --ioengine=nbd --uri="nbd://$address:$port/disk" --rw=randwrite --bs=4k-64k --size=16M \
  --iodepth=8 --verify=crc32c --verify_state_save=0
check "the daemon ends in good order" stop_volumed
done_testing
