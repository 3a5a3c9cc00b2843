#!/usr/bin/env bash
# NBD clients of every make on a device in memory, and what is not NBD.

. "$(dirname "$0")/native.sh"
. "$(dirname "$0")/volumed.sh"

expect_refusal "without anything to serve the daemon does not start" "nothing to serve" "$volumed" --nbd "$nbd_socket"
expect_refusal "... nor without a socket" "no client could come" "$volumed" --device ram:1M
require "it serves a device in memory" start_volumed --nbd "$nbd_socket" --device ram:256M --client-patience 2000
expect_refusal "a second daemon leaves its socket alone" "another process serves at this socket" \
  "$volumed" --nbd "$nbd_socket" --device ram:1M
check "... which serves on" nbdinfo --size "$(uri)"

expect_output "nbdinfo" "export-size: 268435456 \(256M\)" nbdinfo "$(uri)"
for ability in can_cache can_df can_fast_zero can_flush can_fua can_multi_conn can_trim can_zero; do
  output_has "... $ability" "$ability: true"
done
output_has "... block sizes" "block_size_minimum: 512"
output_has "... contexts" "base:allocation"
expect_output "nbdinfo lists exports" "export=\"\"" nbdinfo --list "$(uri)"
expect_output "nbdinfo --map" "0 +268435456 +0 +data" nbdinfo --map "$(uri)"

head -c 268435456 /dev/urandom >"$tap_folder/image"
check "nbdcopy in, by several connections" nbdcopy "$tap_folder/image" "$(uri)"
check "nbdcopy out" nbdcopy "$(uri)" "$tap_folder/back"
check "... and all is there" cmp "$tap_folder/image" "$tap_folder/back"
rm "$tap_folder/back"
check "nbdcopy with requests of 32 MiB, by one connection" \
  nbdcopy --connections=1 --request-size=33554432 "$(uri)" "$tap_folder/back"
check "... and all is there" cmp "$tap_folder/image" "$tap_folder/back"
rm "$tap_folder/back"

check "qemu-img info" qemu-img info "$(uri)"
expect_output "qemu-img compare" "Images are identical" qemu-img compare -s -f raw -F raw "$tap_folder/image" "$(uri)"
check "qemu-img map" qemu-img map -f raw "$(uri)"
check "qemu-img convert" qemu-img convert -n -f raw -O raw "$tap_folder/image" "$(uri)"
check "qemu-img bench" qemu-img bench -w -c 2000 -d 32 -s 4k -f raw "$(uri)"
qemu_io() { qemu-io -f raw "$@" "$(uri)"; }
expect_output "qemu-io: pattern, zeroes, discard, FUA, flush" "read 4096/4096 bytes at offset 8192" \
  qemu_io -c 'write -P 0x5a 0 64k' -c 'read -P 0x5a 0 64k' -c 'write -z 4k 8k' -c 'read -P 0 4k 8k' \
  -c 'write -f -P 7 8k 4k' -c 'discard 512 512' -c 'discard 66000 70000' -c flush -c 'read -P 7 8k 4k'
! grep -qE 'error|failed|Pattern' "$tap_folder/output"
report $? "... without an error"

expect_output "fio, verified" "err= 0" fio --name=v --ioengine=nbd --uri="$(uri)" --rw=randwrite --bs=4k-64k --size=64M \
  --iodepth=32 --verify=crc32c --verify_state_save=0 --fsync=64 --end_fsync=1
expect_output "... with trims" "err= 0" fio --name=t --ioengine=nbd --uri="$(uri)" --rw=randtrim --bs=64k --size=32M --iodepth=8

cat >"$tap_folder/strict.py" <<'PYTHON'
import nbd, sys
uri, half = sys.argv[1], sys.argv[2] == "half"
h = nbd.NBD()
h.set_strict_mode(0)
h.connect_uri(uri)
size = h.get_size()
def errno(call):
    try:
        call()
        return 0
    except nbd.Error as error:
        return error.errnum
