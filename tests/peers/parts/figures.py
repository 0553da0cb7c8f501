"""Size, start and idle memory of the release binary, against the bounds that are promised."""
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, Gateway, Sink, check, figure, finish, outlets, say, until, workdir  # noqa: E402

MIB = 1 << 20


def rss(pid):
    """(resident, of it private) bytes."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        rows = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in f if line.rstrip().endswith("kB")}
    return rows["Rss"], rows["Private_Clean"] + rows["Private_Dirty"]


def main():
    work = workdir("figures")
    check("this is a release build", "release" in BINARY or os.environ.get("FIGURES_ANYWAY"), BINARY)
    stripped = os.path.join(work, "stripped")
    subprocess.run(["strip", "-o", stripped, BINARY], check=True)
    size = os.path.getsize(stripped) / MIB
    figure("stripped binary", round(size, 1), "MiB")
    check("stripped binary <= 40 MiB", size <= 40)

    sink = Sink(os.path.join(work, "sink"))
    times, resident = [], []
    for n in range(10):
        gateway = Gateway(os.path.join(work, f"run-{n}"), outlets(sink), log="info")
        began = time.perf_counter()
        gateway.start(wait=False)
        until("ready", gateway.ready, 10, 0.001)
        times.append((time.perf_counter() - began) * 1000)
        if n < 3:
            # idle: what start left behind has settled, no telemetry has come
            time.sleep(5)
            resident.append(rss(gateway.process.pid))
        gateway.stop()
    again = []
    for _ in range(10):
        began = time.perf_counter()
        gateway.start(wait=False)
        until("ready", gateway.ready, 10, 0.001)
        again.append((time.perf_counter() - began) * 1000)
        gateway.stop()
    figure("start to ready, new folder, median of 10", round(statistics.median(times)), f"ms ({round(min(times))} to {round(max(times))})")
    figure("start to ready, old folder, median of 10", round(statistics.median(again)), f"ms ({round(min(again))} to {round(max(again))})")
    check("start to ready <= 100 ms", statistics.median(times) <= 100 and statistics.median(again) <= 100)
    idle = statistics.median(r for r, _ in resident) / MIB
    figure("idle resident memory, median of 3", round(idle, 1), f"MiB (private {round(statistics.median(p for _, p in resident) / MIB, 1)})")
    check("idle resident memory <= 25 MiB", idle <= 25)
    finish(work)


if __name__ == "__main__":
    say("figures: size, start, memory")
    main()
