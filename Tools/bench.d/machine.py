"""On what a bench ran: the machine, and the versions of the programs."""

import os
import platform
import re
import subprocess
import tempfile


def _first_line(*command):
    """The first line that a program prints; none where it does not run."""
    try:
        # Swift leaves a folder behind wherever temporary files are.
        with tempfile.TemporaryDirectory(prefix="tercet-bench.") as folder:
            done = subprocess.run(
                command, env={**os.environ, "TMPDIR": folder}, capture_output=True, text=True, timeout=30, check=False
            )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def _read(path, pattern):
    try:
        with open(path) as file:
            found = re.search(pattern, file.read(), re.MULTILINE)
    except OSError:
        return None
    return found.group(1).strip() if found else None


def load_average():
    """The machine's load, over one minute."""
    return os.getloadavg()[0]


def describe():
    """The machine that this runs on."""
    memory = _read("/proc/meminfo", r"^MemTotal: *(\d+) kB")
    return {
        "kernel": platform.release(),
        "processor": _read("/proc/cpuinfo", r"^model name\s*: (.*)$"),
        "processors": os.cpu_count(),
        "memory_mib": int(memory) // 1024 if memory else None,
        # In the lab QEMU emulates the processor; elsewhere what the processor itself says of a hypervisor counts.
        "emulated": os.environ.get("LAB") == "1",
        "virtual": bool(_read("/proc/cpuinfo", r"^flags\s*:.*\b(hypervisor)\b")),
        "load": load_average(),
        "rdma": sorted(os.listdir("/sys/class/infiniband")) if os.path.isdir("/sys/class/infiniband") else [],
    }


def versions(project):
    """The programs that take part, by name."""
    programs = {
        "fio": ("fio", "--version"),
        "nvme-cli": ("nvme", "version"),
        "mdadm": ("mdadm", "--version"),
        "valgrind": ("valgrind", "--version"),
        "qemu": ("qemu-system-x86_64", "--version"),
        "swift": ("swift", "--version"),
        "tercet": ("git", "-C", project, "describe", "--always", "--dirty"),
    }
    return {name: _first_line(*command) for name, command in programs.items()}
