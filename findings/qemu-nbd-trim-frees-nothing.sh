#!/usr/bin/env bash
# qemu-nbd offers TRIM, answers it with success, and frees nothing unless it was started with --discard=unmap.
#
# Versions: qemu-utils 1:7.2+dfsg-7+deb12u18+b3, libnbd-bin 1.14.2-1 (Debian 12).
# Guess: a server that would not carry out TRIM does not set the flag that offers it (NBD_FLAG_SEND_TRIM).
# Seen: nbdinfo says that it can trim, a discard of the whole image succeeds, the file has as many blocks as before; with
# --discard=unmap it has none.
# Why it matters here: a comparison of thin provisioning or of trim rates with qemu-nbd as the peer compares with nothing, and a
# volume's own NBD server must not be judged by "TRIM succeeds" but by what the store then holds.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq qemu-utils=1:7.2+dfsg-7+deb12u18+b3 libnbd-bin=1.14.2-1 libnbd0=1.14.2-1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
# What qemu-utils is linked to, whichever versions there are.
apt-get download -qq libaio1 liburing2 libnuma1 libfuse3-3 2>/dev/null || :
for package in *.deb; do dpkg-deb -x "$package" .; done
export LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu:$work/lib/x86_64-linux-gnu

# trim NAME OPTION...: what a discard of everything leaves of a file of 4 MiB.
trim() {
  local name=$1 offered=no
  shift
  head -c 4194304 /dev/urandom >"$name.img"; sync "$name.img"
  usr/bin/qemu-nbd -f raw -t -k "$work/$name" "$@" "$name.img" >/dev/null 2>&1 &
  until [ -S "$work/$name" ]; do :; done
  ! usr/bin/nbdinfo --can trim "nbd+unix:///?socket=$work/$name" || offered=yes
  usr/bin/qemu-io -f raw -c 'discard 0 4M' "nbd+unix:///?socket=$work/$name" >out
  grep -q '^discard 4194304/4194304' out
  sync "$name.img"
  echo "$name: trim offered: $offered, discard succeeded, $(du -k "$name.img" | cut -f 1) KiB left"
}
trim default | tee -a seen
trim unmap --discard=unmap | tee -a seen
grep -q '^default: trim offered: yes, discard succeeded, 4096 KiB left' seen && grep -q '^unmap: .* 0 KiB left' seen ||
  { echo "this has changed, or this file system cannot punch holes"; exit 1; }
