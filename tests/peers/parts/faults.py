"""Faults that need a real process: kills, full volumes, damage, storms, ends, clocks.

    faults.py [ROW …] [--cycles 50] [--items 100000] [--life 0.5] [--overload 60] [--recovery 1024] [--seed N]

Rows: kill recovery flat disk damage storm ends clocks (all without one).
"""
import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from faults import damage, disk, ends, kill, storm  # noqa: E402
from faults.mounts import own_mounts  # noqa: E402
from harness import figure, finish, say, workdir  # noqa: E402

ROWS = {"damage": damage.run, "disk": disk.run, "ends": ends.run, "clocks": ends.clocks, "kill": kill.run, "storm": storm.run, "recovery": kill.recovery, "flat": kill.flat}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", nargs="*", metavar="ROW")
    p.add_argument("--cycles", type=int, default=50)
    p.add_argument("--items", type=int, default=100_000, help="acknowledged at least, over all cycles")
    p.add_argument("--life", type=float, default=0.5, help="seconds under load before each kill, at least")
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