import errno as e
# Unaligned, and around what it changes nothing else changes.
h.pwrite(b"a" * 4096, 0)
h.pwrite(b"b" * 100, 1000)
assert h.pread(4096, 0) == b"a" * 1000 + b"b" * 100 + b"a" * 2996
h.zero(7, 1003)
assert h.pread(100, 1000) == b"bbb" + b"\0" * 7 + b"b" * 90
# Out of range, and with flags that mean nothing.
assert errno(lambda: h.pread(4096, size)) == e.EINVAL
assert errno(lambda: h.pwrite(b"x" * 4096, size)) == e.ENOSPC
assert errno(lambda: h.trim(4096, size)) == e.EINVAL
assert errno(lambda: h.pread(512, 0, flags=2)) == e.EINVAL
h.pwrite(b"", 0)
h.flush()
h.shutdown()
print("obeyed")
PYTHON
expect_output "libnbd's Python, out of strict mode" "obeyed" /usr/bin/python3 "$tap_folder/strict.py" "$(uri)" whole

check "nbdkit's nbd plugin and a filter as a proxy" \
  nbdkit -U - --filter=blocksize nbd uri="$(uri)" minblock=4096 --run 'nbdcopy -- "$uri" null:'

cat >"$tap_folder/rude.py" <<'PYTHON'
import socket, struct, sys, time
def session(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.recv(18)
    s.sendall(struct.pack(">I", 3) + struct.pack(">QIIIH", 0x49484156454F5054, 7, 6, 0, 0))
    data = b""
    while len(data) < 20 + 12 + 20: data += s.recv(4096)
    return s
def request(kind, offset, length): return struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, offset, length)
path, kind = sys.argv[1:]
s = session(path)
if kind == "half": s.sendall(request(1, 0, 4096) + b"x" * 100)
elif kind == "deaf":
    for _ in range(64): s.sendall(request(0, 0, 1 << 20))
elif kind == "garbage": s.sendall(b"\x55" * 28)
start = time.time()
s.settimeout(20)
if kind == "deaf":
    import select
    p = select.poll(); p.register(s, select.POLLHUP | select.POLLRDHUP)
    p.poll(20000)
else:
    while True:
        if not s.recv(65536): break
print("closed after %.1f s" % (time.time() - start))
PYTHON
expect_output "a client that sends half a request loses its connection" "closed after (2|3)" \
  /usr/bin/python3 "$tap_folder/rude.py" "$nbd_socket" half
expect_output "... and one that never reads" "closed after (2|3)" /usr/bin/python3 "$tap_folder/rude.py" "$nbd_socket" deaf
expect_output "... and one that speaks something else at once" "closed after 0" \
  /usr/bin/python3 "$tap_folder/rude.py" "$nbd_socket" garbage
check "... with the reasons in the log" volumed_said "half of a message"
check "... for all" volumed_said "taken no answer"
expect_output "others are served" "Images are" qemu-img compare -s -f raw -F raw "$(uri)" "$(uri)"

check "SIGTERM ends it in good order" stop_volumed
[ ! -e "$nbd_socket" ]
report $? "... and its socket is gone"
require "after SIGKILL" start_volumed --nbd "$nbd_socket" --device one=ram:8M --device two=null:1G
stop_volumed KILL
require "... the next one takes the socket that is left over" start_volumed --nbd "$nbd_socket" --device one=ram:8M --device two=null:1G
expect_output "several exports have names" "8388608" nbdinfo --size "$(uri one)"
expect_output "... each its own" "1073741824" nbdinfo --size "$(uri two)"
expect_refusal "... and no other" "no export named" nbdinfo --size "$(uri three)"
check "it ends" stop_volumed

cat >"$tap_folder/activate" <<SCRIPT
#!/bin/sh
exec "$volumed" --device ram:16M
SCRIPT
chmod +x "$tap_folder/activate"
cat >"$tap_folder/activate.py" <<'PYTHON'
import nbd, sys
h = nbd.NBD()
h.connect_systemd_socket_activation(sys.argv[1:])
h.pwrite(b"x" * 512, 512)
assert h.pread(512, 512) == b"x" * 512
print("activated, %d bytes" % h.get_size())
h.shutdown()
PYTHON
expect_output "socket activation" "activated, 16777216 bytes" /usr/bin/python3 "$tap_folder/activate.py" "$tap_folder/activate"
done_testing
