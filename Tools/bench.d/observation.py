"""What metrics and the trace cost each I/O, in instructions: both are always on, so that there is no run without them.

callgrind counts each instruction at its address. The compiler puts the code of both into their callers; the debug
information tells for each address through which functions it came there (llvm-symbolizer). An instruction belongs to
metrics or to the trace if one of those is theirs, or if its own line is in a statement that calls them: what only
prepares such a call is counted with it.
"""

import collections
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import callgrind
import instructions
import load
import native
import plan

LIMIT = 0.01
# Rooms and files whose code is theirs, and the calls by which others use them.
OWN = (
    ("trace", r"/Sources/Trace/", r"\btrace\??\.(record|note)\("),
    ("metrics", r"/Sources/(NVMeTarget/(Statistics|TargetCounters|CommandEngine\+Counting)|VolumeDriver/VolumeLoad|Base/CommandCounts)\.swift$",
     r"\b(statistics\??|load)\.(count|update)\(|\b(willCount|countRead|countWrite)\("),
)
# Built with their debug information, by the name of the copy that was counted.
UNSTRIPPED = {"tercetd": native.TERCETD, "tercet": load.TERCET}


def measure(out, port):
    """Measures, prints the table and writes it; returns the exit status."""
    if not shutil.which("llvm-symbolizer"):
        print("bench: llvm-symbolizer is missing: Tools/setup --bench", file=sys.stderr)
        return 1
    cells = [cell for cell in plan.CELLS if cell.name in instructions.QUICK_CELLS]
    rows = [f"{'instructions for each I/O':<34}{'all':>8}{'softverbs':>11}{'trace':>7}{'metrics':>9}{'share':>8}{'of ours':>9}"]
    is_within = True
    try:
        with tempfile.TemporaryDirectory(prefix="tercet-bench.") as folder:
            bench = instructions.Bench(port, 1, callgrind.Callgrind(folder))
            for side in ("target", "initiator"):
                for cell in cells:
                    found = per_io(bench, side, cell)
                    observed = found["trace"] + found["metrics"]
                    whole = found["all"] - found["softverbs"]
                    is_within = is_within and max(found["trace"], found["metrics"]) <= LIMIT * whole
                    rows.append(
                        f"{side + ', ' + cell.name:<34}{found['all']:8.0f}{found['softverbs']:11.0f}{found['trace']:7.1f}"
                        f"{found['metrics']:9.1f}{observed / whole:8.2%}{observed / found['ours']:9.2%}")
    except (callgrind.CallgrindError, load.LoadError, native.TargetError, OSError) as error:
        print(f"bench: not measured: {error}", file=sys.stderr)
        return 1
    rows.append("share: both, of all but softverbs, which a device takes the place of; of ours: of what is compiled from Sources")
    rows.append(f"the trace and metrics each at most {LIMIT:.0%} of all but softverbs: {'yes' if is_within else 'no'}")
    print("\n".join(rows))
    with open(f"{out}/observation.txt", "w") as file:
        file.write("\n".join(rows) + "\n")
    return 0


def per_io(bench, side, cell):
    """Instructions for each I/O by what they are for: the difference of two runs."""
    few, many = instructions.lengths(cell, True)
    short, long = (callgrind.by_address(bench.run(side, cell, ios, callgrind.BY_ADDRESS)) for ios in (few, many))
    long.subtract(short)
    # An instruction that I/O does not execute is met by chance.
    each = {place: count / (many - few) for place, count in long.items() if abs(count) > (many - few) / 100}
    found = collections.Counter(all=sum(long.values()) / (many - few))
    found["softverbs"] = sum(count for (path, _), count in long.items() if callgrind.kind_of(path) == "softverbs") / (many - few)
    for path in {path for path, _ in each}:
        program = UNSTRIPPED.get(os.path.basename(path))
        if program is None:
            continue
        counts = {address: count for (other, address), count in each.items() if other == path}
        purposes = purposes_of(program, counts)
        for address, count in counts.items():
            found["ours"] += count
            found[purposes[address]] += count
    return found


def purposes_of(program, addresses):
    """For each address of a program `trace`, `metrics` or `work`."""
    done = subprocess.run(
        ["llvm-symbolizer", f"--obj={program}", "--output-style=JSON", "--inlines"], check=False, text=True,
        input="\n".join(hex(address) for address in addresses), capture_output=True,
    )
    if done.returncode != 0:
        raise callgrind.CallgrindError(f"llvm-symbolizer: {done.stderr.strip()}")
    return {int(entry["Address"], 16): purpose(entry.get("Symbol", [])) for entry in map(json.loads, done.stdout.splitlines())}


def purpose(frames):
    """What an instruction is for; its functions come from the inside to the outside."""
    for name, own, _ in OWN:
        if any(re.search(own, frame["FileName"]) for frame in frames):
            return name
    for name, _, _ in OWN:
        if any(frame["Line"] in calls(frame["FileName"])[name] for frame in frames[:1]):
            return name
    return "work"


@functools.lru_cache(maxsize=None)
def calls(path):
    """The lines of the statements in a file that call metrics or the trace."""
    lines = {name: set() for name, _, _ in OWN}
    if "/Sources/" not in path or not os.path.exists(path):
        return lines
    with open(path) as file:
        text = file.read()
    for name, _, call in OWN:
        for match in re.finditer(call, text):
            end, depth = match.end(), 1
            while depth and end < len(text):
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            first, last = (text.count("\n", 0, place) + 1 for place in (match.start(), end))
            lines[name].update(range(first, last + 1))
    return lines
