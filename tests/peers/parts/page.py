"""The admin port's pages in Debian's Chromium, with and without script, at 360 and 1280 px, with 0, 1 and 10,000 runs a day: no serious
finding of axe-core, nothing wider than the screen, two clicks to a trace; figures equal to /metrics; answers in time; history over a restart."""
import json
import os
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import otlp_json  # noqa: E402
from harness import CACHE, Gateway, check, figure, finish, http, say, until, workdir  # noqa: E402

HOUR = 3600 * 10**9
SEED = int(os.environ.get("SEED", "7"))
MODELS = ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5", "gpt-5"]
TENANTS = ["acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "wonka", "tyrell", "cyberdyne", "soylent", "oscorp", None]
FEATURES = ["code-review", "incident-triage", "billing-questions", "report-writer"]
TOOLS = ["Bash", "Read", "Edit", "Grep", "WebFetch", "query_athena"]
HOSTILE = ["<script>alert(1)</script>", "\u202etxt.exe", "x" * 5000, "\"><img src=x onerror=alert(1)>", "a\nb\u0000c"]


class Maker:
    """Agent runs as OTLP/JSON, drawn from a seed; it counts by hand what it makes."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.number = 0
        self.runs = self.failed = self.iterations = self.tools = 0
        self.duration = 0.0

    def span(self, trace, parent, name, start, seconds, pairs, failed=None):
        error = {"error.type": failed.split(" ")[0]} if failed else {}
        return otlp_json.span(trace, self.draw.getrandbits(64) or 1, parent, name, start, seconds, {**pairs, **error}, failed)

    def run(self, end, live=False, tenant="", feature=None, loops=None):
        """A ResourceSpans of one run that ends at `end`."""
        draw, self.number = self.draw, self.number + 1
        trace, session = f"{draw.getrandbits(128):032x}", f"session-{SEED}-{self.number}"
        feature = feature or draw.choice(FEATURES)
        model = draw.choices(MODELS, [1, 4, 6, 1])[0]
        loops = loops or min(1 + int(draw.expovariate(1 / 5)), 40)
        seconds = [draw.uniform(0.5, 6) for _ in range(2 * loops)]
        whole, failed = sum(seconds), draw.random() < 0.03
        start = at = end - int(whole * 1e9)
        root = self.span(trace, None, f"invoke_agent {feature}", start, whole,
                         {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": feature, "gen_ai.conversation.id": session},
                         "AgentError the goal was not reached" if failed else None)
        spans = [] if live else [root]
        context = draw.randint(2000, 9000)
        for turn in range(loops):
            context += draw.randint(200, 3000)
            usage = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai" if model.startswith("gpt") else "anthropic",
                     "gen_ai.request.model": model, "gen_ai.response.model": model, "gen_ai.conversation.id": session,
                     "gen_ai.response.id": f"msg_{SEED}_{self.number}_{turn}", "gen_ai.usage.input_tokens": context,
                     "gen_ai.usage.output_tokens": draw.randint(50, 1500), "gen_ai.agent.name": feature}
            spans.append(self.span(trace, root["spanId"], f"chat {model}", at, seconds[2 * turn], usage))
            at += int(seconds[2 * turn] * 1e9)
            if turn == loops - 1:
                break  # the answer: no tool after it
            tool, broken = draw.choice(TOOLS), draw.random() < 0.06
            spans.append(self.span(trace, root["spanId"], f"execute_tool {tool}", at, seconds[2 * turn + 1],
                                   {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool, "gen_ai.conversation.id": session,
                                    "gen_ai.tool.call.id": f"call_{self.number}_{turn}"},
                                   "ToolError exit status 1" if broken else None))
            at += int(seconds[2 * turn + 1] * 1e9)
            self.tools += not live
        if not live:
            self.runs, self.failed, self.iterations, self.duration = self.runs + 1, self.failed + failed, self.iterations + loops, self.duration + whole
        tenant = draw.choices(TENANTS, [30, 20, 12, 8, 6, 5, 4, 3, 3, 2, 2, 2, 3])[0] if tenant == "" else tenant
        commit = f"{(SEED * 7919 + int(end // (12 * HOUR))) & 0xffffffff:08x}"
        return otlp_json.group(spans, service__name="agents", tenant__id=tenant, build__commit_sha=commit, work_tracker__issue_id=f"OPS-{draw.randint(1, 9)}")


def runaway(maker):
    """A live run beyond the ceiling of iterations, which asks one tool the same again and again: (its trace, its spans)."""
    now, trace, root, spans = time.time_ns(), f"{maker.draw.getrandbits(128):032x}", f"{maker.draw.getrandbits(64):016x}", []
    common = {"gen_ai.conversation.id": "incident-4711", "gen_ai.agent.name": "incident-triage"}
    chat = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.usage.output_tokens": 640, **common}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "query_athena", "gen_ai.tool.call.arguments": '{"sql": "select 1"}'}
    for turn in range(56):
        at = now - (57 - turn) * 6 * 10**9
        spans.append(maker.span(trace, root, "chat claude-opus-4-5", at, 3.5, {
            **chat, "gen_ai.request.model": "claude-opus-4-5", "gen_ai.usage.input_tokens": 9000 + 350 * turn}))
        spans.append(maker.span(trace, root, "execute_tool query_athena", at + 4 * 10**9, 1.5, {**tool, **common}))
    return trace, otlp_json.group(spans, service__name="agents", tenant__id="globex", work_tracker__issue_id="OPS-7")


def front(gateway, window="24h"):
    return gateway.ask(f"/?window={window}")


def look(gateway, out, label):
    done = subprocess.run(["node", os.path.join(CACHE, "page", "look.mjs"), f"http://127.0.0.1:{gateway.admin}", out, label],
                          capture_output=True, text=True, timeout=400)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    check(f"{label}: axe-core finds nothing serious", not serious, json.dumps(serious, indent=1)[:3000])
    for one in found["violations"]:
        if one not in serious:
            say(f"  note: {one['impact']} {one['id']} on {one['path']}")
    check(f"{label}: nothing is wider than the screen", not found["wide"], str(found["wide"]))
    check(f"{label}: no text is cut on a phone", not found["cut"], str(found["cut"])[:500])
    check(f"{label}: nothing is loaded from elsewhere, nothing runs, the browser does not complain",
          not found["foreign"] and not found["dialogs"] and not [line for line in found["console"] if "404" not in line],
          str([found["foreign"], found["dialogs"], found["console"]])[:500])
    check(f"{label}: it says the same without script", all("Iterations per run" in text for path, text in found["texts"].items() if path.endswith("0/")))
    return found


def times(gateway, path, accept="text/html", rounds=20):
    """The slowest but one of some answers, ms."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        status, _, _ = http(f"http://127.0.0.1:{gateway.admin}{path}", headers={"accept": accept})
        taken.append((time.perf_counter() - began) * 1e3)
        assert status == 200, path
    return sorted(taken)[-2]


def main():
    work, out = workdir("page"), os.environ.get("SHOTS")
    shots = out or os.path.join(work, "shots")
    os.makedirs(shots, exist_ok=True)
    day = int(os.environ.get("RUNS_A_DAY", "10000"))

    def change(config):
        config["extensions"]["admin"]["trace_link"] = {"back_end": "signoz", "base": "https://signoz.example"}
        config["processors"]["runs"] = {"settle": "1s", "iteration_ceiling": 50}

    say(f"page: seed {SEED}, {day} runs a day")
    gateway = Gateway(work, {"file": {"path": os.path.join(work, "out.jsonl")}}, change=change, log="info").start()
    look(gateway, shots, "none")
    maker = Maker(SEED)
    otlp_json.send(gateway, [maker.run(time.time_ns())])
    until("one run", lambda: front(gateway)["runs"] == 1, 60)
    found = look(gateway, shots, "one")
    check("two clicks from a number to the trace", (found["clicks"]["trace"] or "").startswith("https://signoz.example/trace/"), str(found["clicks"]))
    # a day of runs, all of them inside the window
    now = time.time_ns()
    runs = [maker.run(now - int((at + 1) / (day / 24) * HOUR * 0.97)) for at in range(day - 1)]
    otlp_json.send(gateway, runs)
    until("a day of runs", lambda: front(gateway)["runs"] == maker.runs, 120)
    until("they are counted", lambda: gateway.metric("agent_runs_total") == maker.runs, 300, 1)
    page = front(gateway)
    said, by_hand = [page[key] for key in ("runs", "failed_runs", "iterations", "tool_calls")], [maker.runs, maker.failed, maker.iterations, maker.tools]
    check("runs, failures, iterations, tool calls: the page = a count by hand", said == by_hand, f"{said} {by_hand}")
    cost = gateway.metric("agent_run_cost_usd_sum")
    check("cost: the page = /metrics", abs(float(page["cost_usd"]) - cost) < 1e-6 * max(cost, 1), f"{page['cost_usd']} {cost}")
    old = Maker(SEED + 1)
    old.number = 10**6
    otlp_json.send(gateway, [old.run(now - 25 * HOUR - int((at + 1) / (day / 22) * HOUR)) for at in range(day)])
    until("48 hours of runs", lambda: front(gateway)["runs_yesterday"] > day * 0.8, 300, 1)
    live = Maker(SEED + 2)
    live.number = 2 * 10**6
    otlp_json.send(gateway, [live.run(time.time_ns(), live=True, tenant="acme", feature="code-review", loops=loops) for loops in (6, 18, 44)])
    otlp_json.send(gateway, [live.run(time.time_ns(), tenant=name, feature=name) for name in HOSTILE])
    trace, spans = runaway(live)
    otlp_json.send(gateway, [spans])
    began = time.monotonic()
    until("live runs", lambda: front(gateway)["live_runs"] == 4, 60)
    until("the alert", lambda: any(one["rule"] == "iteration_ceiling" and one["state"] == "firing" for one in gateway.ask("/api/alerts")["alerts"]), 30)
    figure("live counts and alerts lag", round(time.monotonic() - began, 1), "s")
    found = look(gateway, shots, "many")
    for width, alerts in found["first"].items():
        own = next((one for one in alerts if any(trace in link for link in one["links"]) and "56 iterations, 1.12 × the limit of 50" in one["text"]), {"text": "", "links": []})
        check(f"{width} px: the first screen says which run, whose, why and how much, and leads to its trace", "globex" in own["text"] and "$" in own["text"]
              and any(link.startswith(f"https://signoz.example/trace/{trace}") for link in own["links"]), str(alerts)[:600])
    check("hostile names don't act", not found["dialogs"] and not any("\u202e" in text for text in found["texts"].values()))
    for path in ("/", "/runs?sort=cost", "/changes", "/report", "/runs/" + front(gateway)["most_expensive"][0]["id"]):
        figure(f"{path.split('/runs/')[0] or '/runs/{id}'} answers in (48 h of {day} runs a day)", round(times(gateway, path), 1), "ms")
    # the bound of 50 ms is for a quiet machine, and read off the figure above; here only what is no longer a page fails
    check("the page answers", times(gateway, "/") <= 2000.0)
    before = front(gateway)
    gateway.stop()
    size = os.path.getsize(os.path.join(gateway.data, "history.sqlite"))
    figure("history file", round(size / 2**20, 1), "MiB")
    gateway.start()
    after = until("the page after a restart", lambda: front(gateway))
    check("48 hours survive a restart", [after["runs"], after["runs_yesterday"]] == [before["runs"], before["runs_yesterday"]],
          str([before["runs"], after["runs"], before["runs_yesterday"], after["runs_yesterday"]]))
    gateway.stop()
    if out:
        say(f"  screenshots in {out}")
    elif os.path.isdir(shots):
        shutil.copytree(shots, os.path.join(CACHE, "page", "shots"), dirs_exist_ok=True)
    finish(work)


if __name__ == "__main__":
    main()
