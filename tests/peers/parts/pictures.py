"""The pictures of the page in docs/pictures: of `tollgate demo`, in Debian's Chromium. Runs of page.py are sent to the demo beside its own
session, so that the page has a day to show. `OUT` is another folder. (demo.svg and flow.svg there are drawn by hand.)"""
import json
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import otlp_json  # noqa: E402
from harness import BINARY, CACHE, REPO, Gateway, check, figure, finish, http, read, say, start, until, workdir  # noqa: E402
from page import HOUR, Maker, front, runaway  # noqa: E402

OUT = os.environ.get("OUT") or os.path.join(REPO, "docs", "pictures")
RUNS_A_DAY = 180
# pictures stay small, because the repository keeps each version of them
MOST_BYTES = 150_000


class Demo:
    """`tollgate demo`, which goes on to serve; what page.py asks of a gateway."""

    def __init__(self, work, env):
        self.log = os.path.join(work, "demo.txt")
        with open(self.log, "w") as log:
            self.process = start([BINARY, "demo"], cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until("the demo serves", lambda: "Send your own telemetry" in self.said(), 60)
        self.http, self.admin = (int(re.search(name + r" +http://127\.0\.0\.1:(\d+)", self.said())[1]) for name in ("OTLP", "page"))

    def said(self):
        return read(self.log)

    post, send, ask = Gateway.post, Gateway.send, Gateway.ask

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)


def fill(demo):
    """Two days of runs that are over, and some that are live."""
    maker, now = Maker(7), time.time_ns()
    ago = [int((day * 24 + 0.2 + 23 * (at + maker.draw.random()) / RUNS_A_DAY) * HOUR) for day in (0, 1) for at in range(RUNS_A_DAY)]
    otlp_json.send(demo, [maker.run(now - one, loops=1 + min(int(maker.draw.expovariate(1 / 5)), 30)) for one in ago])
    # runs are summed up when they were quiet for `settle`
    until("the runs are over", lambda: front(demo)["runs"] >= RUNS_A_DAY and front(demo)["live_runs"] == 0, 120, 0.5)
    live = Maker(8)
    live.number = 10**6
    otlp_json.send(demo, [live.run(time.time_ns(), live=True, loops=loops) for loops in (4, 9, 14)] + [runaway(live)[1]])
    until("live runs", lambda: front(demo)["live_runs"] == 4, 30)
    until("the alert", lambda: http(f"http://127.0.0.1:{demo.admin}/")[2].count(b"iteration_ceiling"), 30)


def photograph(demo, work):
    """The page: the overview and the demo's own run, light, dark and on a phone."""
    runs = demo.ask("/runs?sort=last&window=24h")["runs"]
    own = next(run["id"] for run in runs if run["service"] == "claude-code")
    shots = []
    # as narrow as the layout allows: code hosts show a picture some 840 px wide
    for name, path, wide in (("front", "/?window=24h", 1100), ("run", f"/runs/{own}", 1180)):
        for kind, width, most, scale in (("light", wide, 1200, 1.5), ("dark", wide, 1200, 1.5), ("phone", 390, 1300, 2)):
            shots.append({"path": path, "file": os.path.join(work, f"page-{name}-{kind}.png"), "width": width, "dark": kind == "dark",
                          "scale": scale, "most": most})
    done = subprocess.run(["node", os.path.join(CACHE, "page", "pictures.mjs"), f"http://127.0.0.1:{demo.admin}"], input=json.dumps(shots),
                          capture_output=True, text=True, timeout=180)
    check("the browser took the pictures", done.returncode == 0, done.stderr[-2000:])
    for line in done.stdout.splitlines():
        shot = json.loads(line)
        name = os.path.basename(shot["file"])
        check(f"{name}: nothing is cut or wider than the screen", shot["wide"] <= 0 and not shot["cut"], f"{shot['wide']} {shot['cut']}")
        private(name, shot["text"])
        subprocess.run(["pngquant", "--quality", "60-95", "--speed", "1", "--strip", "--force", "--output", os.path.join(OUT, name), shot["file"]],
                       check=True)


def private(name, text):
    """A picture shows no path, user or name of the machine that made it."""
    names = [REPO, CACHE, os.path.expanduser("~"), os.environ.get("TMPDIR", "/tmp"), f" {socket.gethostname()} "]
    check(f"{name}: nothing of this machine", not any(one in text for one in names), str([one for one in names if one in text]))


def main():
    work = workdir("pictures")
    os.makedirs(OUT, exist_ok=True)
    # a relative folder, because the demo prints it
    env = {"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8", "TOLLGATE_DATA_DIR": "data"}
    demo = Demo(work, env)
    fill(demo)
    photograph(demo, work)
    check("the demo ends in order", demo.stop() == 0)
    for name in sorted(name for name in os.listdir(OUT) if name.endswith(".png")):
        size = os.path.getsize(os.path.join(OUT, name))
        figure(name, round(size / 1000), "kB")
        check(f"{name} is small", size <= MOST_BYTES, f"{size} bytes")
    finish(work)


if __name__ == "__main__":
    say("pictures: the page")
    main()
