#!/usr/bin/env bash
# promtool check metrics passes histograms whose buckets fall, or lack +Inf, or do not add up, and two values of one series.
#
# Version: prometheus 2.42.0+ds-5+deb12u1 (Debian 12).
# Guess: the check finds what breaks the rules of the format: cumulative buckets, a +Inf bucket that equals the count, each series
# once, counters that are not negative.
# Seen: exit status 0 and no word for each of them. It finds a name it does not like (exit status 3) and a last line without its
# end (1).
# Why it matters here: "promtool check metrics is clean" says little about metrics that a program writes itself. The test has to
# check the histograms by the format's own rules.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq prometheus=2.42.0+ds-5+deb12u1 2>/dev/null ||
  { echo "this version is not to be had any more: run apt-get update, or look again with a newer one"; exit 1; }
dpkg-deb -x prometheus_*.deb .

# metrics NAME: what promtool says of the metrics on standard input.
metrics() {
  local status=0
  usr/bin/promtool check metrics >out 2>&1 || status=$?
  echo "$1: exit status $status $(head -n 1 out)"
}
histogram() { printf '# HELP io_seconds Time of an I/O.\n# TYPE io_seconds histogram\n'; printf 'io_seconds_%s\n' "$@"; }
counter() { printf '# HELP ios_total I/Os.\n# TYPE ios_total counter\n'; printf 'ios_total%s\n' "$@"; }

histogram 'bucket{le="0.001"} 10' 'bucket{le="0.01"} 5' 'bucket{le="+Inf"} 12' 'sum 1' 'count 12' | metrics 'buckets that fall' | tee -a seen
histogram 'bucket{le="0.001"} 10' 'bucket{le="0.01"} 15' 'sum 1' 'count 15' | metrics 'no +Inf bucket' | tee -a seen
histogram 'bucket{le="0.001"} 10' 'bucket{le="+Inf"} 15' 'sum 1' 'count 99' | metrics 'a count that is not the +Inf bucket' | tee -a seen
counter '{nsid="1"} 5' '{nsid="1"} 6' | metrics 'one series twice' | tee -a seen
counter ' -5' | metrics 'a negative counter' | tee -a seen
printf '# HELP ios I/Os.\n# TYPE ios counter\nios 5\n' | metrics 'a counter without _total' | tee -a seen
[ "$(grep -c ': exit status 0 *$' seen)" -eq 5 ] && grep -q '^a counter without _total: exit status 3' seen || { echo "this has changed"; exit 1; }
