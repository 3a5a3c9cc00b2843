#!/usr/bin/env bash
# debugfs exits with 0 although its command failed, or there was no file system to open.
#
# Version: e2fsprogs 1.47.0-2+b2 (Debian 12).
# Guess: a file that cannot be read or written, and an image that cannot be opened, end `debugfs -R COMMAND` with a failure.
# Seen: 0 for each of the three; only a command that debugfs does not know gives 1.
# Why it matters here: without a mount, debugfs is how a script takes files into and out of an image on a volume. Whether it
# succeeded has to be seen from what it wrote, or from its standard error.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq e2fsprogs=1.47.0-2+b2 libext2fs2=1.47.0-2+b2 libcom-err2=1.47.0-2+b2 libss2=1.47.0-2+b2 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
export LD_LIBRARY_PATH=$work/lib/x86_64-linux-gnu:$work/usr/lib/x86_64-linux-gnu

truncate -s 8M image
sbin/mke2fs -q -t ext4 image
# try NAME OPTION...: what debugfs says, and its exit status.
try() {
  local name=$1 status=0
  shift
  sbin/debugfs "$@" >out 2>&1 || status=$?
  echo "$name: exit status $status: $(tail -n 1 out)"
}
try read -R 'cat /missing' image | tee -a seen
try write -w -R 'write missing there' image | tee -a seen
try open -R stats missing | tee -a seen
try unknown -R frobnicate image | tee -a seen
[ "$(grep -cE '^(read|write|open): exit status 0: ' seen)" -eq 3 ] && grep -q '^unknown: exit status 1: ' seen ||
  { echo "this has changed"; exit 1; }
