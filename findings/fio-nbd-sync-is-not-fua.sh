#!/usr/bin/env bash
# fio's nbd engine takes sync=1 and does nothing for it; fdatasync=1 ends the job.
#
# Versions: fio 3.33-3, nbdkit 1.32.5-1, libnbd0 1.14.2-1 (Debian 12).
# Guess: sync=1 makes each write durable (FUA, or a flush behind it), or is refused; fdatasync=N is a flush, as fsync=N is.
# Seen: with sync=1 exit status 0, not one FUA and not one FLUSH; fdatasync=1 fails with Invalid argument; fsync=1 flushes.
# Why it matters here: a job that measures durable writes through NBD with sync=1, as it does for files and for our own engine,
# measures writes that are in nobody's care. Jobs for an NBD export use fsync=N or end_fsync=1.
set -euo pipefail
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq fio=3.33-3 nbdkit=1.32.5-1 libnbd0=1.14.2-1 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
# What fio is linked to, whichever versions there are: libraries that take no part in this.
apt-get download -qq libgfapi0 libgfrpc0 libgfxdr0 libglusterfs0 libnuma1 libpmem1 libpmemblk1 libpmem1 librados2 librbd1 \
  librdmacm1 libibverbs1 libaio1 libndctl6 libdaxctl1 libtirpc3 libnl-3-200 libnl-route-3-200 libboost-thread1.74.0 \
  libboost-iostreams1.74.0 libfmt9 libunwind8 liburcu8 librabbitmq4 librdkafka1 libsnappy1v5 2>/dev/null || :
for package in *.deb; do dpkg-deb -x "$package" .; done
libraries=$work/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries:$libraries/ceph:$work/lib/x86_64-linux-gnu

# job NAME OPTION: one write job against a server of its own, and what arrived there.
job() {
  local status=0
  usr/bin/nbdkit -f -U "$work/$1" --filter="$libraries/nbdkit/filters/nbdkit-log-filter.so" \
    "$libraries/nbdkit/plugins/nbdkit-memory-plugin.so" 8M logfile="$work/$1.log" >/dev/null 2>&1 &
  until [ -S "$work/$1" ]; do :; done
  usr/bin/fio --name=job --ioengine=nbd --uri="nbd+unix:///?socket=$work/$1" --rw=write --bs=64k --size=1m "$2" >out 2>&1 || status=$?
  echo "$2: exit status $status, $(grep -c ' Write id' "$1.log") writes, $(grep -c 'fua=1' "$1.log" || :) with FUA, $(
    grep -c ' Flush id' "$1.log" || :) flushes"
}
job sync --sync=1 | tee -a seen
job fdatasync --fdatasync=1 | tee -a seen
job fsync --fsync=1 | tee -a seen
grep -q -- '--sync=1: exit status 0, 16 writes, 0 with FUA, 0 flushes' seen && grep -q -- '--fdatasync=1: exit status 1' seen &&
  grep -qE -- '--fsync=1: exit status 0, 16 writes, 0 with FUA, [1-9]' seen || { cat out; echo "this has changed"; exit 1; }
