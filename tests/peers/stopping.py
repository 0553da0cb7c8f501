"""What claude.py and agents.py share: a real agent whose session spends more than its budget, with hooks that `tollgate setup --budgets` wrote.

The agent is stopped at its tool calls with a sentence that its model reads, a command that saves its work runs all the same, the next prompt does
not reach the model, and a grant lets the session go on. The budget is the session's: the hooks must name it as the telemetry does.
"""
import os
import re
import signal
import subprocess

import mock_model
from harness import BINARY, Gateway, Sink, check, free_port, outlet, start, tollgate
from scenarios import Canaries

# in the form of a JWT, which Gemini CLI takes for a secret whatever the variable is called
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwZWVyIiwiaWF0IjoxfQ.c2lnbmF0dXJlLW9mLXBlZXJz"
PROMPTS = ("Spend for {prompt} please.", "And go on with {prompt2}.")
# refusals quote the command: only one that ran has the word in one piece
COMMANDS = ("echo {toolargs}", "echo not''stopped", "git commit -q --allow-empty -m 'wip; echo {saved}'", "git status && echo not''stopped")


class Client:
    """A client to stop. `spends` is the usage of its first call, which costs more than the budget and less than twice as much."""
    name = home = cwd = spends = None
    # the id of its session, if it can be given one; else it prints it
    session = None
    # what it prints when a prompt is stopped
    tells = "(budget one-session)"

    def prepare(self, canaries, telemetry, model):
        """Writes a home with a project, for this gateway and this model."""

    def environment(self, telemetry, model):
        """All variables that it gets."""

    def command(self, canaries, number):
        """Its command line for this prompt; all but the first resume the session."""

    def shell(self, command, why):
        """A call of its shell."""

    def results(self, request):
        """(tool call, text) of each result that a request to the model has."""

    def allow_hooks(self, spender):
        """What its user does once the hooks are written."""


def with_hooks(port, budgets=None):
    """A change of a gateway's configuration: hooks at a port, and budgets."""
    def change(config):
        config["receivers"]["claude_code_hooks"] = {"endpoint": f"127.0.0.1:{port}", "auth": {"tokens": {"default": [TOKEN]}}}
        config["service"]["pipelines"]["traces"]["receivers"].append("claude_code_hooks")
        if budgets:
            config["processors"]["runs"] = {**(config["processors"].get("runs") or {}), "budgets": budgets}

    return change


