"""The part that measures NBD servers: ours beside nbdkit and qemu-nbd on memory, and a volume through NBD beside the volume."""

import os
import subprocess
import time

import load
import native
import plan
import processor

VOLUMED = os.environ.get("VOLUMED", f"{load.PROJECT}/.build/release/tercet-volumed")
# The members of the volumes are memory; or memory that takes a drive's time.
STORES = {"nbd": "", "nbd, members of 80 us": ",latency=80us"}


class NBDCopy:
    """nbdcopy of a whole export to nowhere."""

    tool = "nbdcopy"
    marks = False

    def __init__(self, uri, length):
        self.uri = uri
        self.length = length
        self.environment = {}

    def command(self, cell, seconds, folder):
        # Often enough to last a while.
        script = "start=$EPOCHREALTIME; for _ in 1 2 3 4; do nbdcopy -- \"$0\" null: || exit; done; echo $start $EPOCHREALTIME"
        return ["bash", "-c", script, self.uri]

    def result(self, text):
        start, end = (float(field.replace(",", ".")) for field in text.split())
        copied = 4 * self.length
        return {
            "ios": copied // plan.COPY.block_size, "seconds": end - start, "bytes": copied,
            "latency_us": {"mean": 0.0, "p50": 0.0, "p99": 0.0},
        }


class Server:
    """An NBD server at a Unix socket, until the end of a with statement."""

    def __init__(self, socket, command, environment=None, export=""):
        self.socket = socket
        self.export = export
        self.command = command
        self.environment = {**os.environ, **(environment or {})}

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )
        for _ in range(300):
            if self.process.poll() is not None:
                raise native.TargetError(f"{self.command[0]} ended at once")
            if subprocess.run(["nbdinfo", "--size", self.uri], capture_output=True, check=False).returncode == 0:
                return self
            time.sleep(0.1)
        self.__exit__()
        raise native.TargetError(f"{self.command[0]} does not answer")

    @property
    def uri(self):
        return f"nbd+unix:///{self.export}?socket={self.socket}"

    def __exit__(self, *_):
        native.end(self.process)


def servers(folder, length):
    """Servers of memory, by the peer's name."""
    image = f"/dev/shm/tercet-bench.{os.getpid()}.img"
    with open(image, "wb") as file:
        os.truncate(file.fileno(), length)
    sockets = {name: f"{folder}/{name}.sock" for name in ("nbd", "nbdkit", "qemu-nbd")}
    return image, {
        "nbd": Server(sockets["nbd"], [VOLUMED, "--nbd", sockets["nbd"], "--device", f"ram:{length}"]),
        "nbdkit": Server(sockets["nbdkit"], ["nbdkit", "-f", "-U", sockets["nbdkit"], "memory", str(length)]),
        "qemu-nbd": Server(
            sockets["qemu-nbd"], ["qemu-nbd", "-t", "-e", "16", "-f", "raw", "-k", sockets["qemu-nbd"], image]),
    }


def fio(uri):
    return load.Fio(["--ioengine=nbd", f"--uri={uri}"])


def measure(options, port, folder, say):
    """Measures every peer in turns and says each result, on each store."""
    for store, drive in STORES.items():
        measure_store(options, port, folder, say, store, drive)


def measure_store(options, port, folder, say, store, drive):
    length = native.size(options)
    image, running = servers(folder, length)
    if drive:
        running = {"nbd": running["nbd"]}
    exports = {f"ram{number}": f"ram:{length}{drive}" for number in range(1, 7)}
    try:
        with native.Target(port, exports, folder) as target:
            socket = f"{folder}/volume.sock"
            through = [f"ram{number}" for number in (1, 2, 3)]
            target.volume(through)
            members = ",".join(target.member(name) for name in through)
            nvme = f"{native.ADDRESS}:{port + 1}"
            running["nbd-volume"] = Server(
                socket, [VOLUMED, "--nbd", socket, "--nvme", nvme, "--volume", f"v={members}"], native.ENVIRONMENT, "v")
            loads = {name: fio(server.uri) for name, server in running.items()}
            if load.has_engine():
                loads["volume"] = target.volume([f"ram{number}" for number in (4, 5, 6)])
            stack = []
            try:
                for server in running.values():
                    stack.append(server.__enter__())
                loads["nvme-volume"] = load.our_initiator(
                    native.ADDRESS, port + 1, native.only_subsystem(port + 1), native.ENVIRONMENT)
                for loader in loads.values():
                    load.measure(loader, plan.FILL, None, processor.Window())
                turns(options, loads, running, length, say, store)
            finally:
                for server in stack:
                    server.__exit__()
    finally:
        os.unlink(image)


def turns(options, loads, running, length, say, store):
    names = list(loads)
    for turn in range(1, options.rounds + 1):
        for cell in [*options.chosen_cells(), *plan.BULK, plan.COPY]:
            first = turn % len(names)
            done = {}
            for name in names[first:] + names[:first]:
                if cell is plan.COPY and name not in running:
                    continue
                event = {"event": "sample", "round": turn, "cell": cell.name, "peer": name, "store": store}
                # The daemon that exports the volume by NVMe-oF exports it by NBD, too.
                server = running.get("nbd-volume" if name == "nvme-volume" else name)
                loader = NBDCopy(server.uri, length) if cell is plan.COPY else loads[name]
                window = processor.Window(server.process.pid if server else None, with_kernel=False)
                try:
                    event |= load.measure(loader, cell, options.seconds, window)
                except load.LoadError as error:
                    event["error"] = str(error)
                done[name] = event
                say(event)
            if bound := one_after_the_other(done.get("volume"), done.get("nbd")):
                say({**bound, "event": "sample", "peer": "volume+nbd"})


def one_after_the_other(first, second):
    """The sample of a peer that does each I/O at two others in turn: what is to be expected where all share the processors."""
    if not first or not second or "error" in first or "error" in second:
        return None
    iops = 1 / (1 / first["iops"] + 1 / second["iops"])
    return {
        **first, "tool": "sum", "iops": iops, "bytes_per_second": first["bytes_per_second"] * iops / first["iops"],
        "latency_us": {kind: time + second["latency_us"][kind] for kind, time in first["latency_us"].items()},
        "cpu_us_per_io": {
            who: time + second["cpu_us_per_io"].get(who, 0) for who, time in first["cpu_us_per_io"].items()
        },
    }
