"""The ratios and the native throughput as one SVG, drawn by gnuplot."""

import shutil
import subprocess

import plan


class PlotError(Exception):
    """Why there is no plot."""


def draw(result, path):
    """Draws the result; raises PlotError."""
    if not shutil.which("gnuplot"):
        raise PlotError("gnuplot is missing: Tools/setup --bench installs it")
    panels = _ratio_panels(result["ratios"]) + _native_panels(result["summary"])
    if not panels:
        raise PlotError("there is nothing to draw")
    script = [
        f"set terminal svg size 1000,{60 + 330 * len(panels)} font 'sans,12' background 'white'",
        f"set output '{path}'",
        f"set multiplot layout {len(panels)},1 title \"{_quoted(result['title'])}\"",
        "set style data histograms",
        "set style histogram errorbars gap 1 lw 1",
        "set style fill solid 0.8 border -1",
        "set grid ytics",
        "set xtics rotate by -20 scale 0",
        "set key outside right top",
        *(line for panel in panels for line in panel),
        "unset multiplot",
    ]
    done = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PlotError(f"gnuplot: {done.stderr.strip()}")


def _panel(title, unit, names, series, extra=()):
    """A panel: groups of bars, one group a name; series are (title, [(value, least, most) or None])."""
    lines = []
    for index, (_, values) in enumerate(series):
        lines.append(f"$series{index} << END")
        for name, value in zip(names, values):
            median, least, most = value or ("NaN", "NaN", "NaN")
            lines.append(f'"{name}" {median} {least} {most}')
        lines.append("END")
    bars = [
        f"$series{index} using 2:3:4:xtic(1) title \"{_quoted(name)}\"" for index, (name, _) in enumerate(series)
    ]
    return [*lines, f"set title \"{_quoted(title)}\"", f"set ylabel '{unit}'", *extra, f"plot {', '.join(bars)}"]


def _ratio_panels(ratios):
    """A panel for each comparison, a series for each store, a line where both are equal."""
    panels = []
    for title in dict.fromkeys(entry["title"] for entry in ratios):
        here = {(entry["store"], entry["cell"]): entry for entry in ratios if entry["title"] == title}
        names = [cell.name for cell in plan.TABLE_CELLS if any(cell.name == name for _, name in here)]
        series = []
        for store in dict.fromkeys(store for store, _ in here):
            found = [here.get((store, name)) for name in names]
            series.append((store, [entry and (entry["median"], entry["min"], entry["max"]) for entry in found]))
        equal = ["set yrange [0:1.1<*]", "unset arrow", "set arrow from graph 0,first 1 to graph 1,first 1 nohead lw 2 dt 2 front"]
        panels.append(_panel(title, "ratio of I/Os a second", names, series, equal))
    return panels


def _native_panels(summary):
    """Thousands of I/Os a second on softverbs, a series for each peer."""
    here = {(entry["peer"], entry["cell"]): entry for entry in summary if entry["store"] == "softverbs" and "iops" in entry}
    names = [cell.name for cell in plan.TABLE_CELLS if any(cell.name == name for _, name in here)]
    series = []
    for peer in (peer for peer in plan.PEERS if any(peer == name for name, _ in here)):
        entries = [here.get((peer, name)) for name in names]
        series.append((peer, [
            entry and tuple(entry["iops"][kind] / 1e3 for kind in ("median", "min", "max")) for entry in entries
        ]))
    if not series:
        return []
    return [_panel("our initiator at tercetd on softverbs", "thousand I/Os a second", names, series, ["set yrange [0:*]", "unset arrow"])]


def _quoted(text):
    """Text between double quotes, where gnuplot's markup has no meaning."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("_", "\\\\_").replace("@", "\\\\@").replace("^", "\\\\^")
