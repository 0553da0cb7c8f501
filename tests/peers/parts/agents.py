"""Codex and the Gemini CLI, stopped by a budget through their hooks (stopping.py): the real clients without a terminal, against the mock model.

Codex runs a hook of a user only after the user trusted it, and else goes on without a message. An action `ask` stops both clients, since nobody is there.
"""
import json
import os
import subprocess
import sys
import threading

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, PEERS)
import capture  # noqa: E402
import codex.record as codex  # noqa: E402
import gemini_cli.record as gemini  # noqa: E402
from harness import check, finish, say, start, workdir  # noqa: E402
from stopping import PROMPTS, Client, Spender, stopped  # noqa: E402


class Agent(Client):
    home, cwd = capture.HOME, capture.CWD

    def environment(self, telemetry, model):
        return {**capture.ENVIRONMENT, **capture.ALICE, **self.record.environment(model)}


class Codex(Agent):
    name, record, spends = "codex", codex, capture.openai_usage(25_000, 400)
    # without a terminal it does not print the reason
    tells = "hook: UserPromptSubmit Blocked"

    def prepare(self, canaries, telemetry, model):
        capture.fresh_home({".codex/config.toml": codex.config({"log_user_prompt": True, "signals": ("logs", "traces")}, canaries, telemetry, model)})

    def command(self, canaries, number):
        return codex.command(canaries.fill(PROMPTS[number]), *(["resume", "--last"] if number else []))

    def shell(self, command, _why):
        return codex.shell(command)

    def results(self, request):
        return codex.result_texts(request)

    def allow_hooks(self, spender):
        """As `/hooks` does it, through Codex' app server."""
        calls, code, text = spender.run(codex.command("Say something."))
        check("codex: a hook that is not trusted is not run, and nothing says so", (calls, code) == (1, 0) and "hook" not in text, text)
        server = start([codex.CODEX, "app-server"], env=spender.env, cwd=self.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, text=True)
        guard = threading.Timer(60, server.kill)
        guard.start()

        def ask(method, **params):
            server.stdin.write(json.dumps({"id": method, "method": method, "params": params}) + "\n")
            server.stdin.flush()
            return next(answer["result"] for answer in map(json.loads, server.stdout) if answer.get("id") == method)

        ask("initialize", clientInfo={"name": "peers", "version": "1"})
        hooks = ask("hooks/list", cwds=[self.cwd])["data"][0]["hooks"]
        check("codex: it knows both hooks, which are not trusted yet", sorted((hook["eventName"], hook["trustStatus"]) for hook in hooks)
              == [("preToolUse", "untrusted"), ("userPromptSubmit", "untrusted")], str(hooks))
        trusted = {hook["key"]: {"trusted_hash": hook["currentHash"]} for hook in hooks}
        ask("config/batchWrite", edits=[{"keyPath": "hooks.state", "mergeStrategy": "upsert", "value": trusted}])
        guard.cancel()
        server.kill()
        server.wait()


class Gemini(Agent):
    name, record, spends, session = "gemini", gemini, capture.openai_usage(100_000, 400), capture.session_uuid("gemini/spender")

    def prepare(self, canaries, telemetry, model):
        settings = gemini.settings({"telemetry": {"logPrompts": True, "traces": True}}, canaries, telemetry)
        capture.fresh_home({"system.md": "You keep a ledger.\n", ".gemini/settings.json": json.dumps({**settings, "mcpServers": {}})})

    def command(self, canaries, number):
        return gemini.command(canaries.fill(PROMPTS[number]), "--approval-mode", "yolo", "--resume" if number else "--session-id", self.session)

    def shell(self, command, why):
        return gemini.shell(command, why)

    def results(self, request):
        return ((call, json.dumps(response)) for call, response in gemini.answers(request))


def asked(work, client):
    """An action `ask` where nobody is there, the variables that a runner of GitHub sets, and a gateway that is away."""
    spender = Spender(work, client, "ask")
    spender.first_prompt()
    spender.env["GITHUB_SHA"] = "c0ffee"
    calls, _, text = spender.prompt(1)
    check(f"{spender.what}: in GitHub Actions the next prompt is stopped, too", calls == 0 and client.tells in text, text[-800:])
    spender.gateway.ends(spender.what)
    for on_failure, wanted in (("allow", 1), ("deny", 0)):
        spender.env["TOLLGATE_HOOK_ON_FAILURE"] = on_failure
        calls, code, text = spender.prompt(1)
        check(f"{spender.what}: without a gateway, TOLLGATE_HOOK_ON_FAILURE={on_failure} holds", (calls, code) == (wanted, 0),
              f"{calls} calls, exit {code}: {text[-800:]}")
    spender.model.shutdown()


def main():
    work = workdir("agents")
    for client in (Codex(), Gemini()):
        stopped(work, client)
        asked(work, client)
    finish(work)


if __name__ == "__main__":
    say("agents: Codex and the Gemini CLI, stopped by a budget")
    main()
