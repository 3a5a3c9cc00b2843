"""How far a bench is, and how long the rest takes, on standard error."""

import sys
import time

import instructions
import load
import plan


class Progress:
    """Counts steps; what is left is estimated from what the steps of each kind have taken so far."""

    def __init__(self, options):
        self.start = self.last = time.monotonic()
        members = 2 if load.has_engine() else 1
        cells = len(options.chosen_cells())
        self.left = {
            "lab": plan.lab_steps(options),
            "native": options.rounds * cells * (5 if load.has_engine() else 3) * ("native" in options.parts),
            # Servers are copied from, too; those that only stand beside have one store.
            "nbd": options.rounds * ((cells + 3) * 6 + (cells + 2) * 2 * (1 + load.has_engine())) * ("nbd" in options.parts),
            "instructions": len(instructions.chosen(options)) * 2 * members * ("instructions" in options.parts),
        }
        self.total = sum(self.left.values())
        self.cost = {
            "lab": options.seconds + plan.LAB_OVERHEAD, "native": options.seconds + plan.NATIVE_OVERHEAD,
            "nbd": options.seconds + plan.NATIVE_OVERHEAD,
            "instructions": plan.INSTRUCTIONS_SECONDS,
        }
        self.taken = {kind: [] for kind in self.left}
        start = plan.LAB_START if self.left["lab"] else 0.0
        self.note(f"{self.total} measurements, {_duration(start + self._rest())} on a quiet machine")

    def _rest(self):
        return sum(count * self.cost[kind] for kind, count in self.left.items())

    def elapsed(self):
        return time.monotonic() - self.start

    def note(self, text):
        print(f"bench: {text}", file=sys.stderr, flush=True)

    def step(self, kind, event):
        """Tells of a result."""
        if kind == "sample":
            store = event["store"]
            kind = "native" if store == "softverbs" else "nbd" if store.startswith("nbd") else "lab"
        if event.get("tool") == "sum":
            return
        now = time.monotonic()
        self.taken[kind].append(now - self.last)
        self.last = now
        self.left[kind] = max(0, self.left[kind] - 1)
        # The first of a kind has all the preparation in it.
        known = sorted(self.taken[kind][1:])
        if known:
            self.cost[kind] = sum(known) / len(known)
        done = self.total - sum(self.left.values())
        print(f"[{done}/{self.total}, {_duration(self._rest())} left] {_line(event)}", file=sys.stderr, flush=True)


def _line(event):
    where = f"{event['cell']} {event.get('store', '')} {event.get('peer', event.get('side', ''))}"
    if "error" in event:
        return f"{where}: {event['error']}"
    if "per_io" in event:
        return f"{where}, {event['members']} member(s): {event['per_io']['all']:.0f} instructions for each I/O"
    turn = f"round {event['round']}" if event["round"] else "warm-up"
    return f"{turn}: {where}: {event['iops']:.0f} I/Os a second"


def _duration(seconds):
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
