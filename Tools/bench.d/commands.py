"""What every fabrics, admin and reservation command costs a reactor where much is configured: CommandCostTests measures it, on a
target in one process, once where little is configured and once where much is, and prints the table."""

import os
import subprocess
import sys

from load import PROJECT

TEST = "printsWhatCommandsCost"
# A reactor does other hosts' I/O between two rounds: no round of a command is to take longer, in microseconds.
LIMIT = 50.0


def measure(out):
    """Measures, prints the table and writes it; returns the exit status."""
    result = subprocess.run(
        ["swift", "test", "--skip-build", "-c", "release", "-Xswiftc", "-enable-testing", "--disable-testable-imports",
         "--disable-xctest", "--filter", TEST],
        cwd=PROJECT, env={**os.environ, "TERCET_COMMAND_COSTS": "1"}, capture_output=True, text=True, check=False,
    )
    lines = result.stdout.splitlines()
    start = next((place for place, line in enumerate(lines) if line.startswith("costliest round")), None)
    if result.returncode or start is None:
        print(result.stdout[-4000:], result.stderr[-4000:], sep="\n", file=sys.stderr)
        print("bench: not measured. Build the tests first: swift build --build-tests -c release -Xswiftc -enable-testing",
              file=sys.stderr)
        return 1
    rows = [line.split(maxsplit=2) for line in lines[start + 1:] if line.startswith("  ")]
    text = "\n".join([lines[start]] + [f"{float(few):8.1f} {float(many):8.1f}  {name}" for few, many, name in rows])
    over = [name for _, many, name in rows if float(many) > LIMIT]
    text += f"\nover {LIMIT:.0f} µs: {', '.join(over) or 'none'}"
    print(text)
    with open(f"{out}/commands.txt", "w") as file:
        file.write(text + "\n")
    return 0
