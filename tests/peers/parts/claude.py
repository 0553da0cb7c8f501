"""Claude Code: the recorded sessions and the real client (offline, against the mock model) through a running tollgate.

Traces, logs and metrics pass; no canary outbound; each model call is priced exactly once, equal to the client's own figure within
1e-9 USD, whether logs, traces or both arrive. A span does not tell 1 h cache writes from 5 min ones: where the price depends on that and
only spans arrive, the figure must say so (flag `split_unknown`).

Hooks: the settings printed in docs/how-to/claude-code-hooks.md, with the real client. Each event is one span, in the run of the native
telemetry, and nothing counts twice; a gateway that is down, hangs or refuses costs the agent no more than the page says.

Budgets: stopping.py.
"""
import collections
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from decimal import Decimal

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [PEERS, os.path.join(PEERS, "claude_code")]
import capture  # noqa: E402
import decode  # noqa: E402
import mock_model  # noqa: E402
import record  # noqa: E402
import scenarios  # noqa: E402
from harness import (RECORDINGS, REPO, SIGNALS, Gateway, Sink, available, check, figure, finish, free_port, http, outlet, read, read_json,  # noqa: E402
                     recorded, say, tollgate, until, workdir, write_json)
from leaks import Search  # noqa: E402
from leak import error_text, in_errors  # noqa: E402
from stopping import PROMPTS, TOKEN, Client, stopped, with_hooks  # noqa: E402

CLOSE = Decimal("1e-9")
CALL_RECORDS = ("claude_code.llm_request", "api_request")


def gateway_for(work, name, signals=SIGNALS):
    """A gateway with pipelines for some signals only, one exporter, and its sink."""
    folder = os.path.join(work, name)
    sink = Sink(os.path.join(folder, "sink"))

    def only(config):
        config["service"]["pipelines"] = {signal: pipeline for signal, pipeline in config["service"]["pipelines"].items() if signal in signals}

    return Gateway(folder, outlet(sink), change=only).start(), sink


def call_records(items):
    """{request id: [attributes of the records that tell of the call]}"""
    calls = {}
    for _, item in items:
        if decode.name_of(item) in CALL_RECORDS and (key := item["attributes"].get("request_id")):
            calls.setdefault(key, []).append(item["attributes"])
    return calls


def inexact(attributes):
    """What is wrong between the figures of one record."""
    exact = Decimal(attributes["tollgate.cost.usd"])
    parts = sum(Decimal(attributes.get(f"tollgate.cost.{part}_usd", "0")) for part in ("input", "output", "cache_read", "cache_write", "fees"))
    if parts != exact:
        yield f"parts {parts}, total {exact}"
    if abs(Decimal(attributes["gen_ai.usage.cost"]) - exact) > CLOSE:
        yield f"double {attributes['gen_ai.usage.cost']}, decimal {exact}"


def prices(name, items, wanted):
    """`wanted`: {request id: the client's own USD}. Every call priced once, and right."""
    calls = call_records(items)
    once, wrong, unsure = 0, [], 0
    for key, own in wanted.items():
        priced = [a for a in calls.get(key, []) if a.get("tollgate.cost.status") in ("priced", "correction")]
        # a span that came before any log of its session is priced by itself: its log corrects that, and says so
        rest = [a for a in priced if a["tollgate.cost.status"] == "correction" and a.get("tollgate.cost.corrects")]
        if len(priced) - len(rest) != 1 or len(rest) > 1:
            wrong.append(f"{key}: priced {len(priced)} times, records {[a.get('tollgate.cost.status') for a in calls.get(key, [])]}")
            continue
        once += 1
        wrong += [f"{key}: {why}" for attributes in priced for why in inexact(attributes)]
        exact = sum(Decimal(attributes["tollgate.cost.usd"]) for attributes in priced)
        if abs(exact - own) > CLOSE:
            if "split_unknown" in (priced[0].get("tollgate.cost.flags") or []):
                unsure += 1
            else:
                wrong.append(f"{key}: {exact}, own figure {own}")
    others = [key for key, records in calls.items() if key not in wanted and any(a.get("tollgate.cost.status") == "priced" for a in records)]
    check(f"{name}: each of {len(wanted)} calls priced exactly once, equal to its own cost within {CLOSE} USD", wanted and not wrong and not others, "; ".join((wrong + others)[:4]))
    figure(f"{name}: priced", once)
    if unsure:
        figure(f"{name}: of them marked split_unknown (a span alone can't tell)", unsure)
    return unsure


def no_canary(name, sink, canaries):
    """No canary outbound, but for error messages."""
    search = Search(canaries)
    search.tree(sink.dir)
    wrong = in_errors(sink, error_text())
    check(f"{name}: no canary outbound", not search.found and not wrong, f"{sorted(search.found)[:4]} {sorted(wrong)[:4]}")


