#!/usr/bin/env bash
# The same job files run by stock fio on a file and by tercet-fio on a namespace and on a volume: the same JSON, and where
# fio is deterministic the same operations and bytes. The jobs: Tools/fio, Tests/Native/fio, and fio's own examples where
# they fit a block device.

. "$(dirname "$0")/fio.sh"

examples=$("$project/Tools/fio/engine/headers")/examples
require "three targets start, with a volume on them" start_volume
truncate -s "$volume_bytes" "$tap_folder/plain" "$tap_folder/disk"
require "a target with a namespace of the same size starts" start_namespace "$tap_folder/disk,buffered"

# What a clock or chance decides differs from run to run, without us too; so does what depends on when a completion is seen.
is_deterministic() { ! grep -qE '^(latency_target|randrepeat=0|verify_backlog)' "$1"; }

run_and_compare() {
  fio_at "$1" --output-format=json --output="$tap_folder/here.json" "$2" &&
    python3 "$project/Tests/Native/fio/compare.py" ${3:-} "$tap_folder/stock.json" "$tap_folder/here.json"
}

# compare NAME FILE: runs a job file in all three places.
compare() {
  local name=$1 file=$2 counts='' where places='namespace volume'
  ! is_deterministic "$file" || counts=--counts
  if grep -q '^rw=.*trim' "$file"; then
    # A file cannot be trimmed: the namespace stands for it.
    check "$name on a namespace" fio_at namespace --output-format=json --output="$tap_folder/stock.json" "$file" || return
    places=volume
  else
    sed "s#^filename=tercet#filename=$tap_folder/plain#" "$file" >"$tap_folder/stock.fio"
    check "$name on a file, by stock fio" in_folder fio --output-format=json --output="$tap_folder/stock.json" \
      "$tap_folder/stock.fio" || return
  fi
  for where in $places; do
    check "$name on a $where: the same JSON${counts:+, operations and bytes}" run_and_compare "$where" "$file" $counts
    grep -E '^[0-9]+ jobs' "$tap_folder/output" | diagnose
  done
}

in_folder() (cd "$work" && timeout -k 5 120 "$@")

for file in "$project"/Tests/Native/fio/*.fio; do compare "$(basename "$file")" "$file"; done
for file in "$project"/Tools/fio/*.fio; do
  python3 "$project/Tests/Native/fio/shorten.py" "$file" >"$tap_folder/job.fio"
  compare "Tools/fio/$(basename "$file")" "$tap_folder/job.fio"
done
for name in aio-read backwards-read basic-verify fio-rand-RW fio-seq-read fsx iometer-file-access-server jesd219 latency-profile \
  ssd-test surface-scan tiobench-example; do
  python3 "$project/Tests/Native/fio/shorten.py" "$examples/$name.fio" >"$tap_folder/job.fio"
  compare "fio's $name.fio" "$tap_folder/job.fio"
done

check "the volume's members are equal" fio_at volume --check --name=read --filename=tercet --rw=read --size=1m
check "the targets end in good order" eval 'stop_members && stop_namespace'
namespace_pid=
check "nothing is left" nothing_left
done_testing
