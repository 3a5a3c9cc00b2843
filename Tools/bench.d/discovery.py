"""How long a host takes to discover 2,000 subsystems at two listeners, and what that costs another host's reads at depth 1, on the
same reactor: alone and beside a discovery each second, in turns."""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import native

SUBSYSTEMS = 2000
ROUNDS = 3
SECONDS = 5
# A discovery, in seconds; and the reads that another host may lose by one each second.
LIMIT = 0.5
LOSS = 0.05


def measure(out, port):
    """Measures, prints the table and writes it; returns the exit status."""
    try:
        with tempfile.TemporaryDirectory(prefix="tercet-bench.") as folder, Target(port, folder) as target:
            times = [target.discover() for _ in range(ROUNDS)]
            alone, beside = [], []
            for _ in range(ROUNDS):
                alone.append(target.reads())
                with Discoveries(target):
                    beside.append(target.reads())
    except (native.TargetError, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        print(f"bench: not measured: {error}", file=sys.stderr)
        return 1
    loss = 1 - statistics.median(beside) / statistics.median(alone)
    lines = [
        f"discovery of {2 * SUBSYSTEMS} records, the whole command: {', '.join(f'{each:.2f}' for each in times)} s; at most "
        f"{LIMIT} s: {'yes' if max(times) <= LIMIT else 'no'}",
        f"another host's 4 KiB reads at depth 1, a second: alone {said(alone)}; beside a discovery each second {said(beside)}",
        f"the medians differ by {loss:.1%}; at most {LOSS:.0%}: {'yes' if loss <= LOSS else 'no'}",
    ]
    print("\n".join(lines))
    with open(f"{out}/discovery.txt", "w") as file:
        file.write("\n".join(lines) + "\n")
    return 0


def said(rates):
    return ", ".join(f"{rate:,.0f}" for rate in rates)


class Target(native.Target):
    """tercetd with as many subsystems at two listeners."""

    def __init__(self, port, folder):
        super().__init__(port, {}, folder)
        self.configuration = f"{folder}/tercetd.json"
        with open(self.configuration, "w") as file:
            json.dump({
                "reactors": 1, "stateDirectory": folder,
                "listeners": [{"address": native.ADDRESS, "port": port + place} for place in range(2)],
                "subsystems": [
                    {"nqn": f"{native.NQN}.{number}", "allowAnyHost": True,
                     "namespaces": [{"nsid": 1, "backing": "ram:1M"}] if number == 0 else []}
                    for number in range(SUBSYSTEMS)
                ],
            }, file)

    def options(self):
        return ["--config", self.configuration]

    def discover(self):
        start = time.monotonic()
        done = native.tercet("discover", "-a", native.ADDRESS, "-s", str(self.port), "--json")
        took = time.monotonic() - start
        if done.returncode:
            raise native.TargetError(f"tercet discover: {done.stderr.strip()}")
        found = done.stdout.count(native.NQN + ".")
        if found != 2 * SUBSYSTEMS:
            raise native.TargetError(f"tercet discover finds {found} records, not {2 * SUBSYSTEMS}")
        return took

    def reads(self):
        done = native.tercet(
            "bench", "-a", native.ADDRESS, "-s", str(self.port), "-n", f"{native.NQN}.0", "--iodepth", "1", "--runtime",
            str(SECONDS), "--json")
        if done.returncode:
            raise native.TargetError(f"tercet bench: {done.stderr.strip()}")
        return json.loads(done.stdout)["read"]["iops"]


class Discoveries:
    """One discovery each second, until the end of a with statement."""

    def __init__(self, target):
        self.target = target
        self.isOver = threading.Event()
        self.problem = None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.isOver.wait(1):
            try:
                self.target.discover()
            except native.TargetError as error:
                self.problem = error
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.isOver.set()
        self.thread.join()
        if self.problem:
            raise self.problem
