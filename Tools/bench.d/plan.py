"""What is measured: the cells, the peers, and how long all of it is expected to take."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """One kind of load; Tools/fio/bench has a job file of its name."""

    name: str
    pattern: str
    block_size: int
    depth: int

    @property
    def is_sequential(self):
        return not self.pattern.startswith("rand")

    @property
    def read_share(self):
        """Percent of the I/Os that are reads."""
        return {"randread": 100, "read": 100, "randwrite": 0, "write": 0, "randrw": 70}[self.pattern]


CELLS = [
    Cell(f"{name}-4k-qd{depth}", pattern, 4096, depth)
    for name, pattern in (("randread", "randread"), ("randwrite", "randwrite"), ("randrw70", "randrw"))
    for depth in (1, 32)
] + [Cell(f"{pattern}-128k-qd8", pattern, 131072, 8) for pattern in ("read", "write")]

# Every block written once, without a limit of time: memory and empty files answer otherwise before that.
FILL = Cell("fill", "write", 1 << 20, 4)

# Long requests, for servers of devices alone.
BULK = [Cell(f"{pattern}-1m-qd4", pattern, 1 << 20, 4) for pattern in ("read", "write")]

# nbdcopy of a whole export, in its own requests.
COPY = Cell("nbdcopy", "read", 256 << 10, 64)
TABLE_CELLS = [*CELLS, *BULK, COPY]

QUICK_CELLS = [cell.name for cell in CELLS if cell.pattern != "randrw"]

PARTS = {
    "kernel": "Linux's initiator at tercetd and at nvmet-rdma",
    "initiator": "our initiator at tercetd and at nvmet-rdma",
    "volume": "the replicated volume beside md-raid1 over three nvme-rdma devices",
    "native": "on softverbs: our initiator at tercetd, one member and three, null, RAM and a file",
    "nbd": "NBD servers of memory: tercet-volumed, nbdkit, qemu-nbd; a volume through NBD, through NVMe-oF, and itself,\n"
    "       on members that are memory, and on ones that take 80 us as a drive does",
    "instructions": "on softverbs under callgrind: instructions for each I/O, target and initiator",
}
LAB_PARTS = ("kernel", "initiator", "volume")


@dataclass(frozen=True)
class Comparison:
    """A ratio of two peers on one store, in one part's tables: of I/Os a second, or at depth 1 of the median latencies."""

    title: str
    ours: str
    theirs: str
    is_latency: bool = False

    def suits(self, cell):
        return not self.is_latency or cell.depth == 1

    def ratio(self, ours, theirs):
        if self.is_latency:
            return theirs["latency_us"]["p50"] / ours["latency_us"]["p50"]
        return ours["iops"] / theirs["iops"]


# The peers in the order of the tables: INITIATOR@TARGET where Linux's RDMA is, what is exported on softverbs.
PEERS = (
    "linux@nvmet", "linux@tercetd", "tercet@nvmet", "tercet@tercetd",
    "md-raid1@nvmet", "md-raid1@tercetd", "volume@tercetd",
    "null", "ram", "file", "volume-ram", "volume-file",
    "nbd", "nbdkit", "qemu-nbd", "nbd-volume", "nvme-volume", "volume", "volume+nbd",
)

COMPARISONS = [
    Comparison("tercetd / nvmet-rdma, both under Linux's initiator", "linux@tercetd", "linux@nvmet"),
    Comparison("our initiator / Linux's, both at nvmet-rdma", "tercet@nvmet", "linux@nvmet"),
    Comparison("our initiator / Linux's, both at tercetd", "tercet@tercetd", "linux@tercetd"),
    Comparison("our initiator and target / Linux's initiator and target", "tercet@tercetd", "linux@nvmet"),
    Comparison("our volume at tercetd / md-raid1 at nvmet-rdma", "volume@tercetd", "md-raid1@nvmet"),
    Comparison("our volume / md-raid1, both at tercetd", "volume@tercetd", "md-raid1@tercetd"),
    Comparison("three members / one, RAM", "volume-ram", "ram"),
    Comparison("three members / one, file", "volume-file", "file"),
    Comparison("NBD server: tercet-volumed / nbdkit, memory", "nbd", "nbdkit"),
    Comparison("NBD server: tercet-volumed / qemu-nbd, memory", "nbd", "qemu-nbd"),
    Comparison("our volume through NBD / the volume itself", "nbd-volume", "volume"),
    Comparison("... beside a volume's I/O and one of NBD on memory, one after the other", "nbd-volume", "volume+nbd"),
    Comparison("... by the median latency", "nbd-volume", "volume", is_latency=True),
    Comparison("our volume through NVMe-oF / the volume itself", "nvme-volume", "volume"),
    Comparison("the same by the median latency", "nvme-volume", "volume", is_latency=True),
]


@dataclass
class Options:
    """What the command line chose."""

    parts: list = field(default_factory=lambda: list(PARTS))
    cells: list = field(default_factory=lambda: [cell.name for cell in CELLS])
    quick: bool = False
    rounds: int = 4
    seconds: float = 2.0
    stores: list = field(default_factory=list)
    volume_store: str = ""
    poll: bool = False
    cpus: int = 2
    drives: list = field(default_factory=list)

    def chosen_cells(self):
        return [cell for cell in CELLS if cell.name in self.cells]


# Seconds on a quiet machine, as first guesses; progress learns better ones. What a measurement takes besides its own
# time, what one count of instructions takes, and what it takes until the lab is ready and its stores are filled.
LAB_OVERHEAD = 1.8
NATIVE_OVERHEAD = 0.5
INSTRUCTIONS_SECONDS = 7.0
LAB_START = 80.0


def lab_steps(options):
    """How many measurements the parts in the lab make, the warm-up included."""
    peers = 2 * len(options.stores) * sum(part in options.parts for part in ("kernel", "initiator"))
    peers += 3 * ("volume" in options.parts)
    return peers * (options.rounds * len(options.chosen_cells()) + 1)
