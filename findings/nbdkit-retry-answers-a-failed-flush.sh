#!/usr/bin/env bash
# nbdkit's retry filter answers a FLUSH that failed with success.
#
# Versions: nbdkit 1.32.5-1, libnbd0 and python3-libnbd 1.14.2-1 (Debian 12).
# Guess: a filter that opens the plugin anew after an error repeats reads and writes, and hands the failure of a flush on: what a
# flush that failed should have covered may be lost, and a later one that succeeds does not say that it is there.
# Seen: the plugin fails the first flush and nothing else; the filter opens it again, asks again, and the client is told success.
# Why it matters here: such a proxy in front of an export takes the only word by which a client learns that acknowledged writes may
# be gone. A server behind it has to fail flushes until what was dirty has been written again, as a volume does.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq nbdkit=1.32.5-1 libnbd0=1.14.2-1 python3-libnbd=1.14.2-1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
libraries=$work/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries PYTHONPATH=$work/usr/lib/python3/dist-packages

# A device whose first flush fails.
cat >device <<'SCRIPT'
#!/bin/sh
case $1 in
  get_size) echo 1M ;;
  can_write | can_flush) ;;
  pwrite) cat >/dev/null ;;
  flush)
    echo >>"$ASKED"
    [ "$(wc -l <"$ASKED")" -gt 1 ] || { echo "EIO the cache could not be written back" >&2; exit 1; }
    ;;
  *) exit 2 ;;
esac
SCRIPT
chmod +x device
cat >client.py <<'SCRIPT'
import sys, nbd
h = nbd.NBD()
h.connect_unix(sys.argv[1])
h.pwrite(b"x" * 512, 0)
try:
    h.flush()
    print("success")
except nbd.Error:
    print("failure")
SCRIPT

# ask NAME FILTER...: writes and flushes once through a server of its own.
ask() {
  local name=$1
  shift
  ASKED=$work/$name.asked usr/bin/nbdkit -f -U "$work/$name" "$@" "$libraries/nbdkit/plugins/nbdkit-sh-plugin.so" "$work/device" \
    ${2:+retry-delay=1} >/dev/null 2>&1 &
  until [ -S "$work/$name" ]; do :; done
  echo "$name: $(python3 client.py "$work/$name"), the device was asked $(wc -l <"$name.asked") times"
}
ask plain | tee -a seen
ask retried --filter="$libraries/nbdkit/filters/nbdkit-retry-filter.so" | tee -a seen
grep -q '^plain: failure, the device was asked 1 times$' seen && grep -q '^retried: success, the device was asked 2 times$' seen ||
  { echo "this has changed"; exit 1; }
