"""Prints a job file as the tests run it: on filename=tercet, and over in a moment."""

import re
import sys

DROPPED = {"directory", "filename", "fill_device", "time_based", "runtime", "filesize", "write_bw_log", "log_offset", "timeout", "startdelay"}
CHANGED = {
    "size": "4m", "loops": "2", "latency_window": "200000", "zonesize": "256k",
    "zoneskip": "512k", "offset_increment": "1m", "io_size": "2m",
}


def main():
    # A whole device is too much for a test.
    print("[global]\nfilename=tercet\nsize=4m")
    for line in open(sys.argv[1]):
        name = re.split(r"[=;#\s]", line.strip(), maxsplit=1)[0]
        if name in DROPPED:
            continue
        if name in CHANGED:
            line = f"{name}={CHANGED[name]}\n"
        elif line.strip() == "ioengine=null":
            line = "ioengine=psync\n"
        sys.stdout.write(line)


main()
