"""The parts that run natively, on softverbs: targets and loads are processes of this machine."""

import json
import os
import subprocess
import time

import load
import plan
import processor

SOFTVERBS = os.environ.get("SOFTVERBS", f"{load.TOOLS}/softverbs/build/libsoftverbs.so")
TERCETD = os.environ.get("TERCETD", f"{load.PROJECT}/.build/release/tercetd")
ENVIRONMENT = {"LD_PRELOAD": SOFTVERBS}
ADDRESS = "127.0.0.1"
NQN = "nqn.2026-11.io.tercet:bench"


def end(process):
    """Ends a process in good order, or after 20 s at once."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class TargetError(Exception):
    """A target that does not serve; the text says what it said."""


class Target:
    """tercetd on softverbs, with one reactor, until the end of a with statement.

    exports: paths by the last part of their NQN. command: what runs the daemon, such as a tool of valgrind.
    """

    def __init__(self, port, exports, folder, command=None, environment=None):
        self.port = port
        self.exports = exports
        self.log = f"{folder}/tercetd-{port}.log"
        self.command = command or [TERCETD]
        self.environment = environment or {**os.environ, **ENVIRONMENT}

    def __enter__(self):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*self.command, *self.options()], env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.__exit__()
            raise
        return self

    def options(self):
        """What the daemon is told to serve."""
        options = ["--reactors", "1", "--listen", f"{ADDRESS}:{self.port}"]
        for name, path in self.exports.items():
            options += ["--export", f"{NQN}.{name}={path}"]
        return options

    def _wait_until_it_listens(self):
        for _ in range(300):
            if self.process.poll() is not None:
                raise TargetError(f"tercetd ended at once: {self.last_words()}")
            if tercet("discover", "-a", ADDRESS, "-s", str(self.port)).returncode == 0:
                return
            time.sleep(0.1)
        raise TargetError(f"tercetd does not listen: {self.last_words()}")

    def last_words(self):
        with open(self.log) as log:
            return "; ".join(log.read().strip().splitlines()[-3:])

    def __exit__(self, *_):
        end(self.process)

    def member(self, name):
        """The namespace as a volume's member."""
        return f"{ADDRESS}:{self.port}/{NQN}.{name}/1"

    def namespace(self, name):
        """A load of our initiator at the namespace."""
        return load.our_initiator(ADDRESS, self.port, f"{NQN}.{name}", ENVIRONMENT)

    def volume(self, names):
        """Makes a volume of three namespaces and returns a load of it."""
        members = [self.member(name) for name in names]
        options = [option for member in members for option in ("--member", member)]
        done = tercet("volume", "create", "--overwrite", *options)
        if done.returncode != 0:
            raise TargetError(f"the volume cannot be made: {done.stderr.strip()}")
        return load.our_volume(members, ENVIRONMENT)


def tercet(*arguments):
    return subprocess.run(
        [load.TERCET, *arguments], env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=120, check=False,
    )


def only_subsystem(port):
    """NQN of the only subsystem beside that of discovery at a port of this machine."""
    found = tercet("discover", "-a", ADDRESS, "-s", str(port), "--json")
    try:
        (nqn,) = [entry["subnqn"] for entry in json.loads(found.stdout)["records"] if "discovery" not in entry["subnqn"]]
    except (ValueError, KeyError) as error:
        raise TargetError(f"what is exported at port {port} cannot be told: {found.stderr.strip()} {error}") from error
    return nqn


def size(options):
    """Bytes of each namespace and each member."""
    return (64 if options.quick else 256) << 20


def make_files(folder, length):
    """Files to export, as name and path: one that is a namespace of its own, and three members."""
    files = {}
    for name in ("file", "file1", "file2", "file3"):
        files[name] = f"{folder}/{name}.img"
        with open(files[name], "wb") as file:
            os.truncate(file.fileno(), length)
    return files


def measure(options, port, folder, say):
    """Measures every peer in turns and says each result."""
    length = size(options)
    exports = {"null": f"null:{length}", "ram": f"ram:{length}"}
    exports |= {f"ram{number}": f"ram:{length}" for number in (1, 2, 3)}
    exports |= make_files(folder, length)
    with Target(port, exports, folder) as target:
        loads = {name: target.namespace(name) for name in ("null", "ram", "file")}
        if load.has_engine():
            loads |= {f"volume-{kind}": target.volume([f"{kind}{n}" for n in (1, 2, 3)]) for kind in ("ram", "file")}
        for name, loader in loads.items():
            if name != "null":
                load.measure(loader, plan.FILL, None, processor.Window())
        names = list(loads)
        for turn in range(1, options.rounds + 1):
            for cell in options.chosen_cells():
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    event = {"event": "sample", "round": turn, "cell": cell.name, "peer": name, "store": "softverbs"}
                    window = processor.Window(target.process.pid, with_kernel=False)
                    try:
                        event |= load.measure(loads[name], cell, options.seconds, window)
                    except load.LoadError as error:
                        event["error"] = str(error)
                    say(event)
