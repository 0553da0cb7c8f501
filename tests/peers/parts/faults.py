"""Faults that need a real process, besides kills (part `crash`): full volumes, damage, storms, ends, clocks.

    faults.py [ROW …] [--overload 60] [--recovery 1024] [--seed N]

Rows: recovery flat disk damage storm ends clocks (all without one).
"""
import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from faults import backlog, damage, disk, ends, storm  # noqa: E402
from faults.mounts import own_mounts  # noqa: E402
from harness import figure, finish, say, workdir  # noqa: E402

ROWS = {"damage": damage.run, "disk": disk.run, "ends": ends.run, "clocks": ends.clocks, "storm": storm.run, "recovery": backlog.recovery, "flat": backlog.flat}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", nargs="*", metavar="ROW")
    p.add_argument("--overload", type=int, default=60, help="seconds")
    p.add_argument("--flood", type=int, default=128, help="clients of the overload: four times what may be in flight")
    p.add_argument("--recovery", type=int, default=1024, help="MiB of spool")
    p.add_argument("--restarts", type=int, default=10)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = p.parse_args()
    own_mounts()
    say(f"faults: seed {options.seed}")
    work = workdir("faults")
    for row in options.rows or ROWS:
        began = time.monotonic()
        say(f"  -- {row}")
        ROWS[row](work, options)
        figure(f"{row} took", round(time.monotonic() - began, 1), "s")
    finish(work)


if __name__ == "__main__":
    main()
