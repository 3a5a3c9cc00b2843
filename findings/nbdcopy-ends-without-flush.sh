#!/usr/bin/env bash
# nbdcopy ends with success and has not flushed what it wrote.
#
# Versions: libnbd-bin 1.14.2-1, nbdkit 1.32.5-1 (Debian 12).
# Guess: a program that copies an image to a server that offers FLUSH sends one before it disconnects, as qemu-img does.
# Seen: exit status 0, all writes without FUA, no FLUSH at all; with --flush there is one.
# Why it matters here: after nbdcopy to a volume nothing is durable by the protocol, however well the server keeps its
# promises. Whoever tests durability of an NBD export with nbdcopy has to say --flush, and documentation has to say so too.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq libnbd-bin=1.14.2-1 libnbd0=1.14.2-1 nbdkit=1.32.5-1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
libraries=$work/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries
head -c 4194304 /dev/urandom >image

# copy NAME OPTION...: copies the image to a server of its own, and counts what arrived there.
copy() {
  local name=$1
  shift
  usr/bin/nbdkit -f -U "$work/$name" --filter="$libraries/nbdkit/filters/nbdkit-log-filter.so" \
    "$libraries/nbdkit/plugins/nbdkit-memory-plugin.so" 8M logfile="$work/$name.log" >/dev/null 2>&1 &
  until [ -S "$work/$name" ]; do :; done
  usr/bin/nbdcopy "$@" image "nbd+unix:///?socket=$work/$name"
  echo "$name: exit status 0, $(grep -c ' Write id' "$name.log") writes, $(grep -c 'fua=1' "$name.log" || :) of them with FUA, $(
    grep -c ' Flush id' "$name.log" || :) flushes"
}
copy plain | tee -a seen
copy flushed --flush | tee -a seen
grep -q '^plain: .* 0 of them with FUA, 0 flushes$' seen && grep -qE '^flushed: .* [1-9][0-9]* flushes$' seen ||
  { echo "this has changed"; exit 1; }
