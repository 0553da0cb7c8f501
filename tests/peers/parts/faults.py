"""Faults that need a real process, besides kills (part `crash`): full volumes, storms, gigabytes that wait.

    faults.py [ROW …] [--overload 60] [--backlog 1024]

Rows: disk storm flat (all without one).
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from faults import backlog, disk, storm  # noqa: E402
from faults.mounts import own_mounts  # noqa: E402
from harness import figure, finish, say, workdir  # noqa: E402

ROWS = {"disk": disk.run, "storm": storm.run, "flat": backlog.flat}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", nargs="*", metavar="ROW")
    p.add_argument("--overload", type=int, default=60, help="seconds")
    p.add_argument("--backlog", type=int, default=1024, help="MiB of spool")
    options = p.parse_args()
    own_mounts()
    work = workdir("faults")
    for row in options.rows or ROWS:
        began = time.monotonic()
        say(f"  -- {row}")
        ROWS[row](work, options)
        figure(f"{row} took", round(time.monotonic() - began, 1), "s")
    finish(work)


if __name__ == "__main__":
    main()
