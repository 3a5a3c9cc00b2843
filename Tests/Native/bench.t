#!/usr/bin/env bash
# Tools/bench, its smallest native parts: what it writes has all that it promises; nothing is left. No figure is judged.

. "$(dirname "$0")/native.sh"

export TMPDIR=$tap_folder/tmp
mkdir "$TMPDIR"
out=$tap_folder/out

bench_status() { "$project/Tools/bench" "$@" >/dev/null 2>&1 </dev/null; echo $?; }
nothing_is_left() { ! pgrep -f "$TMPDIR" && [ -z "$(ls "$TMPDIR")" ]; }

expect_output "--help names the parts" "instructions +on softverbs" "$project/Tools/bench" --help
for usage in "--only nothing" "--cell nothing" "--rounds 0" "--seconds x" "--store /dev/null" "--volume-store null:1G" "--nonsense"; do
  expect_equal "wrong usage ends with 2: $usage" 2 "$(bench_status $usage)"
done
expect_refusal "what is measured alone is measured alone" "only observation is measured alone" \
  "$project/Tools/bench" --only observation --only native
expect_refusal "a program that is not there is named" "/nowhere/tercetd is missing" \
  env TERCETD=/nowhere/tercetd "$project/Tools/bench" --only native

require "the smallest native bench" "$project/Tools/bench" --quick --only native --cell randread-4k-qd1 \
  --cell write-128k-qd8 --rounds 2 --seconds 0.2 --out "$out"
output_has "its table has the peers" "null +ram|ram +file"
cat >"$tap_folder/check.py" <<'PYTHON'
import json, sys

result = json.load(open(sys.argv[1]))
keys = {"schema", "title", "date", "duration_s", "options", "machine", "versions", "lab", "samples", "instructions", "errors",
        "summary", "ratios"}
assert keys == set(result), keys ^ set(result)
assert {"kernel", "processor", "processors", "emulated", "virtual", "load", "load_at_end"} <= set(result["machine"])
assert {"fio", "swift", "tercet"} <= set(result["versions"])
assert result["errors"] == [] and result["lab"] is None
for sample in result["samples"]:
    assert sample["ios"] > 0 and sample["iops"] > 0 and sample["bytes_per_second"] > 0 and sample["seconds"] > 0, sample
    assert {"mean", "p50", "p99"} == set(sample["latency_us"]), sample
    assert {"machine", "interrupts", "target_process", "initiator_process"} == set(sample["cpu_us_per_io"]), sample
measured = {(entry["peer"], entry["cell"]): entry for entry in result["summary"]}
for peer in ("null", "ram", "file"):
    for cell in ("randread-4k-qd1", "write-128k-qd8"):
        entry = measured[peer, cell]
        assert entry["samples"] == 2 and entry["failed"] == 0, entry
        assert entry["iops"]["min"] <= entry["iops"]["median"] <= entry["iops"]["max"], entry
PYTHON
check "what it wrote is complete" python3 "$tap_folder/check.py" "$out/bench.json"
check "the tables are there" grep -q "randread-4k-qd1" "$out/bench.txt"
check "nothing is left" nothing_is_left

"$project/Tools/bench" --only native --cell randread-4k-qd1 --out "$out" >"$tap_folder/interrupted" 2>&1 </dev/null &
bench=$!
at_exit "kill -KILL $bench"
check "a bench is under way" wait_until 60 grep -q "round 1" "$tap_folder/interrupted"
kill -TERM "$bench"
wait "$bench"
expect_equal "interrupted, it ends with 130" 130 $?
check "... and nothing is left" nothing_is_left

if command -v valgrind >/dev/null; then
  require "instructions are counted" "$project/Tools/bench" --quick --only instructions --cell randwrite-4k-qd32 --out "$out"
  for side in target initiator; do
    expect_output "... of the $side, and most are not softverbs'" "True" python3 -c "
import json, sys
for entry in json.load(open(sys.argv[1]))['instructions']:
    if entry['side'] == '$side': print(entry['per_io']['all'] > entry['per_io']['softverbs'] > 0)" "$out/bench.json"
  done
  check "nothing is left" nothing_is_left
else
  skip "instructions are counted" "valgrind is not installed: Tools/setup --bench"
fi
done_testing
