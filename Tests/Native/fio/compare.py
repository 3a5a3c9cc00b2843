"""Compares what fio printed as JSON of the same jobs in two places: compare.py [--counts] REFERENCE OTHER.

The same keys with values of the same type everywhere, and with --counts the same numbers of operations and bytes. Not
compared: the options of the jobs, which name the place, and disk_util, which fio has of kernel devices only."""

import json
import sys

APART = {"job options", "global options", "disk_util"}
COUNTS = ("total_ios", "io_bytes", "io_kbytes", "short_ios", "drop_ios")


def load(path):
    with open(path) as file:
        text = file.read()
    return json.loads(text[text.index("{"):])


def shape(reference, other, path, wrong):
    if type(reference) is not type(other):
        wrong.append(f"{path}: {type(reference).__name__} there, {type(other).__name__} here")
    elif isinstance(reference, dict):
        keys, others = set(reference) - APART, set(other) - APART
        # The buckets of a histogram are what was measured.
        if path.endswith(".bins"):
            return
        for key in sorted(keys ^ others):
            wrong.append(f"{path}.{key}: only {'there' if key in keys else 'here'}")
        for key in sorted(keys & others):
            shape(reference[key], other[key], f"{path}.{key}", wrong)
    elif isinstance(reference, list):
        if len(reference) != len(other):
            wrong.append(f"{path}: {len(reference)} entries there, {len(other)} here")
        for index, (left, right) in enumerate(zip(reference, other)):
            shape(left, right, f"{path}[{index}]", wrong)


def counts(reference, other, wrong):
    for left, right in zip(reference["jobs"], other["jobs"]):
        for direction in ("read", "write", "trim", "mixed", "sync"):
            for key in COUNTS:
                there, here = (side.get(direction, {}).get(key) for side in (left, right))
                if there != here:
                    wrong.append(f"{left['jobname']}: {direction}.{key}: {there} there, {here} here")


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--counts"]
    reference, other = map(load, arguments)
    wrong = []
    shape(reference, other, "", wrong)
    if "--counts" in sys.argv:
        counts(reference, other, wrong)
    for job in other["jobs"]:
        if job["error"]:
            wrong.append(f"{job['jobname']}: error {job['error']}")
    operations = sum(job.get(d, {}).get("total_ios", 0) for job in other["jobs"] for d in ("read", "write", "trim", "mixed"))
    if not operations:
        wrong.append("nothing was read or written")
    for line in wrong[:20]:
        print(line)
    print(f"{len(other['jobs'])} jobs, {operations} operations")
    sys.exit(1 if wrong else 0)


main()
