"""An incident on the admin port's page, in Debian's Chromium at 1280 and 390 px, light and dark: a runaway live run with two sub-agents,
a tenant whose cost drifts, a provider that answers 529, ten ordinary runs, a run without a price and a client that reports no usage.
In ten seconds one must see which run it is, whose, why, how much, and reach its trace. `SHOTS=folder` keeps the screenshots."""
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import otlp_json  # noqa: E402
from harness import CACHE, Gateway, check, figure, finish, http, say, until, workdir  # noqa: E402

RUNAWAY = "0badc0de" * 4
SESSION = "oncall-2026-11-25-checkout-latency-eu-central-1-escalation-7f3a91"
TENANT = "northwind-logistics-international-europe"
WANTED = ("iteration_ceiling", "identical_tool_calls", "session_cost_runaway", "cost_per_run_drift")
LINK = "https://signoz.example/trace/"


class Sender:
    """Agent runs as OTLP/JSON. Spans of a live run lack its root, as SDKs export a span when it ends."""

    def __init__(self, gateway):
        self.gateway, self.spans, self.runs = gateway, 0, 0

    def span(self, trace, parent, name, end, seconds, attributes, failed=None):
        self.spans += 1
        return otlp_json.span(trace, self.spans, parent, name, end - seconds * 1e9, seconds, attributes, failed)

    def chat(self, trace, parent, agent, end, model, usage, **more):
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai" if model.startswith("gpt") else "anthropic",
                      "gen_ai.request.model": model, "gen_ai.agent.name": agent, **more}
        if usage:
            attributes.update({"gen_ai.response.model": model, "gen_ai.usage.input_tokens": usage[0], "gen_ai.usage.output_tokens": usage[1]})
        return self.span(trace, parent, f"chat {model}", end, 1.5, attributes)

    def overloaded(self, trace, parent, agent, end, model):
        """A call that the provider did not take."""
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": model,
                      "gen_ai.agent.name": agent, "error.type": "overloaded_error", "http.response.status_code": 529}
        return self.span(trace, parent, f"chat {model}", end, 0.4, attributes, "529 overloaded_error")

    def tool(self, trace, parent, agent, end, name, arguments):
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.agent.name": agent,
                      "gen_ai.tool.call.arguments": arguments}
        return self.span(trace, parent, f"execute_tool {name}", end, 0.3, attributes)

    def agent(self, trace, parent, name, end, seconds, failed=None):
        return self.span(trace, parent, f"invoke_agent {name}", end, seconds,
                         {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}, failed)

    def send(self, tenant, session, spans, service="agents"):
        otlp_json.send(self.gateway, [otlp_json.group(spans, service__name=service, tenant__id=tenant, session__id=session)])

    def run(self, tenant, feature, calls=3, tokens=2000, live=False, model="claude-sonnet-4-5", failures=0, usage=True, ago=0, service="agents"):
        """One run of a session of its own; its trace id. The session of a live run has a name, so that it goes on."""
        self.runs += 1
        trace, root, end = f"{self.runs:032x}", f"{0xa0000000 + self.runs:016x}", time.time_ns() - int(ago * 1e9)
        spans = []
        for at in range(calls):
            then = end - (calls - at) * 3 * 10**9
            spans += [self.overloaded(trace, root, feature, then - 2 * 10**9, model) for _ in range(failures)]
            # who had to give way to another model goes on with it
            answered = "claude-haiku-4-5" if failures else model
            spans.append(self.chat(trace, root, feature, then, answered, (tokens, 300) if usage else None))
            if at < calls - 1:
                spans.append(self.tool(trace, root, feature, then + 10**9, "search_tickets", json.dumps({"page": at})))
        if not live:
            spans.append(self.agent(trace, "", feature, end, calls * 3.5))
            spans[-1]["spanId"] = root
        self.send(tenant, f"session-{self.runs}" if live else None, spans, service)
        return trace

    def runaway(self, begin, loops, agents=()):
        """So many calls and equal tool calls of the runaway, then sub-agents below it; no root yet."""
        trace, root, now, spans = RUNAWAY, "00000000deadbeef", time.time_ns(), []
        for at in loops:
            then = begin + at * 4 * 10**9
            spans.append(self.chat(trace, root, "incident-triage", then, "claude-opus-4-5", (24000 + 400 * at, 900)))
            spans.append(self.tool(trace, root, "incident-triage", then + 10**9, "query_athena", '{"sql": "select 1"}'))
        for name, calls in agents:
            agent = self.agent(trace, root, name, now - 10**9, 20)
            spans += [self.chat(trace, agent["spanId"], name, now - (2 + at) * 10**9, "claude-haiku-4-5", (5000, 200)) for at in range(calls)]
            spans.append(agent)
        for at in range(0, len(spans), 50):
            self.send(TENANT, SESSION, spans[at:at + 50])


