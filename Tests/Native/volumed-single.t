#!/usr/bin/env bash
# The volume daemon started by its client: with a socket that listens, and with one client at its standard input, which it ends with.

. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

expect_refusal "a standard input that is no socket is refused" "the standard input is no socket" "$volumed" --single --device ram:1M
expect_refusal "--nbd beside it is refused" "are to be left out" "$volumed" --single --nbd "$nbd_socket" --device ram:1M

truncate -s 16M "$tap_folder/store"
passed=("$volumed" --device "$tap_folder/store,buffered")
expect_output "nbdinfo starts it with a socket" "^16777216\$" nbdinfo --size -- [ "${passed[@]}" ]
head -c 16777216 /dev/urandom >"$tap_folder/image"
check "nbdcopy in" nbdcopy --flush "$tap_folder/image" -- [ "${passed[@]}" ]
check "... all is there" cmp "$tap_folder/image" "$tap_folder/store"

for number in 0 1 2; do require "target $number starts" start_member "$number"; done
require "a volume is created" volume create
cat >"$tap_folder/client.py" <<'PYTHON'
import nbd, os, sys
h = nbd.NBD()
h.set_export_name("db")
h.connect_command(sys.argv[1:])
h.pwrite(b"single" + bytes(506), 1024, nbd.CMD_FLAG_FUA)
print(h.pread(512, 1024)[:6].decode())
h.shutdown()
# With the end of the last reference libnbd waits for the end of the daemon.
del h
PYTHON
expect_output "a volume, through libnbd" "^single\$" \
  timeout 60 /usr/bin/python3 "$tap_folder/client.py" "$volumed" --single --volume "db=$(volume_members)"
expect_output "... is detached when the client has gone" "clean, members: in sync, in sync, in sync" volume status
check "the targets end in good order" stop_members
done_testing
