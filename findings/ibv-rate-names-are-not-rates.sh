#!/usr/bin/env bash
# libibverbs: the rate that is called 100 Gb/s is 103,125 Mb/s, and 100,000 Mb/s is no rate, which means no limit.
#
# Version: libibverbs-dev and libibverbs1 44.0-2 (Debian 12).
# Guess: ibv_rate_to_mbps(IBV_RATE_100_GBPS) is 100000, and mbps_to_ibv_rate(100000) gives IBV_RATE_100_GBPS back.
# Seen: 103125, as the wires signal; 25, 56, 200 and 400 are likewise, 10 and 40 are what they are called. mbps_to_ibv_rate knows
# these numbers only: for 100000 it gives 0, IBV_RATE_MAX. ibv_rate_to_mult gives -1 for all rates that are no multiple of 2.5 Gb/s.
# Why it matters here: whoever limits a queue pair's rate by a number from a configuration gets no limit and no error, and a report
# of links that prints these numbers tells 103 Gb/s of a link that its owner bought as 100.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq libibverbs-dev=44.0-2 libibverbs1=44.0-2 libnl-3-200 libnl-route-3-200 2>/dev/null ||
  { echo "these versions are not to be had any more: run apt-get update, or look again with newer ones"; exit 1; }
for package in *.deb; do dpkg-deb -x "$package" .; done
cat >rates.c <<'SOURCE'
#include <infiniband/verbs.h>
#include <stdio.h>
int main(void)
{
    enum ibv_rate rates[] = {IBV_RATE_10_GBPS, IBV_RATE_25_GBPS, IBV_RATE_40_GBPS, IBV_RATE_100_GBPS};
    const int names[] = {10, 25, 40, 100};
    for (int i = 0; i < 4; i++)
        printf("%d: %d Mb/s; %d Mb/s is rate %d of IBV_RATE_MAX %d; %d times 2.5 Gb/s\n", names[i], ibv_rate_to_mbps(rates[i]),
               names[i] * 1000, mbps_to_ibv_rate(names[i] * 1000), IBV_RATE_MAX, ibv_rate_to_mult(rates[i]));
}
SOURCE
libraries=$work/usr/lib/x86_64-linux-gnu
cc -o rates rates.c -Iusr/include -L"$libraries" -Wl,-rpath-link,"$libraries" -l:libibverbs.so.1
LD_LIBRARY_PATH=$libraries:$work/lib/x86_64-linux-gnu ./rates | tee seen
grep -q '^10: 10000 Mb/s; 10000 Mb/s is rate 3 of IBV_RATE_MAX 0; 4 times' seen &&
  grep -q '^100: 103125 Mb/s; 100000 Mb/s is rate 0 of IBV_RATE_MAX 0; -1 times' seen ||
  { echo "this has changed"; exit 1; }
