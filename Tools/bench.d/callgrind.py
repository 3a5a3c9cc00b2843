"""Programs under callgrind, and what it counted, by the object that the instructions are in."""

import collections
import os
import re
import shutil
import subprocess

import load


class CallgrindError(Exception):
    """What is needed for counting is not there or does not work."""


class Callgrind:
    """Runs programs under callgrind, in a folder with copies of them that valgrind 3.19 can read: without debug
    information of DWARF 5, which it aborts on."""

    def __init__(self, folder):
        self.folder = folder
        if not shutil.which("valgrind"):
            raise CallgrindError("valgrind is missing: run Tools/setup --bench")
        self.shim = f"{folder}/sigsuspend.so"
        source = f"{load.TOOLS}/bench.d/sigsuspend.c"
        _run("cc", "-O2", "-shared", "-fPIC", "-o", self.shim, source)
        self.count = 0

    def copy(self, path):
        """A copy of a program or library without its debug information."""
        copied = f"{self.folder}/{os.path.basename(path)}"
        if not os.path.exists(copied):
            shutil.copy(path, copied)
            _run("strip", "-g", copied)
        return copied

    def command(self, command, options=()):
        """The command that runs another one, and the file that the counts will be in."""
        self.count += 1
        result = f"{self.folder}/callgrind.{self.count}"
        return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={result}", *options, *command], result


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CallgrindError(f"{command[0]}: {done.stderr.strip()}")


def _costs(path):
    """Instructions by object and position in it, as it is written, from a file that callgrind wrote."""
    names, counts = {}, collections.Counter()
    current, is_call = None, False
    with open(path) as file:
        for line in file:
            named = re.match(r"(c?)ob=\((\d+)\)(?: (.*))?", line)
            if named:
                # A name is spelled out where it occurs first, be it as the object or as the one that is called.
                if named[3]:
                    names[named[2]] = named[3]
                if not named[1]:
                    current = named[2]
            elif line.startswith("calls="):
                is_call = True
            elif line[0] in "0123456789+-*":
                # The line behind a call has what the callee cost, which is counted there.
                position, *costs = line.split()
                if not is_call and costs:
                    counts[current, position] += int(costs[-1])
                is_call = False
    return {(names.get(number, number), position): count for (number, position), count in counts.items()}


def instructions(path):
    """Instructions by object, from a file that callgrind wrote."""
    counts = collections.Counter()
    for (name, _), count in _costs(path).items():
        counts[name] += count
    return dict(counts)


# What has each instruction's address in the file, as one number.
BY_ADDRESS = ("--dump-instr=yes", "--compress-pos=no")


def by_address(path):
    """Instructions by object and address in it, from a file that callgrind wrote with BY_ADDRESS."""
    counts = collections.Counter()
    for (name, position), count in _costs(path).items():
        counts[name, int(position, 16)] += count
    return counts


KINDS = (
    ("softverbs", r"libsoftverbs"),
    ("tercet", r"/(tercetd|tercet|lib[tT]ercet\.so|tercet-fio-engine\.so)$"),
    ("swift", r"libswift|libdispatch|libFoundation|lib_Foundation|libBlocksRuntime"),
    ("fio", r"/fio$"),
)


def kind_of(path):
    """Whose instructions those of an object are: tercet's, the Swift runtime's, softverbs', fio's, the rest (libc)."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, path)), "other")


def by_kind(counts):
    """Instructions by whose they are."""
    kinds = collections.Counter()
    for path, count in counts.items():
        kinds[kind_of(path)] += count
    return kinds
