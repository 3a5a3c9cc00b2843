#!/usr/bin/env bash
# libnvme turns Namespace Not Ready, which a host should try again, into EACCES, with and without Do Not Retry alike, and
# Namespace Not Attached into ENOSPC.
#
# Versions: libnvme1 and libnvme-dev 1.3-1+deb12u1 (Debian 12).
# Guess: nvme_status_to_errno gives EAGAIN for what is over in a moment (Namespace Not Ready and Command Interrupted without
# DNR) and something final with DNR; ENOSPC stands for a lack of room only.
# Seen: 82h is EACCES either way, 21h is EIO, 1Ah of the command specific statuses (Namespace Not Attached) is ENOSPC.
# Why it matters here: an agent that decides by errno whether to wait would give up a namespace that is only being opened, and
# would take a volume that is detached already for a pool without room. We decide by the status code and its DNR bit.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq libnvme1=1.3-1+deb12u1 libnvme-dev=1.3-1+deb12u1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
apt-get download -qq libjson-c5 libkeyutils1 libdbus-1-3 2>/dev/null || :
for package in *.deb; do dpkg-deb -x "$package" .; done
libraries=$work/usr/lib/x86_64-linux-gnu:$work/lib/x86_64-linux-gnu
cat >errno.c <<'C'
#include <stdbool.h>
#include <stdio.h>
#include <errno.h>
#include <string.h>
extern unsigned char nvme_status_to_errno(int status, bool fabrics);
static void tell(const char *name, int status) {
    printf("%s: %s\n", name, strerrorname_np(nvme_status_to_errno(status, false)));
}
int main(void) {
    tell("Namespace Not Ready", 0x0082);
    tell("Namespace Not Ready, Do Not Retry", 0x4082);
    tell("Command Interrupted", 0x0021);
    tell("Namespace Not Attached", 0x011a);
    return 0;
}
C
gcc -D_GNU_SOURCE -o errno errno.c -L"$work/usr/lib/x86_64-linux-gnu" -Wl,-rpath-link,"$libraries" -lnvme
LD_LIBRARY_PATH=$libraries ./errno | tee seen
diff seen - <<'SEEN' || { echo "this has changed"; exit 1; }
Namespace Not Ready: EACCES
Namespace Not Ready, Do Not Retry: EACCES
Command Interrupted: EIO
Namespace Not Attached: ENOSPC
SEEN
