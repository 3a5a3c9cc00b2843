#!/usr/bin/env bash
# A plain `write` of qemu-io to an NBD server is sent with FUA, and zeroes too.
#
# Versions: qemu-utils 1:7.2+dfsg-7+deb12u18+b3, nbdkit 1.32.5-1, libnbd0 1.14.2-1 (Debian 12).
# Guess: `write` is an ordinary write, `write -f` one with FUA; so `write` and then `flush` tests the flush.
# Seen: without -t, qemu-io opens the image in the mode writethrough: both arrive with FUA. With -t writeback only `write -f`
# does.
# Why it matters here: a test that kills a server after `qemu-io -c write -c flush` has proved nothing of FLUSH: each write was
# durable on its own. Tests of an NBD export say -t writeback wherever the flush is what they are about.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq qemu-utils=1:7.2+dfsg-7+deb12u18+b3 nbdkit=1.32.5-1 libnbd0=1.14.2-1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
apt-get download -qq libaio1 liburing2 libnuma1 libfuse3-3 2>/dev/null || :
for package in *.deb; do dpkg-deb -x "$package" .; done
libraries=$work/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries:$work/lib/x86_64-linux-gnu

# writes NAME OPTION...: one plain write, one with -f, one of zeroes, and how each arrived.
writes() {
  local name=$1
  shift
  usr/bin/nbdkit -f -U "$work/$name" --filter="$libraries/nbdkit/filters/nbdkit-log-filter.so" \
    "$libraries/nbdkit/plugins/nbdkit-memory-plugin.so" 8M logfile="$work/$name.log" >/dev/null 2>&1 &
  until [ -S "$work/$name" ]; do :; done
  usr/bin/qemu-io -f raw "$@" -c 'write 4k 4k' -c 'write -f 8k 4k' -c 'write -z 64k 64k' -c flush "nbd+unix:///?socket=$work/$name" >/dev/null
  echo "$name: $(sed -nE 's/.* (Write|Zero) id=[0-9]+ offset=(0x[0-9a-f]+) .*(fua=[01]).*/\1 at \2 \3/p' "$name.log" | paste -sd, -)"
}
writes default | tee -a seen
writes writeback -t writeback | tee -a seen
grep -q '^default: Write at 0x1000 fua=1,Write at 0x2000 fua=1,Zero at 0x10000 fua=1$' seen &&
  grep -q '^writeback: Write at 0x1000 fua=0,Write at 0x2000 fua=1,Zero at 0x10000 fua=0$' seen ||
  { echo "this has changed"; exit 1; }
