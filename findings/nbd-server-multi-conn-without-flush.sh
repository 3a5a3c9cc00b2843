#!/usr/bin/env bash
# nbd-server offers several connections to one export, and neither FLUSH nor FUA, unless the export says flush and fua.
#
# Versions: nbd-server 1:3.24-1.1, libnbd-bin 1.14.2-1 (Debian 12).
# Guess: a server that keeps its export in a file offers FLUSH; and NBD_FLAG_CAN_MULTI_CONN is for servers that offer it, as it
# promises that a flush on one connection covers the writes of all.
# Seen: by default can_multi_conn is true, can_flush and can_fua are false; with flush = true and fua = true they are offered.
# Why it matters here: a host on such an export loses acknowledged writes with the server's machine and is never told, so it is no
# peer for a comparison of durable writes; and our own clients must not take multi-conn for a promise about flushes.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(cat "$work"/*.pid) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq nbd-server=1:3.24-1.1 libnbd-bin=1.14.2-1 libnbd0=1.14.2-1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
export LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu

truncate -s 8M image
# serve NAME LINE...: the capabilities of an export with these lines in its configuration.
serve() {
  local name=$1
  shift
  { printf '[generic]\n  unixsock = %s/%s\n[disk]\n  exportname = %s/image\n' "$work" "$name" "$work"; printf '  %s\n' "$@"; } >"$name.conf"
  bin/nbd-server -C "$name.conf" -p "$work/$name.pid" >/dev/null 2>&1
  until [ -S "$work/$name" ]; do :; done
  usr/bin/nbdinfo "nbd+unix:///disk?socket=$work/$name" >out
  echo "$name: $(grep -E 'can_(flush|fua|multi_conn)' out | tr -d '\t' | paste -sd ' ')"
}
serve default | tee -a seen
serve asked 'flush = true' 'fua = true' | tee -a seen
grep -q '^default: can_flush: false can_fua: false can_multi_conn: true' seen &&
  grep -q '^asked: can_flush: true can_fua: true can_multi_conn: true' seen || { cat out; echo "this has changed"; exit 1; }
