"""The pictures of docs/pictures, from the product itself: the page of `tollgate demo` in Debian's Chromium, and the demo on a terminal.
(flow.svg there is drawn by hand.) Runs of page.py are sent to the demo beside its own session, so that the page has a day to show. `OUT` is another folder."""
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
from page import HOUR, Maker, front  # noqa: E402
from pictures import terminal  # noqa: E402

OUT = os.environ.get("OUT") or os.path.join(REPO, "docs", "pictures")
RUNS_A_DAY = 180
# pictures stay small, because the repository keeps each version of them
MOST_BYTES = 150_000
# the steps of the demo that tell the most: what goes out, the price, the search for private texts
SHOWN_STEPS = "346"


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


def runaway(maker):
    """A live run beyond the ceiling of iterations, which asks one tool the same again and again."""
    now, trace, root, spans = time.time_ns(), f"{maker.draw.getrandbits(128):032x}", f"{maker.draw.getrandbits(64):016x}", []
    common = {"gen_ai.conversation.id": "incident-4711", "gen_ai.agent.name": "incident-triage"}
    chat = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.usage.output_tokens": 640, **common}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "query_athena", "gen_ai.tool.call.arguments": '{"sql": "select 1"}'}
    for turn in range(56):
        at = now - (57 - turn) * 6 * 10**9
        spans.append(maker.span(trace, root, "chat claude-opus-4-5", at, 3.5, {
            **chat, "gen_ai.request.model": "claude-opus-4-5", "gen_ai.usage.input_tokens": 9000 + 350 * turn}))
        spans.append(maker.span(trace, root, "execute_tool query_athena", at + 4 * 10**9, 1.5, {**tool, **common}))
    return otlp_json.group(spans, service__name="agents", tenant__id="globex", work_tracker__issue_id="OPS-7")


def fill(demo):
    """Two days of runs that are over, and some that are live."""
    maker, now = Maker(7), time.time_ns()
    ago = [int((day * 24 + 0.2 + 23 * (at + maker.draw.random()) / RUNS_A_DAY) * HOUR) for day in (0, 1) for at in range(RUNS_A_DAY)]
    otlp_json.send(demo, [maker.run(now - one, loops=1 + min(int(maker.draw.expovariate(1 / 5)), 30)) for one in ago])
    # runs are summed up when they were quiet for `settle`
    until("the runs are over", lambda: front(demo)["runs"] >= RUNS_A_DAY and front(demo)["live_runs"] == 0, 120, 0.5)
    live = Maker(8)
    live.number = 10**6
    otlp_json.send(demo, [live.run(time.time_ns(), live=True, loops=loops) for loops in (4, 9, 14)] + [runaway(live)])
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


def write(name, text):
    private(name, text)
    write(os.path.join(OUT, name), text)


def draw_demo(work, env):
    code, printed = terminal.run([BINARY, "demo", "--once"], env, work)
    check("demo --once: exit 0", code == 0, terminal.plain(printed)[-500:])
    check("it used the default ports", "default ports are in use" not in printed, "another program has 4317, 4318 or 8888")
    title, *steps = re.split(r"\n(?=\n(?:\x1b\[[0-9;]*m)*\d(?:\x1b\[[0-9;]*m)*  )", printed.rstrip("\n"))
    lines = ["\x1b[0;32m$\x1b[0m tollgate demo --once", *title.split("\n")]
    left_out = False
    for step in steps:
        if terminal.plain(step).strip()[0] in SHOWN_STEPS:
            lines += ["", "\x1b[0;2m⋮\x1b[0m"] if left_out else []
            lines += step.split("\n")
            left_out = False
        else:
            left_out = True
    check("the steps are there", "went out" in printed and "All checks passed" in printed and len(lines) < 70, str(len(lines)))
    check("no line is wider than the terminal", all(len(terminal.plain(line)) <= terminal.COLUMNS for line in lines))
    write("demo.svg", terminal.svg(lines, "tollgate demo --once on a terminal"))


def main():
    work = workdir("pictures")
    os.makedirs(OUT, exist_ok=True)
    # a relative folder, because the demo prints it
    env = {"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8", "TOLLGATE_DATA_DIR": "data"}
    draw_demo(work, env)
    demo = Demo(work, env)
    fill(demo)
    photograph(demo, work)
    check("the demo ends in order", demo.stop() == 0)
    for name in sorted(os.listdir(OUT)):
        size = os.path.getsize(os.path.join(OUT, name))
        figure(name, round(size / 1000), "kB")
        check(f"{name} is small", size <= MOST_BYTES, f"{size} bytes")
    finish(work)


if __name__ == "__main__":
    say("pictures: the page, the demo")
    main()
