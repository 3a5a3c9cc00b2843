#!/usr/bin/env bash
# nbdfuse reads parts of a server's blocks, and refuses to write them.
#
# Versions: libnbd-bin 1.14.2-1, nbdkit 1.32.5-1 (Debian 12).
# Guess: a file system over a server that says its smallest block (NBD_INFO_BLOCK_SIZE) makes whole blocks of what programs write, as
# nbdkit's blocksize filter and qemu do; or else it refuses parts of blocks in both directions.
# Seen: with blocks of 4096 bytes a read of 512 bytes succeeds, as the kernel asks FUSE for whole pages; a write of 512 bytes is refused
# with EINVAL, by libnbd, before the server hears of it. A write of 4096 bytes succeeds.
# Why it matters here: a loop device over nbdfuse has blocks of 512 bytes unless it is told otherwise, so that it looks well, can be
# read and probed, and no file system can be made or mounted on it. The loop device has to be made with the volume's blocks.
set -euo pipefail
work=$(mktemp -d); trap 'umount "$work/mount" 2>/dev/null || :; kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
[ -e /dev/fuse ] || { echo "this machine has no /dev/fuse"; exit 1; }
apt-get download -qq libnbd-bin=1.14.2-1 libnbd0=1.14.2-1 nbdkit=1.32.5-1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
libraries=$work/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries
usr/bin/nbdkit -f -U "$work/socket" --filter="$libraries/nbdkit/filters/nbdkit-blocksize-policy-filter.so" \
  "$libraries/nbdkit/plugins/nbdkit-memory-plugin.so" 1M blocksize-minimum=4096 blocksize-preferred=4096 blocksize-maximum=1M \
  >/dev/null 2>&1 &
until [ -S "$work/socket" ]; do :; done
mkdir mount
usr/bin/nbdfuse mount "nbd+unix:///?socket=$work/socket" 2>nbdfuse.log &
until [ -e mount/nbd ]; do :; done
attempt() {
  local what=$1 status=0
  shift
  timeout 20 dd "$@" count=1 status=none 2>>dd.log || status=$?
  echo "$what: exit status $status"
}
{
  attempt "a read of 512 bytes" if=mount/nbd of=/dev/null bs=512
  attempt "a write of 512 bytes" if=/dev/zero of=mount/nbd conv=notrunc bs=512
  attempt "a write of 4096 bytes" if=/dev/zero of=mount/nbd conv=notrunc bs=4096
} | tee seen
cat nbdfuse.log
printf 'a read of 512 bytes: exit status 0\na write of 512 bytes: exit status 1\na write of 4096 bytes: exit status 0\n' |
  cmp -s - seen && grep -q 'unaligned' nbdfuse.log || { echo "this has changed"; exit 1; }
