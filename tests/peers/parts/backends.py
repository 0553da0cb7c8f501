"""Real back ends, fed by tollgate with recorded sessions, then asked through their own APIs for what an operator needs.

    backends.py [ROW ...]    default: every row

A row starts one back end and a tollgate that forwards to it and to a sink. The sink shows what tollgate sent; the back
end must hold the same: every span under its parent, token counts and cost as numbers, errors as errors, no content.
A row is a file of ../backends.
"""
import os
import subprocess
import sys
import time

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [PEERS, os.path.dirname(os.path.abspath(__file__))]
from backends.collector import collector  # noqa: E402
from backends.collector_client import collector_client  # noqa: E402
from backends.common import end_row  # noqa: E402
from backends.jaeger import jaeger  # noqa: E402
from backends.presets import presets  # noqa: E402
from backends.prometheus import prometheus  # noqa: E402
from backends.tollgate import tollgate  # noqa: E402
from backends.victoriametrics import victoriametrics  # noqa: E402
from harness import HERE, check, figure, finish, say, workdir  # noqa: E402

# what a row needs of install.sh
INSTALLS = {name: name for name in ("jaeger", "prometheus", "victoriametrics", "collector")} | {"collector_client": "otelcol"}
ROWS = {row.__name__: row for row in (jaeger, prometheus, victoriametrics, collector, collector_client, tollgate, presets)}


def install(name):
    done = subprocess.run([os.path.join(HERE, "backends", "install.sh"), name], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"backends: {name} can't be installed: {done.stderr[-1500:]}")


def main():
    wanted = sys.argv[1:] or list(ROWS)
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        sys.exit(f"backends: no row {', '.join(unknown)}; rows: {', '.join(ROWS)}")
    work = workdir("backends")
    for name in wanted:
        say(f"{name}:")
        if name in INSTALLS:
            install(INSTALLS[name])
        began, folder = time.monotonic(), os.path.join(work, name)
        os.makedirs(folder)
        try:
            ROWS[name](folder)
        except Exception as error:  # the other rows still run
            check(name, False, repr(error))
        end_row()
        figure(f"{name} took", round(time.monotonic() - began), "s")
    finish(work)


if __name__ == "__main__":
    say("backends: real back ends, fed with recordings and asked through their own APIs")
    main()
