#!/usr/bin/env bash
# e2fsck -fn calls a file system clean whose journal holds changes that break it.
#
# Version: e2fsprogs 1.47.0-2+b2 (Debian 12).
# Guess: a check of a file system with an unfinished journal exits with 4 ("errors left"), or at least not with 0.
# Seen: it warns that recovery is skipped, checks what was there before the journal, and exits with 0. On a copy, e2fsck -fy
# replays the journal first, finds the damage that came out of it, and exits with 1.
# Why it matters here: a file system that was mounted on a volume when its host died is checked read-only by tests and by people.
# The check that counts is one on a copy, with the journal replayed.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq e2fsprogs=1.47.0-2+b2 libext2fs2=1.47.0-2+b2 libcom-err2=1.47.0-2+b2 libss2=1.47.0-2+b2 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
export LD_LIBRARY_PATH=$work/lib/x86_64-linux-gnu:$work/usr/lib/x86_64-linux-gnu

truncate -s 8M image
sbin/mke2fs -q -t ext4 -b 1024 image
# One transaction that replaces the inode bitmap: its padding is not set any more.
bitmap=$(sbin/dumpe2fs image 2>/dev/null | sed -n 's/.*Inode bitmap at \([0-9]*\).*/\1/p' | head -n 1)
head -c 1024 /dev/zero >zeroes
printf 'jo\njw -b %s zeroes\njc\n' "$bitmap" | sbin/debugfs -w -f - image >/dev/null 2>&1
sbin/dumpe2fs -h image 2>/dev/null | grep -q needs_recovery

only_read=0
sbin/e2fsck -fn image >out 2>&1 || only_read=$?
grep '^Warning' out
cp image copy
replayed=0
sbin/e2fsck -fy copy >out 2>&1 || replayed=$?
grep -m 1 'Fix' out
echo "e2fsck -fn: exit status $only_read; e2fsck -fy on a copy: $replayed"
[ "$only_read" -eq 0 ] && [ "$replayed" -eq 1 ] || { echo "this has changed"; exit 1; }
