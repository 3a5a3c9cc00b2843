"""What the samples say: medians, ratios of peers that were measured in turns, and their tables."""

import statistics

import plan

# The columns of processor time: what the table calls them, and what /proc called them.
PROCESSOR_COLUMNS = (
    ("machine", "machine"),
    ("target", "target_process"),
    ("initiator", "initiator_process"),
    ("kernel thr.", "kernel_threads"),
    ("interrupts", "interrupts"),
)
INSTRUCTION_COLUMNS = ("all", "tercet", "swift", "softverbs", "fio", "other")


def summarize(samples):
    """For each store, cell and peer: median, least and most, of I/Os a second, latency and processor time."""
    groups = {}
    for sample in samples:
        if sample["round"] > 0:
            groups.setdefault((sample["store"], sample["cell"], sample["peer"]), []).append(sample)
    summary = []
    for (store, cell, peer), group in groups.items():
        good = [sample for sample in group if "error" not in sample]
        entry = {"store": store, "cell": cell, "peer": peer, "samples": len(good), "failed": len(group) - len(good)}
        if good:
            entry |= {
                "tool": good[0]["tool"],
                "iops": _spread([sample["iops"] for sample in good]),
                "bytes_per_second": _spread([sample["bytes_per_second"] for sample in good]),
                "latency_us": {
                    kind: statistics.median(sample["latency_us"][kind] for sample in good) for kind in ("mean", "p50", "p99")
                },
                "cpu_us_per_io": {
                    who: statistics.median(sample["cpu_us_per_io"][who] for sample in good)
                    for who in good[0]["cpu_us_per_io"]
                },
            }
        summary.append(entry)
    return summary


def _spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(samples):
    """For each comparison, store and cell: the ratio of the two peers, round by round; above 1 where ours is the better one."""
    found = {}
    for sample in samples:
        if sample["round"] > 0 and "error" not in sample:
            found[sample["peer"], sample["store"], sample["cell"], sample["round"]] = sample
    stores = list(dict.fromkeys(sample["store"] for sample in samples))
    result = []
    for comparison in plan.COMPARISONS:
        for store in stores:
            for cell in plan.TABLE_CELLS:
                values = [
                    comparison.ratio(ours, found[comparison.theirs, store, cell.name, turn])
                    for (peer, where, name, turn), ours in found.items()
                    if (peer, where, name) == (comparison.ours, store, cell.name)
                    and (comparison.theirs, store, cell.name, turn) in found
                    and comparison.suits(cell)
                ]
                if values:
                    result.append({
                        "title": comparison.title, "ours": comparison.ours, "theirs": comparison.theirs, "store": store,
                        "cell": cell.name, "rounds": len(values), **_spread(values),
                    })
    return result


def table(head, rows):
    """Columns as wide as their widest field; the first to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(head))]
    text = []
    for line in lines:
        first, *others = (str(field) for field in line)
        text.append(
            "  ".join([first.ljust(widths[0]), *(field.rjust(width) for field, width in zip(others, widths[1:]))]).rstrip()
        )
    return "\n".join(text)


def throughput_tables(summary):
    """A table for each store: I/Os a second of each peer, or MB/s of what is sequential, with least and most."""
    for store in dict.fromkeys(entry["store"] for entry in summary):
        here = [entry for entry in summary if entry["store"] == store]
        peers = _peers(here)
        rows = [
            [cell.name, *(_throughput(_entry(here, cell, peer), cell) for peer in peers)]
            for cell in plan.TABLE_CELLS
            if any(entry["cell"] == cell.name for entry in here)
        ]
        yield (
            f"{_place(store)}: I/Os a second, MB/s of the 128 KiB cells: median (least-most)",
            table(["", *peers], rows),
        )


def latency_tables(summary):
    """A table for each store: mean, median and 99th percentile of the latency."""
    for store in dict.fromkeys(entry["store"] for entry in summary):
        here = [entry for entry in summary if entry["store"] == store]
        peers = _peers(here)
        rows = []
        for cell in plan.TABLE_CELLS:
            entries = [_entry(here, cell, peer) for peer in peers]
            if any(entries):
                rows.append([cell.name, *(
                    " / ".join(f"{entry['latency_us'][kind]:.0f}" for kind in ("mean", "p50", "p99"))
                    if entry and "latency_us" in entry else "-" for entry in entries
                )])
        yield f"{_place(store)}: latency in us, mean / median / 99 %", table(["", *peers], rows)


def processor_tables(summary):
    """A table for each store: processor time for each I/O, by who used it."""
    for store in dict.fromkeys(entry["store"] for entry in summary):
        rows = []
        here = [entry for entry in summary if entry["store"] == store and "cpu_us_per_io" in entry]
        columns = [
            (title, who) for title, who in PROCESSOR_COLUMNS if any(who in entry["cpu_us_per_io"] for entry in here)
        ]
        for cell in plan.TABLE_CELLS:
            for peer in _peers(here):
                entry = _entry(here, cell, peer)
                if entry:
                    used = entry["cpu_us_per_io"]
                    fields = (f"{used[who]:.1f}" if who in used else "-" for _, who in columns)
                    rows.append([f"{cell.name} {peer}", *fields])
        if rows:
            yield f"{_place(store)}: processor time in us for each I/O", table(["", *(title for title, _ in columns)], rows)


def ratio_tables(comparisons):
    """A table for each comparison: the median of the rounds' ratios, with least and most."""
    for title in dict.fromkeys(entry["title"] for entry in comparisons):
        here = [entry for entry in comparisons if entry["title"] == title]
        stores = list(dict.fromkeys(entry["store"] for entry in here))
        rows = []
        for cell in plan.TABLE_CELLS:
            fields = []
            for store in stores:
                found = [entry for entry in here if (entry["cell"], entry["store"]) == (cell.name, store)]
                fields.append(_with_spread(found[0], found[0]["rounds"], 1, 2) if found else "-")
            if any(field != "-" for field in fields):
                rows.append([cell.name, *fields])
        yield f"{title}: ratio of I/Os a second", table(["", *(_place(store) for store in stores)], rows)


