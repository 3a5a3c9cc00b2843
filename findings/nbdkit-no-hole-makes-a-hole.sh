#!/usr/bin/env bash
# nbdkit's memory plugin makes a hole of a Write Zeroes that forbids one (NBD_CMD_FLAG_NO_HOLE).
#
# Versions: nbdkit 1.32.5-1, libnbd0 and python3-libnbd 1.14.2-1 (Debian 12).
# Guess: zeroes that were asked for with NO_HOLE are data afterwards: zero, and allocated (NBD_STATE_ZERO without NBD_STATE_HOLE).
# The protocol has every server that offers Write Zeroes support the flag.
# Seen: base:allocation tells 3, hole and zero, as before the first write; the memory is given back.
# Why it matters here: a client reserves room with it, so that later writes cannot end in "no space". A test of that against this
# plugin proves nothing, and a comparison of zeroing with it compares freeing with writing.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq nbdkit=1.32.5-1 libnbd0=1.14.2-1 python3-libnbd=1.14.2-1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
libraries=$work/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries PYTHONPATH=$work/usr/lib/python3/dist-packages
usr/bin/nbdkit -f -U "$work/socket" "$libraries/nbdkit/plugins/nbdkit-memory-plugin.so" 8M >/dev/null 2>&1 &
until [ -S socket ]; do :; done
cat >client.py <<'SCRIPT'
import nbd
h = nbd.NBD()
h.add_meta_context("base:allocation")
h.connect_unix("socket")

def state():
    extents = []
    h.block_status(1 << 20, 0, lambda context, offset, entries, error: extents.extend(entries) or 0)
    return extents[1]

print("new:", state())
h.pwrite(b"x" * (1 << 20), 0)
print("written:", state())
h.zero(1 << 20, 0, nbd.CMD_FLAG_NO_HOLE)
print("zeroed without a hole:", state())
SCRIPT
python3 client.py | tee seen
grep -q '^new: 3$' seen && grep -q '^written: 0$' seen && grep -q '^zeroed without a hole: 3$' seen ||
  { echo "this has changed"; exit 1; }
