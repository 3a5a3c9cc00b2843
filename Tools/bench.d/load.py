"""The programs that load a peer, fio and tercet: what they are started with, and what they say at the end."""

import json
import os
import select
import signal
import subprocess
import tempfile

import processor

TOOLS = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
PROJECT = os.path.dirname(TOOLS)
ENGINE = os.environ.get("TERCET_FIO_ENGINE", f"{TOOLS}/fio/engine/build/tercet-fio-engine.so")
TERCET = os.environ.get("TERCET", f"{PROJECT}/.build/release/tercet")


class LoadError(Exception):
    """A program that did not do its work; the text says what it said."""


class Fio:
    """Stock fio: a job file of Tools/fio/bench, with an engine and its options."""

    tool = "fio"
    # fio tells by its own when the job begins and ends, so that the processor time of its start does not count.
    marks = True

    def __init__(self, options, environment=None):
        self.options = options
        self.environment = environment or {}

    def command(self, cell, seconds, folder):
        marks = f"{folder}/marks", f"{folder}/go"
        limit = ["--time_based", f"--runtime={round(seconds * 1000)}ms"] if seconds else []
        return [
            "fio", *self.options, *limit, "--eta=never",
            f"--exec_prerun=echo begin >{marks[0]}; read x <{marks[1]}",
            f"--exec_postrun=echo end >{marks[0]}; read x <{marks[1]}",
            "--output-format=json", f"--output={folder}/result", f"{TOOLS}/fio/bench/{cell.name}.fio",
        ]

    @staticmethod
    def result(text):
        # What the engine or the marks made fio say comes first.
        job = json.loads(text[text.index("{"):])["jobs"][0]
        if job["error"]:
            raise LoadError(f"fio: error {job['error']}")
        parts = [job[kind] for kind in ("read", "write") if job[kind]["total_ios"]]
        ios = sum(part["total_ios"] for part in parts)
        p50, p99 = (
            max((part["clat_ns"].get("percentile", {}).get(name, 0) for part in parts), default=0) / 1e3
            for name in ("50.000000", "99.000000")
        )
        return {
            "ios": ios,
            "seconds": max((part["runtime"] for part in parts), default=0) / 1e3,
            "bytes": sum(part["io_bytes"] for part in parts),
            "latency_us": {
                "mean": sum(part["lat_ns"]["mean"] * part["total_ios"] for part in parts) / max(ios, 1) / 1e3,
                "p50": p50,
                "p99": p99,
            },
        }


class TercetBench:
    """tercet's own bench of a namespace, without fio's share of the time."""

    tool = "tercet bench"
    marks = False

    def __init__(self, options, environment=None):
        self.options = options
        self.environment = environment or {}

    def command(self, cell, seconds, folder, ios=None):
        pattern = ["--rw", cell.pattern, "--rwmixread", str(cell.read_share)]
        # Without a limit of time the first 256 MiB.
        ios = ios or (None if seconds else (256 << 20) // cell.block_size)
        limit = ["--number-ios", str(ios)] if ios else []
        return [
            TERCET, "bench", *self.options, *pattern, "--bs", str(cell.block_size), "--iodepth", str(cell.depth),
            "--runtime", f"{seconds or 100:g}", *limit, "--json",
        ]

    @staticmethod
    def result(text):
        said = json.loads(text)
        if "mismatch" in said or said["errors_answered"] + said["errors_not_done"] + said["errors_unknown"]:
            raise LoadError("tercet bench: I/Os failed")
        parts = [said[kind] for kind in ("read", "write") if kind in said]
        ios = sum(part["ios"] for part in parts)
        return {
            "ios": ios,
            "seconds": said["seconds"],
            "bytes": ios * said["block_size"],
            "latency_us": {
                "mean": sum(part["latency_ns"]["mean"] * part["ios"] for part in parts) / max(ios, 1) / 1e3,
                **{
                    f"p{name}": max((part["latency_ns"]["percentiles"][name] for part in parts), default=0) / 1e3
                    for name in ("50", "99")
                },
            },
        }


def has_engine():
    """Whether fio's engine for our initiator has been built."""
    return os.path.exists(ENGINE)


def our_initiator(address, port, nqn, environment=None):
    """Our initiator at one namespace: fio with our engine; where that is not built, tercet's own bench."""
    if not has_engine():
        return TercetBench(["-a", address, "-s", str(port), "-n", nqn], environment)
    where = ["--transport=rdma", f"--traddr={address}", f"--trsvcid={port}", f"--subnqn={nqn}"]
    return Fio([f"--ioengine=external:{ENGINE}", *where, "--filename=tercet"], environment)


def our_volume(members, environment=None):
    """Our volume over three members, each ADDRESS:PORT/NQN/NSID: fio with our engine."""
    return Fio([f"--ioengine=external:{ENGINE}", f"--volume={','.join(members)}", "--filename=tercet"], environment)


class Running:
    """A program under way, in a session of its own, so that it can be ended with all that it started."""

    current = None

    def __init__(self, command, environment, folder, output):
        self.errors = open(f"{folder}/errors", "w+")
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
            stderr=self.errors, start_new_session=True,
        )
        Running.current = self

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def complaint(self):
        """The last of what it said on standard error."""
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        return "; ".join(lines[-3:])


def measure(load, cell, seconds, window):
    """Runs a load for some seconds, or to its end, and returns what it measured; raises LoadError."""
    with tempfile.TemporaryDirectory(prefix="tercet-bench.") as folder:
        limit = 60 + 10 * (seconds or 6)
        with open(f"{folder}/output", "w") as output:
            os.mkfifo(f"{folder}/marks")
            os.mkfifo(f"{folder}/go")
            marks, go = (os.open(f"{folder}/{name}", os.O_RDWR | os.O_NONBLOCK) for name in ("marks", "go"))
            running = Running(load.command(cell, seconds, folder), load.environment, folder, output)
            try:
                used = _wait(running, load, window, marks, go, limit)
            finally:
                running.kill()
                os.close(marks)
                os.close(go)
        if running.process.returncode != 0:
            raise LoadError(f"{load.tool}: exit status {running.process.returncode}: {running.complaint()}")
        with open(f"{folder}/result" if load.marks else f"{folder}/output") as file:
            result = load.result(file.read())
    if not result["ios"] or not result["seconds"]:
        raise LoadError(f"{load.tool}: no I/O was done")
    result["iops"] = result["ios"] / result["seconds"]
    result["bytes_per_second"] = result["bytes"] / result["seconds"]
    result["cpu_us_per_io"] = {who: seconds / result["ios"] * 1e6 for who, seconds in used.items()}
    result["tool"] = load.tool
    return result


def _wait(running, load, window, marks, go, limit):
    """Waits for the end of a program and returns the processor time between its two marks, or of all of it."""
    pid, used = running.process.pid, {}
    if not load.marks:
        window.begin(pid)
    for _ in range(int(limit * 10)):
        ready, _, _ = select.select([marks], [], [], 0.1)
        # Whether it had ended is asked first: what it used is read while it can be waited for.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ready:
            for mark in os.read(marks, 4096).decode().split():
                if mark == "begin":
                    window.begin(pid)
                else:
                    used = window.end()
                os.write(go, b"\n")
        elif ended:
            if not load.marks:
                used = window.end()
            running.process.wait()
            return used
    raise LoadError(f"{load.tool}: not ended after {limit:.0f} s: {running.complaint()}")