def instruction_table(counts):
    """Instructions for each I/O, by side and by whose they are."""
    columns = [kind for kind in INSTRUCTION_COLUMNS if any(kind in entry.get("per_io", {}) for entry in counts)]
    rows = []
    for entry in counts:
        name = f"{entry['cell']} {entry['side']}, {entry['members']} member{'s' if entry['members'] > 1 else ''}"
        per_io = entry.get("per_io", {})
        rows.append([name, *(f"{per_io[kind]:.0f}" if kind in per_io else "-" for kind in columns)])
    return table(["", *columns], rows)


def heading(result):
    """When and on what it ran."""
    machine, lab, versions = result["machine"], result["lab"], result["versions"]
    lines = [
        f"Tercet bench, {result['date']}: {result['options']['rounds']} rounds of {result['options']['seconds']:g} s, "
        f"{result['duration_s'] / 60:.1f} minutes",
        f"Machine: {machine['processors']} x {machine['processor']}{', virtual' if machine['virtual'] else ''}, "
        f"Linux {machine['kernel']}, load {machine['load']:.2f} at the start, {machine['load_at_end']:.2f} at the end",
    ]
    if lab:
        lines.append(
            f"RDMA: {', '.join(lab['rdma'])}, Linux {lab['kernel']}, {lab['processors']} processors"
            + (", emulated by QEMU: only ratios mean something" if lab["emulated"] else "")
        )
    lines.append("Versions: " + "; ".join(f"{name} {version}" for name, version in versions.items() if version))
    lines.append("Softverbs: natively on this machine, RDMA in user space; one tercetd with one reactor has all members")
    if result["errors"]:
        lines.append(f"NOT MEASURED: {len(result['errors'])}, listed in bench.json")
    return "\n".join(lines)


def text(result):
    """All tables."""
    parts = []
    tables = [
        *ratio_tables(result["ratios"]), *throughput_tables(result["summary"]), *latency_tables(result["summary"]),
        *processor_tables(result["summary"]),
    ]
    for title, body in tables:
        parts.append(f"{title}\n\n{body}")
    if result["instructions"]:
        parts.append(
            "Instructions for each I/O on softverbs, by callgrind; the kernel's are not in it\n\n"
            + instruction_table(result["instructions"])
        )
    return "\n\n".join(parts) + "\n"


def _place(store):
    return store if store == "softverbs" else f"store {store}"


def _peers(entries):
    return [peer for peer in plan.PEERS if any(entry["peer"] == peer for entry in entries)]


def _entry(entries, cell, peer):
    return next((entry for entry in entries if (entry["cell"], entry["peer"]) == (cell.name, peer)), None)


def _throughput(entry, cell):
    if not entry or "iops" not in entry:
        return "-"
    values, scale = (entry["bytes_per_second"], 1e6) if cell.is_sequential else (entry["iops"], 1)
    return _with_spread(values, entry["samples"], scale, 0)


def _with_spread(values, count, scale, digits):
    """The median and, where there are several, the least and the most."""
    median, least, most = (f"{values[kind] / scale:.{digits}f}" for kind in ("median", "min", "max"))
    return f"{median} ({least}-{most})" if count > 1 else median