class Hook(BaseHTTPRequestHandler):
    """Keeps what the webhook is told."""

    messages = []

    def do_POST(self):
        Hook.messages.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def front(gateway, path="/?window=1h"):
    return gateway.ask(path)


def browse(gateway, out):
    done = subprocess.run(["node", os.path.join(CACHE, "page", "incident.mjs"), f"http://127.0.0.1:{gateway.admin}", out, RUNAWAY],
                          capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def settles(test, seconds):
    """Whether it comes to hold in time."""
    try:
        return until("it holds", test, seconds, 0.1)
    except TimeoutError:
        return False


def play(sender):
    """The incident, from the past that makes it one to the runaway."""
    for at in range(6):
        sender.run("acme", "incident-triage", ago=120 + at)
        sender.run("globex", "billing-questions", ago=200 + at)
    for at in range(10):
        sender.run(["acme", "initech", "umbrella"][at % 3], ["code-review", "support-answers"][at % 2], ago=60 + at)
    return 22


def webhooks():
    """Each message leads to a run and its trace."""
    rules = {re.search(r": \w+: (\w+): ", message["text"]).group(1) for message in Hook.messages}
    check("the webhook is told of loop, ceiling, cost and drift", set(WANTED) <= rules, str(rules))
    bare = [one["text"] for one in Hook.messages if f"<{LINK}" not in one["text"] or "/runs/" not in one["text"]]
    check("every message leads to a trace and to a run", not bare, str(bare))


def main():
    work = workdir("incident")
    shots = os.environ.get("SHOTS") or os.path.join(work, "shots")
    os.makedirs(shots, exist_ok=True)
    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()

    def change(config):
        admin = config["extensions"]["admin"]
        admin["trace_link"] = {"back_end": "signoz", "base": "https://signoz.example"}
        admin["public_url"] = f"http://{admin['endpoint']}"
        admin["alerts"] = {"url": f"http://127.0.0.1:{hook.server_port}/"}
        config["processors"]["runs"] = {"settle": "1s", "iteration_ceiling": 50, "alerts": {"min_runs": 5}}

    gateway = Gateway(work, {"file": {"path": os.path.join(work, "out.jsonl")}}, change=change, log="info").start()
    sender = Sender(gateway)
    over = play(sender)
    until("the past is over", lambda: gateway.metric("agent_runs_total") == over, 60, 0.2)
    for at in range(6):
        sender.run("globex", "billing-questions", calls=4, tokens=4500, ago=20 + at)
    for at in range(4):
        sender.run("initech", "support-answers", failures=3, ago=10 + at)
    sender.run("umbrella", "prototype", model="inhouse-llm-7", ago=5)
    for _ in range(9):
        sender.run("umbrella", "support-answers", live=True, calls=2)
    sender.run("initech", "chat-widget", live=True, calls=2, model="gpt-5-mini", usage=False, service="chat-widget")
    begin = time.time_ns() - 62 * 4 * 10**9
    sender.runaway(begin, range(40), [("analyst", 4)])
    sender.runaway(begin, range(40, 62), [("writer", 3)])
    began = time.monotonic()
    until("the runaway's iterations are shown", lambda: front(gateway)["most_iterations"] == 62, 10)
    figure("live counts lag", round(time.monotonic() - began, 2), "s")
    check("live counts lag at most 2 s", time.monotonic() - began <= 2.0)
    rules = lambda: {alert["rule"] for alert in front(gateway, "/api/alerts")["alerts"] if alert["state"] == "firing"}  # noqa: E731
    check("alerts hold", settles(lambda: set(WANTED) <= rules(), 10), str(set(WANTED) - rules()))
    figure("alerts lag", round(time.monotonic() - began, 2), "s")
    check("the ceiling's alert comes within 5 s", time.monotonic() - began <= 5.0)
    settles(lambda: all(any(f": {rule}:" in one["text"] for one in Hook.messages) for rule in WANTED), 20)
    webhooks()
    found = browse(gateway, shots)
    for name, holds, detail in found["checks"]:
        check(name, holds, str(detail)[:600])
    if os.environ.get("HOLD"):
        say(f"  http://127.0.0.1:{gateway.admin}/")
        time.sleep(float(os.environ["HOLD"]))
    gateway.stop()
    finish(work)


if __name__ == "__main__":
    main()
