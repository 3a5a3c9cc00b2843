"""Processor time: of the machine, of processes and of kernel threads, from /proc."""

import os

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
PF_KTHREAD = 0x00200000


def machine():
    """Seconds since the boot that all processors were busy, and how many of them were spent in interrupts."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = fields
    return (user + nice + system + irq + softirq) * TICK, (irq + softirq) * TICK


def _stat(path):
    """The fields of a stat file behind the name, which may have any character in it; none where it has gone."""
    try:
        with open(path) as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def process(pid):
    """Seconds that a process, all its threads, has used; 0 where it has gone."""
    fields = _stat(f"/proc/{pid}/stat")
    return (int(fields[11]) + int(fields[12])) * TICK if fields else 0.0


def kernel_threads():
    """Seconds that each kernel thread has used, by its number."""
    used = {}
    for name in os.listdir("/proc"):
        fields = _stat(f"/proc/{name}/stat") if name.isdigit() else None
        if fields and int(fields[6]) & PF_KTHREAD:
            used[name] = (int(fields[11]) + int(fields[12])) * TICK
    return used


class Window:
    """The processor time between begin and end, by whom it was used.

    Kernel threads that ended in between are not counted. Time in soft interrupts is counted twice: as such, and with
    the thread that was interrupted.
    """

    def __init__(self, target=None, with_kernel=True):
        self.target = target
        self.with_kernel = with_kernel

    def begin(self, initiator):
        self.initiator = initiator
        self.threads = kernel_threads() if self.with_kernel else {}
        self.before = (process(self.target) if self.target else 0.0, process(initiator))
        self.machine = machine()

    def end(self):
        busy, interrupts = machine()
        used = {
            "machine": busy - self.machine[0],
            "interrupts": interrupts - self.machine[1],
            "initiator_process": process(self.initiator) - self.before[1],
        }
        if self.target:
            used["target_process"] = process(self.target) - self.before[0]
        if self.with_kernel:
            used["kernel_threads"] = sum(
                seconds - self.threads.get(thread, 0.0) for thread, seconds in kernel_threads().items()
            )
        return used
