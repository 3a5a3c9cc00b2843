"""Measures the peers that lab-peers has brought up, in turns; prints each result as a line of JSON."""

import json
import signal
import sys

import load
import machine
import plan
import processor


def read_peers(path, address):
    """The peers as (name, store, load) in the order of the file."""
    peers = []
    with open(path) as file:
        for line in file:
            name, store, kind, *where = line.rstrip("\n").split("\t")
            if kind == "device":
                peers.append((name, store, where[0]))
            elif kind == "namespace":
                peers.append((name, store, load.our_initiator(address, *where)))
            elif load.has_engine():
                peers.append((name, store, load.our_volume(where[0].split(","))))
    return peers


def linux(device, options):
    """Linux's initiator: fio on a block device."""
    engine = ["--ioengine=io_uring", "--hipri"] if options.poll else ["--ioengine=libaio"]
    return load.Fio([*engine, f"--filename={device}"])


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = plan.Options(**json.load(open(sys.argv[1])))
    peers = [
        (name, store, linux(what, options) if isinstance(what, str) else what)
        for name, store, what in read_peers(sys.argv[2], sys.argv[3])
    ]
    target = int(sys.argv[4])
    say({"event": "machine", "machine": machine.describe()})
    stores = list(dict.fromkeys(store for _, store, _ in peers))
    try:
        for name, store, loader in peers:
            is_kept = not store.startswith("null:")
            say(sample(0, plan.FILL, name, store, loader, None if is_kept else options.seconds, target))
        for turn in range(1, options.rounds + 1):
            for cell in options.chosen_cells():
                for store in stores:
                    there = [peer for peer in peers if peer[1] == store]
                    # No peer is always the first.
                    first = turn % len(there)
                    for name, _, loader in there[first:] + there[:first]:
                        say(sample(turn, cell, name, store, loader, options.seconds, target))
    finally:
        if load.Running.current:
            load.Running.current.kill()


def sample(turn, cell, name, store, loader, seconds, target):
    """One measurement as an event; round 0 fills what is to be measured, and warms up."""
    event = {"event": "sample", "round": turn, "cell": cell.name, "peer": name, "store": store}
    window = processor.Window(target if name.endswith("@tercetd") else None)
    try:
        return {**event, **load.measure(loader, cell, seconds, window)}
    except load.LoadError as error:
        return {**event, "error": str(error)}


def say(event):
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    main()
