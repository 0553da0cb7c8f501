"""Size, start and idle memory of the release binary, against the bounds that are promised."""
import os
import statistics
import subprocess
import sys
import tempfile
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
    check("stripped binary <= 36 MiB", size <= 36)

    sink = Sink(os.path.join(work, "sink"))
    times, again, resident = starts(sink, work)
    for name, taken in (("new folder", times), ("old folder", again)):
        figure(f"start to ready, {name}, median of 10", round(statistics.median(taken)), f"ms ({round(min(taken))} to {round(max(taken))}), fsyncs on this disk included")
    # other people's writes are not ours: what is promised is shown where fsync costs nothing
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        times, again, _ = starts(sink, memory, idle=0)
    for name, taken in (("new folder", times), ("old folder", again)):
        figure(f"start to ready in memory, {name}, median of 10", round(statistics.median(taken)), f"ms ({round(min(taken))} to {round(max(taken))})")
        check(f"start to ready, {name} <= 100 ms", statistics.median(taken) <= 100)
    idle = statistics.median(r for r, _ in resident) / MIB
    figure("idle resident memory, median of 3", round(idle, 1), f"MiB (private {round(statistics.median(p for _, p in resident) / MIB, 1)})")
    check("idle resident memory <= 25 MiB", idle <= 25)
    finish(work)


def starts(sink, work, idle=5):
    """Ten first starts, ten more of the last one, in ms; and memory after some idle seconds, of the first three."""
    times, resident = [], []
    for n in range(10):
        gateway = Gateway(os.path.join(work, f"run-{n}"), outlets(sink), log="info")
        began = time.perf_counter()
        gateway.start(wait=False)
        until("ready", gateway.ready, 10, 0.001)
        times.append((time.perf_counter() - began) * 1000)
        if n < 3 and idle:
            # idle: what start left behind has settled, no telemetry has come
            time.sleep(idle)
            resident.append(rss(gateway.process.pid))
        gateway.stop()
    again = []
    for _ in range(10):
        began = time.perf_counter()
        gateway.start(wait=False)
        until("ready", gateway.ready, 10, 0.001)
        again.append((time.perf_counter() - began) * 1000)
        gateway.stop()
    return times, again, resident


if __name__ == "__main__":
    say("figures: size, start, memory")
    main()