class Spender:
    """A gateway with a budget for each session, and a client in front of it that spends more with its first call."""

    def __init__(self, work, client, action="deny"):
        self.client, self.what = client, f"budgets, {client.name}, {action}"
        self.folder = os.path.join(work, f"{client.name}-{action}")
        self.sink, self.canaries = Sink(os.path.join(self.folder, "sink")), Canaries(f"{client.name}/spender")
        port, budget = free_port(), {"scope": "session", "amount": "0.10 USD", "action": action, "contact": "#platform"}
        self.gateway = Gateway(self.folder, outlet(self.sink), change=with_hooks(port, {"one-session": budget})).start()
        # the first tool call is asked about before its cost is known; each later one comes after the telemetry
        cheap = {**client.spends, "in": 100, "out": 40}
        steps = [{"tools": [client.shell(command, "Try")], "usage": cheap if i else client.spends} for i, command in enumerate(COMMANDS)]
        steps += [{"say": "Stopped: {completion}.", "usage": cheap}, {"say": "Gone on: {completion2}.", "usage": cheap}]
        lanes = self.canaries.fill({"main": {"marker": "{prompt}", "anywhere": True, "steps": steps}})
        self.mock = mock_model.Mock(f"{client.name}/spender", lanes, pace=2.5)
        self.model = mock_model.serve(self.mock)
        ends = (f"http://127.0.0.1:{self.gateway.http}", f"http://127.0.0.1:{self.model.server_address[1]}")
        client.prepare(self.canaries, *ends)
        self.env = {**client.environment(*ends), "TOLLGATE_TOKEN": TOKEN}
        self.git("init", "-q"), self.git("config", "user.email", "a@example.com"), self.git("config", "user.name", "A")
        self.set_up(f"http://127.0.0.1:{port}")

    def git(self, *arguments):
        command = ["git", "-C", self.client.cwd, "-c", "init.defaultBranch=main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def set_up(self, url):
        for wanted in (": written", ": already set"):
            code, out, why = tollgate("setup", self.client.name, "--budgets", "--write", "--endpoint", url, env=self.env, timeout=60)
            check(f"{self.what}: setup says `{wanted}`", code == 0 and wanted in out, out + why)
        self.env.update(re.findall(r"^export (\w+)=(\S+)$", out + why, re.M))
        programs = os.path.join(self.folder, "bin")
        os.makedirs(programs)
        os.symlink(BINARY, os.path.join(programs, "tollgate"))
        self.env["PATH"] = f"{programs}:{self.env['PATH']}"
        self.client.allow_hooks(self)

    def run(self, command):
        """(calls of the model, exit code, what it printed) of a command line of the client."""
        before = len(self.mock.ledger)
        client = start(command, env=self.env, cwd=self.client.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            text, code = client.communicate(timeout=120)[0], client.returncode
        except subprocess.TimeoutExpired:
            os.killpg(client.pid, signal.SIGKILL)
            text, code = client.communicate(timeout=20)[0], "none within 120 s"
        return len(self.mock.ledger) - before, code, text

    def prompt(self, number):
        return self.run(self.client.command(self.canaries, number))

    def results(self):
        """What the model read about the four tool calls."""
        tools = [tool["id"] for row in self.mock.ledger for tool in row.get("tools", [])]
        results = dict(self.client.results(self.mock.requests[-1]))
        check(f"{self.what}: four tool calls", len(tools) == 4 and set(tools) == set(results), f"{tools}, {results}")
        return [results.get(tool, "") for tool in tools] + [""] * (4 - len(tools))

    def tells_why(self, text):
        return "This session has used $0.1" in text and "of $0.10 (budget one-session)" in text and "#platform" in text

    def first_prompt(self):
        """The first call runs, the second and the mixed one don't, and work is saved: what the client printed."""
        calls, code, text = self.prompt(0)
        if not check(f"{self.what}: the client ends well", code == 0 and calls == 5, f"{calls} calls, exit {code}: {text[-800:]}"):
            return text
        free, denied, saved, mixed = self.results()
        check(f"{self.what}: the first call runs", self.canaries["toolargs"] in free, free)
        for refused in (denied, mixed):
            check(f"{self.what}: a call over the budget is stopped, and says why", self.tells_why(refused) and "notstopped" not in refused, refused)
        log = self.git("log", "--all", "--format=%s")
        check(f"{self.what}: a commit is made all the same", log == f"wip; echo {self.canaries['saved']}\n", log + saved)
        return text


def stopped(work, client):
    """A session over its budget is stopped, and goes on after a grant."""
    spender = Spender(work, client)
    what, printed = spender.what, spender.first_prompt()
    session = client.session or (re.findall(r"session id: (\S+)", printed) or ["none was printed"])[0]
    calls, _, text = spender.prompt(1)
    check(f"{what}: the next prompt is stopped before the model, and the client says so", calls == 0 and client.tells in text, text[-800:])
    code, out, why = tollgate("budgets", "grant", session, "--scope", "session", "--amount", "5USD", "--for", "1h", "--reason", "peer",
                              "--config", spender.gateway.config_path, timeout=60)
    check(f"{what}: more is granted", code == 0, out + why)
    calls, code, text = spender.prompt(1)
    check(f"{what}: the session goes on", calls > 0 and code == 0 and spender.canaries["completion2"] in text, text[-800:])
    spender.gateway.ends(what)
    spender.model.shutdown()
    decisions = [item["attributes"] for signal, item in spender.sink.items() if signal == "traces" and item["name"] == "tollgate.budget.decision"]
    # stops within ten seconds share a record: the last ones may have none yet
    stops = [1 + int(one.get("tollgate.budget.repeats", 0)) for one in decisions
             if (one["tollgate.budget.decision"], one.get("tollgate.budget.name")) == ("deny", "one-session")]
    check(f"{what}: the stops and the grant are decisions", 1 <= sum(stops) <= 3 and len(decisions) == len(stops) + 1, str(decisions))