def replayed(work, name, signals, pipelines=SIGNALS):
    """Replays the given signals of every recorded session."""
    gateway, sink = gateway_for(work, name, pipelines)
    canaries, own, sent = {}, {}, collections.Counter()
    for session_name, session in recorded("claude-code").items():
        folder, chosen = os.path.join(RECORDINGS, "claude-code", session_name), [f for f in session["files"] if f["signal"] in signals]
        gateway.replay(folder, chosen)
        for file in chosen:
            sent[file["signal"]] += sum(1 for _ in decode.items(*decode.load(os.path.join(folder, file["file"]))))
        for one in session["canaries"].values():
            keys = {place.split()[-1] for signal in signals if signal != "metrics" for place in one["seen"].get(signal, [])}
            if keys:
                canaries.setdefault(one["value"], set()).update(keys)
        for call in session["calls"]:
            if "cost_usd" in call and any(r["signal"] in signals for r in call["records"]):
                own[call["request_id"]] = Decimal(call["cost_usd"])
    gateway.ends(name)
    items = sink.items()
    got = collections.Counter(signal for signal, _ in items)
    check(f"{name}: all items pass, {dict(sent)}", got == sent, str(got))
    may = error_text()
    no_canary(name, sink, [value for value, keys in canaries.items() if not keys & may])
    stored = gateway.vault_opened().text()
    missing = [value for value, keys in canaries.items() if keys - may and value not in stored]
    check(f"{name}: every canary in the vault", not missing, missing[:5])
    unsure = prices(name, items, own)
    if signals != ("traces",):
        check(f"{name}: no price is unsure", not unsure, str(unsure))


# ---- the real client -----------------------------------------------------------------------------------------------

