"""Instructions for each I/O, in the target and in the initiator: the difference of two runs of different length.

Both sides poll, so that what is counted is counted while there is always work: many I/Os at a time.
"""

import os
import subprocess

import callgrind
import load
import native

CELLS = ("randread-4k-qd32", "randwrite-4k-qd32", "randrw70-4k-qd32", "read-128k-qd8", "write-128k-qd8")
QUICK_CELLS = ("randread-4k-qd32", "randwrite-4k-qd32")
SIZE = "64M"


def lengths(cell, is_quick):
    """How many I/Os the two runs have.

    What a run polls before its first I/O and after its last one is chance: 10 ms of it are a million instructions. So many
    I/Os lie between the two runs that it is lost among them.
    """
    few = 250 if cell.is_sequential else 1000
    return few, few * (16 if is_quick else 51)


class Bench:
    """One host's load of one namespace, or of a volume of three, with a number of I/Os."""

    def __init__(self, port, members, tools):
        self.port = port
        self.members = members
        self.tools = tools

    def exports(self):
        if self.members == 1:
            return {"null": f"null:{SIZE}"}
        return {f"ram{number}": f"ram:{SIZE}" for number in (1, 2, 3)}

    def environment(self):
        return {
            **os.environ,
            "LD_PRELOAD": f"{self.tools.copy(native.SOFTVERBS)}:{self.tools.shim}",
            "LD_LIBRARY_PATH": self.tools.folder,
        }

    def command(self, target, cell, ios):
        """The load, in copies that callgrind can read."""
        if self.members == 1:
            one = load.TercetBench(["-a", native.ADDRESS, "-s", str(self.port), "-n", f"{native.NQN}.null"])
            return [self.tools.copy(load.TERCET), *one.command(cell, 600, "", ios=ios)[1:]]
        self.tools.copy(f"{load.PROJECT}/.build/release/libtercet.so")
        volume = ",".join(target.member(f"ram{number}") for number in (1, 2, 3))
        return [
            "/usr/bin/fio", f"--ioengine=external:{self.tools.copy(load.ENGINE)}", f"--volume={volume}",
            "--filename=tercet", f"--number_ios={ios}", "--eta=never", "--output-format=terse",
            f"{load.TOOLS}/fio/bench/{cell.name}.fio",
        ]

    def run(self, side, cell, ios, options=()):
        """Runs it with one side under callgrind; returns the file with what that has counted."""
        daemon, counts = [self.tools.copy(native.TERCETD)], None
        if side == "target":
            daemon, counts = self.tools.command(daemon, options)
        with native.Target(self.port, self.exports(), self.tools.folder, daemon, self.environment()) as target:
            if self.members == 3:
                target.volume(list(self.exports()))
            command = self.command(target, cell, ios)
            if side == "initiator":
                command, counts = self.tools.command(command, options)
            try:
                done = subprocess.run(
                    command, env=self.environment(), cwd=self.tools.folder, stdin=subprocess.DEVNULL,
                    capture_output=True, text=True, timeout=300, check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise load.LoadError(f"not ended after {error.timeout:.0f} s") from error
            if done.returncode != 0:
                raise load.LoadError("; ".join(done.stderr.strip().splitlines()[-2:]))
        return counts


def count(options, port, folder, say):
    """Counts every cell and says each result."""
    tools = callgrind.Callgrind(folder)
    for members in (1, 3):
        if members == 3 and not load.has_engine():
            continue
        bench = Bench(port, members, tools)
        for cell in chosen(options):
            for side in ("target", "initiator"):
                event = {"event": "instructions", "side": side, "members": members, "cell": cell.name}
                few, many = lengths(cell, options.quick)
                try:
                    short, long = (
                        callgrind.by_kind(callgrind.instructions(bench.run(side, cell, ios))) for ios in (few, many)
                    )
                    kinds = {kind: (long[kind] - short[kind]) / (many - few) for kind in long}
                    event["per_io"] = {"all": sum(kinds.values()), **kinds}
                except (load.LoadError, native.TargetError, OSError) as error:
                    event["error"] = str(error)
                say(event)


def chosen(options):
    """The cells that are counted, of those that the command line chose."""
    return [cell for cell in options.chosen_cells() if cell.name in (QUICK_CELLS if options.quick else CELLS)]
