#!/usr/bin/env bash
# HdrHistogram tells a greatest value that was never recorded, and one greater than any that was.
#
# Version: hdrhistogram 0.10.3 (PyPI).
# Guess: percentiles are rounded, as the histogram was asked to keep three digits; the maximum and the percentile 100 are what was
# recorded.
# Seen: of 1000, 20001 and 1000001 the maximum is 1000447, the end of the bucket; the minimum is exact only because its bucket is
# one wide.
# Why it matters here: a pause that must stay under a bound is read off as the maximum. The Swift library that `tercet bench` uses keeps
# it exactly, this one does not: the same samples have two maxima, and a script that checks a bound may fail on a bucket's end.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/python"
"$work/python/bin/pip" -q install hdrhistogram==0.10.3 ||
  { echo "this version is not to be had any more: look again with a newer one"; exit 1; }
"$work/python/bin/python" - <<'SCRIPT' | tee "$work/seen"
from hdrh.histogram import HdrHistogram

histogram = HdrHistogram(1, 3_600_000_000, 3)
for value in (1000, 20001, 1000001):
    histogram.record_value(value)
print("maximum", histogram.get_max_value(), "percentile 100", histogram.get_value_at_percentile(100))
SCRIPT
grep -q '^maximum 1000447 percentile 100 1000447$' "$work/seen" || { echo "this has changed"; exit 1; }