def play(what, name, session, canaries, telemetry, pace=0.3, adapt=lambda env: env, prompts=9):
    """Prompts of a session by the real client, in the environment that `adapt` gives it: (the mock, seconds of the first prompt, what the client
    says that all of it cost)."""
    mock = mock_model.Mock(name, record.lanes_of(session, canaries), pace=pace)
    model = mock_model.serve(mock)
    record.prepare(name, session, canaries, telemetry)
    env = adapt(record.environment(session, telemetry, f"http://127.0.0.1:{model.server_address[1]}"))
    first, result = None, {}
    for prompt, command in list(record.commands(name, session, canaries))[:prompts]:
        began = time.monotonic()
        done = subprocess.run(command, env=env, cwd=record.CWD, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
        first = first or time.monotonic() - began
        result = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        check(f"{what}: Claude Code ends well", done.returncode == 0 and result.get("subtype") == "success", done.stdout[-300:] + done.stderr[-300:])
    threading.Thread(target=model.shutdown).start()
    # of a resumed session the client reports the whole
    return mock, first, Decimal(str(result.get("total_cost_usd", 0)))


def own_costs(items):
    return {item["attributes"]["request_id"]: Decimal(str(item["attributes"]["cost_usd"])) for _, item in items if decode.name_of(item) == "api_request"}


def real(work, name, protocol):
    """One session, pointed at tollgate."""
    what, canaries = f"real {name} ({protocol})", scenarios.Canaries(name)
    gateway, sink = gateway_for(work, f"real-{name}")
    endpoint = f"http://127.0.0.1:{gateway.grpc if protocol == 'grpc' else gateway.http}"
    mock, _, reported = play(what, name, {**scenarios.SESSIONS[name], "protocol": protocol, "hooks": None}, canaries, endpoint)
    gateway.ends(what)
    items = sink.items()
    figure(f"{what}: items", str(dict(collections.Counter(signal for signal, _ in items))))
    check(f"{what}: all signals pass", {signal for signal, _ in items} == set(SIGNALS))
    no_canary(what, sink, [value for place, value in canaries.items() if place != "apierror"])
    own = own_costs(items)
    answered = {row["request_id"] for row in mock.ledger if "error" not in row}
    check(f"{what}: every answered call has its record", answered == set(own), f"{len(answered)} answered, {len(own)} told")
    prices(what, items, own)
    total = sum(Decimal(a["tollgate.cost.usd"]) for records in call_records(items).values() for a in records if a.get("tollgate.cost.status") in ("priced", "correction"))
    check(f"{what}: the sum is what the client reports", abs(total - reported) <= CLOSE * max(1, len(own)), f"{total}, client {reported}")


def set_up(work):
    """One session, all of whose telemetry settings `tollgate setup --write` wrote."""
    canaries = scenarios.Canaries("plain")
    gateway, sink = gateway_for(work, "setup")
    clients = ("check", "--client", "--admin", f"http://127.0.0.1:{gateway.admin}")

    def adapt(env):
        # the intervals stay short, because a session of seconds ends before the first metrics of a minute
        telemetry = [name for name in env if "TELEMETRY" in name or name.startswith("OTEL_") and not name.endswith("_INTERVAL")]
        env = {name: value for name, value in env.items() if name not in telemetry}
        for wanted in (": written", ": already set"):
            code, out, why = tollgate("setup", "claude-code", "--write", "--config", gateway.config_path, env=env)
            check(f"setup says `{wanted}`", code == 0 and wanted in out, out + why)
        check("setup keeps the permissions", "permissions" in read_json(f"{record.HOME}/.claude/settings.json"))
        code, _, why = tollgate(*clients)
        check("before it runs, no client has sent", code == 1 and "no client has sent" in why, why)
        return env

    play("set up", "plain", {**scenarios.SESSIONS["plain"], "hooks": None, "env": {}}, canaries, "", adapt=adapt)
    until("delivered", gateway.drained, 60)
    code, out, why = tollgate(*clients)
    check("set up: check --client shows every signal and nothing that is off", code == 0 and all(f"{signal} " in out for signal in SIGNALS) and "off:" not in out, out + why)
    gateway.ends("set up")
    check("set up: all signals pass", {signal for signal, _ in sink.items()} == set(SIGNALS))
    stored = gateway.vault_opened().text()
    missing = [place for place in ("prompt", "completion", "toolargs", "toolresult") if canaries[place] not in stored]
    check("set up: prompt, answer, arguments and results are in the vault", not missing, str(missing))


# ---- hooks ---------------------------------------------------------------------------------------------------------

HOOK_URL = "http://127.0.0.1:4319/v1/hooks/claude-code"


def hook_settings(url):
    """The page's block for settings.json, pointed at another port."""
    block = re.search(r"^```json\n(.*?)^```", read(os.path.join(REPO, "docs", "how-to", "claude-code-hooks.md")), re.M | re.S).group(1)
    assert HOOK_URL in block
    return json.loads(block.replace(HOOK_URL, url))


def play_with_hooks(name, url, telemetry=None, pace=0.0):
    """The prompts of a session with hooks at `url`: (the mock, seconds of the first prompt, canaries). Without `telemetry` hooks are all."""
    session, canaries = {**scenarios.SESSIONS[name], "hooks": None}, scenarios.Canaries(name)

    def adapt(env):
        path = f"{record.HOME}/.claude/settings.json"
        write_json(path, {**read_json(path), **(hook_settings(url) if url else {})})
        return {"TOLLGATE_TOKEN": TOKEN, **{k: v for k, v in env.items() if telemetry or not k.startswith("OTEL_") and "TELEMETRY" not in k}}

    mock, first, _ = play(f"hooks {'on' if url else 'off'}", name, session, canaries, telemetry or "http://127.0.0.1:9", pace, adapt, 9 if telemetry else 1)
    return mock, first, canaries


def hooks(work):
    """Hooks and native telemetry of one session through one gateway."""
    folder = os.path.join(work, "hooks")
    sink = Sink(os.path.join(folder, "sink"))
    port = free_port()

    gateway = Gateway(folder, outlet(sink), change=with_hooks(port)).start()
    url = f"http://127.0.0.1:{port}/v1/hooks/claude-code"
    mock, _, canaries = play_with_hooks("mixed", url, telemetry=f"http://127.0.0.1:{gateway.http}", pace=0.3)
    worked = {call: well for request in mock.requests for call, well in capture.anthropic_results(request)}
    until("delivered", gateway.drained, 60)
    runs = gateway.ask("/api/runs")["runs"]
    check("hooks: an unknown token is refused", http(url, b"{}", {"authorization": "Bearer wrong-token-0123456789", "content-type": "application/json"})[0] == 401)
    gateway.ends("hooks")
    items = sink.items()
    spans = [item for signal, item in items if signal == "traces" and item["scope"] == "claude_code_hooks"]
    tools = [tool for row in mock.ledger for tool in row.get("tools", [])]
    ran = [tool for tool in tools if worked.get(tool["id"])]
    found = collections.Counter(span["name"] for span in spans)
    wanted = {"claude_code.session.start": 2, "claude_code.user_prompt": 2, "claude_code.tool.pre": len(tools), "claude_code.tool": len(ran),
              "claude_code.subagent.start": 1, "claude_code.subagent": 1, "claude_code.turn.stop": 2, "claude_code.session.end": 2}
    check("hooks: each event is one span", dict(found) == wanted, f"{dict(found)}, wanted {wanted}")
    calls = collections.Counter(span["attributes"].get("tool_use_id") for span in spans if span["name"] == "claude_code.tool")
    check("hooks: each tool that ran has one span", calls == collections.Counter(tool["id"] for tool in ran), str(calls))
    # one run: the native spans of a prompt, and its hooks
    native = {item["attributes"]["prompt.id"]: item["attributes"].get("tollgate.run.id") for signal, item in items
              if signal == "logs" and "prompt.id" in item["attributes"]}
    of_turn = {(span["attributes"]["turn.id"], span["attributes"].get("tollgate.run.id")) for span in spans if "turn.id" in span["attributes"]}
    check("hooks: in the runs of the native telemetry", of_turn == set(native.items()) and len(of_turn) == 2, f"{of_turn}, native {native}")
    total = collections.Counter()
    for run in runs:
        for key in ("tool_calls", "model_calls", "sub_agents"):
            total[key] += run["totals"][key]
        total["denials"] += sum(one["count"] for one in run["totals"]["permission_denials"])
    answered = [row for row in mock.ledger if "error" not in row]
    counted = {"tool_calls": len(tools), "model_calls": len(answered), "sub_agents": 1, "denials": 1}
    check("hooks: two runs, nothing counted twice", len(runs) == 2 and dict(total) == counted, f"{len(runs)} runs, {dict(total)}, wanted {counted}")
    prices("hooks", items, own_costs(items))
    check("hooks: no span of a hook has a price", not [span for span in spans if "tollgate.cost.status" in span["attributes"]])
    no_canary("hooks", sink, [value for place, value in canaries.items() if place != "apierror"])
    sealed = gateway.vault_opened().text()
    places = ("prompt", "toolargs", "subtoolargs", "mcpargs", "mcpresult", "deniedargs", "subcompletion", "completion")
    missing = [place for place in places if place in canaries and canaries[place] not in sealed]
    check("hooks: what they hold is in the vault", not missing, str(missing))


# ---- budgets -------------------------------------------------------------------------------------------------------

class ClaudeCode(Client):
    name, home, cwd, session, spends = "claude-code", record.HOME, record.CWD, capture.session_uuid("claude-code/spender"), scenarios.usage(50_000, 400)
    settings = {"model": "claude-sonnet-4-5", "env": scenarios.ALL_CONTENT, "prompts": PROMPTS}

    def prepare(self, canaries, telemetry, model):
        record.prepare("spender", self.settings, canaries, telemetry)
        path = f"{record.HOME}/.claude/settings.json"
        settings = read_json(path)
        settings["permissions"]["allow"].append("Bash(git commit:*)")
        write_json(path, settings)

    def environment(self, telemetry, model):
        return record.environment(self.settings, telemetry, model)

    def command(self, canaries, number):
        return list(record.commands("spender", self.settings, canaries))[number][1]

    def shell(self, command, why):
        return scenarios.bash(command, why)

    def results(self, request):
        blocks = [block for message in request["messages"] if isinstance(message["content"], list) for block in message["content"]]
        return [(block["tool_use_id"], json.dumps(block["content"])) for block in blocks if block.get("type") == "tool_result"]


def bad_gateways():
    """What a gateway in trouble costs the agent: seconds of one prompt, without telemetry."""
    _, plain, _ = play_with_hooks("mixed", None)
    figure("hooks: a prompt without hooks", round(plain, 1), "s")
    silent = socket.create_server(("127.0.0.1", 0), backlog=64)
    quiet = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/hooks/claude-code"
    down = f"http://127.0.0.1:{free_port()}/v1/hooks/claude-code"
    # 13 events over HTTP, each given up after a second, and the time that another run on a busy machine may take
    for name, url, most in (("is down", down, 10), ("hangs", quiet, 13 + 10)):
        _, took, _ = play_with_hooks("mixed", url)
        figure(f"hooks: a prompt while the gateway {name}", round(took, 1), "s")
        check(f"hooks: a gateway that {name} costs at most {most} s", took <= 2 * plain + most, f"{took:.1f} s, without hooks {plain:.1f} s")
    silent.close()


def main():
    work = workdir("claude")
    check("this tollgate prices calls", "cost" in available(), str(available()))
    replayed(work, "both", SIGNALS)
    replayed(work, "logs only", ("logs", "metrics"))
    replayed(work, "traces only", ("traces",), ("traces",))
    for name, protocol in (("plain", "http/protobuf"), ("mixed", "grpc")):
        real(work, name, protocol)
    set_up(work)
    hooks(work)
    stopped(work, ClaudeCode())
    bad_gateways()
    finish(work)


if __name__ == "__main__":
    say("claude: recorded sessions, then the real client against the mock model")
    main()
