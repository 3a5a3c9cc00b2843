"""Runs the parts that need Linux's RDMA: in the lab, or on the machine itself where it has what is needed."""

import dataclasses
import json
import os
import subprocess

import load
import plan


class LabError(Exception):
    """The lab, or what runs in it, did not end well."""


def machine_has_rdma():
    """Whether this machine needs no lab: root, Linux's initiator, and an RDMA device or Soft-RoCE."""
    return (
        os.geteuid() == 0 and _has_module("nvme-rdma")
        and (bool(os.path.isdir("/sys/class/infiniband") and os.listdir("/sys/class/infiniband")) or _has_module("rdma_rxe"))
    )


def _has_module(name):
    try:
        return subprocess.run(["modprobe", "-q", "-n", name], check=False).returncode == 0
    except OSError:
        return False


def measure(options, out, say):
    """Brings the peers up, has them measured, and says each result as it comes."""
    path = f"{out}/plan.json"
    with open(path, "w") as file:
        json.dump(dataclasses.asdict(options), file)
    parts = ",".join(part for part in options.parts if part in plan.LAB_PARTS)
    command = [
        f"{load.TOOLS}/bench.d/lab-peers", path, parts, ",".join(options.stores), options.volume_store,
        "yes" if options.poll else "no", ",".join(options.drives),
    ]
    if not machine_has_rdma():
        drives = [option for size in ("256M", "256M", "256M", "256M") for option in ("--nvme", size)]
        limit = str(600 + int(3 * plan.lab_steps(options) * (options.seconds + plan.LAB_OVERHEAD)))
        command = [
            f"{load.TOOLS}/lab", "run", "--cpus", str(options.cpus), *drives, "--timeout", limit, "--out", f"{out}/lab",
            "--", *command,
        ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        for line in process.stdout:
            say(json.loads(line))
        status = process.wait()
    finally:
        # In good order: the lab ends its machine, and on a machine of its own what was set up is taken down again.
        if process.poll() is None:
            process.terminate()
            process.wait()
    os.remove(path)
    if status != 0:
        raise LabError(f"the part in the lab ended with exit status {status}")
