"""`/mcp` with real clients, beside a gateway that got recorded sessions of several clients and tenants: the official Python SDK in each of its
modes calls every tool, and each answer has the rows and figures of the page and of the API. Without a token, with a scraper's, with a limited
viewer's, from a page of another site, with a million rows.

The recipes of docs/how-to/ask-with-mcp.md: an agent of pydantic-ai, as fuzzylabs/sre-agent is one, and the real Claude Code, whose
model is the mock, find a run that failed and what it cost.
"""
import json
import os
import subprocess
import sys
import time

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [PEERS, os.path.join(PEERS, "claude_code")]
import mock_model  # noqa: E402
import record  # noqa: E402
import scenarios  # noqa: E402
from harness import CACHE, HERE, Gateway, Sink, check, figure, finish, http, outlet, say, until, workdir, write_json  # noqa: E402
from load import add  # noqa: E402
from decode import REQUESTS  # noqa: E402

TOKENS = {role: f"{role}-token-0123456789" for role in ("viewer", "scraper", "acme-only")}
CLIENTS = os.path.join(HERE, "mcp_clients")
MODEL = "claude-sonnet-4-5"
# what changes from one answer to the next, while a run goes on
NOW = ("generated_at", "from", "to", "duration_seconds")


def send_new_runs(gateway):
    """Runs of now, of two tenants: recorded sessions lie too far back for the page's windows."""
    for tenant, service, failed in (("acme", "checkout-agent", True), ("acme", "search-agent", False), ("globex", "ledger-agent", True)):
        out, now, trace = REQUESTS["traces"](), time.time_ns(), os.urandom(16)
        resource = out.resource_spans.add()
        add(resource.resource.attributes, service__name=service, tenant__id=tenant, build__commit_sha=f"c0ffee-{tenant}", work_tracker__issue_id="OPS-7")
        spans = resource.scope_spans.add().spans
        root = spans.add(trace_id=trace, span_id=os.urandom(8), name="invoke_agent", start_time_unix_nano=now - 9 * 10**9, end_time_unix_nano=now - 10**9)
        add(root.attributes, gen_ai__operation__name="invoke_agent", gen_ai__conversation__id=f"session-of-{service}")
        chat = spans.add(trace_id=trace, span_id=os.urandom(8), parent_span_id=root.span_id, name=f"chat {MODEL}", kind=3,
                         start_time_unix_nano=now - 8 * 10**9, end_time_unix_nano=now - 2 * 10**9)
        add(chat.attributes, gen_ai__operation__name="chat", gen_ai__provider__name="anthropic", gen_ai__request__model=MODEL,
            gen_ai__response__id=f"msg_{os.urandom(8).hex()}", gen_ai__usage__input_tokens=1000, gen_ai__usage__output_tokens=len(service) * 100)
        if failed:
            for span in (root, chat):
                span.status.code = 2
                add(span.attributes, error__type="ToolLoopError", exception__slug="ToolLoopError")
        gateway.send("traces", out.SerializeToString())


def gateway_for(work):
    folder = os.path.join(work, "gateway")
    sink = Sink(os.path.join(folder, "sink"))

    def for_viewers(config):
        config["extensions"]["admin"]["auth"] = {"limits": {"acme-only": {"tenants": ["acme"]}},
                                                 "tokens": {role: [token] for role, token in TOKENS.items()}}
        config["processors"]["runs"] = {"budgets": {"by-tenant": {"scope": "tenant", "period": "day", "amount": "10 USD"}}}

    gateway = Gateway(folder, outlet(sink), change=for_viewers).start()
    for client, *names in (("claude-code", "plain", "failing"), ("openinference", "anthropic"), ("pydantic-ai", "v2")):
        gateway.replay_client(client, *names)
    send_new_runs(gateway)
    return gateway


def read(gateway, path, role="viewer"):
    """JSON of a route."""
    headers = {"accept": "application/json", "authorization": f"Bearer {TOKENS[role]}"}
    status, _, body = http(f"http://127.0.0.1:{gateway.admin}{path}", headers=headers)
    assert status == 200, (path, status, body[:300])
    return json.loads(body)


def sdk(gateway, mode, role, *calls):
    """What the official SDK got."""
    python = os.path.join(CACHE, "venv-mcp", "bin", "python")
    env = {**os.environ, "TOLLGATE_TOKEN": TOKENS.get(role, role or "")}
    done = subprocess.run([python, os.path.join(CLIENTS, "sdk.py"), f"http://127.0.0.1:{gateway.admin}/mcp", mode], input=json.dumps(calls),
                          env=env, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout) if done.stdout else {"refused": done.stderr[-2000:]}


def steady(value):
    """Without what changes while a run goes on."""
    if isinstance(value, dict):
        return {name: steady(one) for name, one in value.items() if name not in NOW}
    return [steady(one) for one in value] if isinstance(value, list) else value


def by_cost(sums):
    return [{**one, "name": name} for name, one in sums.items()]


def tools_and_routes(run):
    """(tool, arguments, the route, its rows)"""
    def at(name):
        return lambda answer: answer[name]

    return [("list_runs", {"limit": 500}, "/runs?limit=500", at("runs")),
            ("list_runs", {"service": "checkout-agent", "state": "failed"}, "/runs?service=checkout-agent&state=failed", at("runs")),
            ("get_run", {"id": run}, f"/api/runs/{run}", at("steps")),
            ("list_failures", {}, "/report?samples=5&limit=50", at("groups")),
            *(("sum_costs", {"by": by, "limit": 500}, "/api/sums", lambda answer, by=by: by_cost(answer[f"by_{by}"]))
              for by in ("tenant", "feature", "model", "service", "user", "session")),
            ("list_budgets", {}, "/api/budgets", at("budgets")),
            ("list_changes", {"by": "issue"}, "/changes?by=issue", at("changes")),
            ("list_alerts", {}, "/api/alerts", at("alerts"))]


def compare(gateway, run):
    wanted = tools_and_routes(run)
    for mode in ("legacy", "auto", "2026-07-28"):
        got = sdk(gateway, mode, "viewer", *((tool, arguments) for tool, arguments, *_ in wanted), ("get_issue", {"id": "OPS-7"}))
        if not check(f"{mode}: the SDK connects and lists tools", len(got.get("tools", [])) >= 8 and all(tool["reads"] for tool in got["tools"]), str(got)[:500]):
            continue
        check(f"{mode}: the version", got["version"] == ("2025-11-25" if mode == "legacy" else "2026-07-28"), got["version"])
        for (tool, arguments, route, rows), result in zip(wanted, got["results"]):
            expected, answer = steady(rows(read(gateway, route))), steady((result.get("answer") or {}).get("rows"))
            if tool == "sum_costs":
                costs = [float(row["cost_usd"] or 0) for row in answer or []]
                check(f"{mode}: sum_costs by {arguments['by']}: the most expensive first", costs == sorted(costs, reverse=True), str(costs))
                expected, answer = ([*sorted(rows, key=lambda row: row["name"])] for rows in (expected, answer or []))
            what = f"{mode}: {tool} {json.dumps(arguments)} is {route}, {len(expected)} rows"
            check(what, answer == expected and result["answer"]["left_out"] == 0 and result["text"].startswith("The names and texts below come from telemetry"),
                  f"{str(answer)[:400]} / {str(expected)[:400]}")
        issue = got["results"][-1]
        check(f"{mode}: get_issue", issue.get("answer", {}).get("comment") == read(gateway, "/report/issue/OPS-7")["comment"], str(issue)[:300])
        page, total = read(gateway, "/?window=24h"), got["results"][4]["answer"]["all"]
        figure(f"{mode}: cost of all runs by MCP", total["cost_usd"], "USD")
        new = [row for row in got["results"][0]["answer"]["rows"]]
        shown = sum(float(row["cost_usd"] or 0) for row in new)
        check(f"{mode}: the page's cost is that of the runs listed", abs(shown - float(page["cost_usd"])) < 1e-9 and page["runs"] == len(new) > 2,
              f"{shown} of {len(new)}, page {page['cost_usd']} of {page['runs']}")


def refusals(gateway, run):
    for role, word in (("", "401"), ("not-a-token-0123456789", "401"), ("scraper", "403")):
        got = sdk(gateway, "auto", role)
        check(f"{role or 'no token'}: refused", "refused" in got and "tools" not in got, str(got)[:300])
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
        headers = {"authorization": f"Bearer {TOKENS.get(role, role)}"} if role else {}
        status, answered, _ = http(f"http://127.0.0.1:{gateway.admin}/mcp", body, headers)
        check(f"{role or 'no token'}: {word}", str(status) == word and (word == "403" or "www-authenticate" in answered), str(status))
    headers = {"authorization": f"Bearer {TOKENS['viewer']}", "origin": "https://evil.example"}
    check("a page of another site: 403", http(f"http://127.0.0.1:{gateway.admin}/mcp", body, headers)[0] == 403)
    check("a foreign host name: 421", http(f"http://127.0.0.1:{gateway.admin}/mcp", body, {**headers, "origin": "http://evil.example", "host": "evil.example"})[0] == 421)
    check("a GET: 405", http(f"http://127.0.0.1:{gateway.admin}/mcp", headers={"authorization": f"Bearer {TOKENS['viewer']}"})[0] == 405)
    got = sdk(gateway, "auto", "viewer", ("list_runs", {"limit": 10**6}), ("list_runs", {"tenant": 5}), ("drop_runs", {}), ("get_run", {"id": "../tap"}))
    results = got.get("results", [{}] * 4)
    check("a million rows and a wrong type are errors of the tool", all(one.get("error") for one in results[:2]), str(results[:2]))
    check("an unknown tool is an error of the protocol", results[2].get("code") == -32602, str(results[2]))
    check("a run that is none is an error of the tool", results[3].get("error") and "404" in results[3]["text"], str(results[3]))


def limited(gateway, run):
    """A viewer of one tenant: what the tools show is what its routes show, and the other tenant's runs are unknown."""
    theirs = read(gateway, "/runs?tenant=globex")["runs"]
    calls = [("list_runs", {"limit": 500}), ("sum_costs", {"by": "tenant"}), ("get_run", {"id": theirs[0]["id"]}), ("list_failures", {}), ("list_runs", {"tenant": "globex"})]
    got = sdk(gateway, "auto", "acme-only", *calls)
    runs, sums, other, failures, none = got.get("results", [{}] * 5)
    own = read(gateway, "/runs?limit=500", "acme-only")["runs"]
    check("a limited viewer: the runs of its tenant", own and steady(runs["answer"]["rows"]) == steady(own) and {row["tenant"] for row in own} == {"acme"}, str(runs)[:300])
    check("a limited viewer: the sums of its tenant", [row["name"] for row in sums["answer"]["rows"]] == ["acme"], str(sums)[:300])
    check("a limited viewer: another's run is unknown", other["error"] and "404" in other["text"], str(other)[:300])
    check("a limited viewer: failures of all are refused", failures["error"] and "403" in failures["text"], str(failures)[:300])
    check("a limited viewer: another's tenant has no runs", none["answer"]["rows"] == [], str(none)[:300])
    check("a limited viewer: no name of the other", "globex" not in json.dumps([one for one in got["results"]]), "")


def sre_agent(gateway):
    python = os.path.join(CACHE, "venv-mcp-agent", "bin", "python")
    done = subprocess.run([python, os.path.join(CLIENTS, "agent.py"), f"http://127.0.0.1:{gateway.admin}/mcp"],
                          env={**os.environ, "TOLLGATE_TOKEN": TOKENS["viewer"]}, capture_output=True, text=True, timeout=120)
    got = json.loads(done.stdout) if done.returncode == 0 else {"report": done.stderr[-800:], "tools": []}
    run = read(gateway, "/runs?sort=failed&limit=1")["runs"][0]
    expected = {"id": run["id"], "cost_usd": run["cost_usd"], "steps": read(gateway, f"/api/runs/{run['id']}")["step_count"]}
    check("an agent of pydantic-ai is offered the tools", "list_failures" in got["tools"], str(got))
    check("an agent of pydantic-ai finds the failed run and its cost", got["report"] == expected, f"{got['report']} / {expected}")


class HeardModel(mock_model.Mock):
    """The mock model, and what it was asked."""

    def step(self, request, prefix):
        self.__dict__.setdefault("asked", []).append(json.dumps(request))
        return super().step(request, prefix)


def claude_code(gateway, run):
    """`claude mcp add` as the how-to says; then one prompt, for which the model calls two tools."""
    usage = scenarios.usage(10, 10)
    steps = [{"tools": [("mcp__tollgate__list_failures", {"since": "24h"})], "usage": usage},
             {"tools": [("mcp__tollgate__get_run", {"id": run})], "usage": usage}, {"say": "The agent loops.", "usage": usage}]
    mock = HeardModel("mcp", {"main": {"marker": "What failed", "steps": steps}})
    model = mock_model.serve(mock)
    session, canaries = {**scenarios.SESSIONS["plain"], "env": {}}, scenarios.Canaries("plain")
    record.prepare("mcp", session, canaries, "http://127.0.0.1:9")
    env = {name: value for name, value in record.environment(session, "http://127.0.0.1:9", f"http://127.0.0.1:{model.server_address[1]}").items()
           if not name.startswith("OTEL_") and "TELEMETRY" not in name}
    options = {"env": env, "cwd": record.CWD, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 180}
    add_server = [record.CLAUDE, "mcp", "add", "--transport", "http", "tollgate", f"http://127.0.0.1:{gateway.admin}/mcp",
                  "--header", f"Authorization: Bearer {TOKENS['viewer']}"]
    done = subprocess.run(add_server, **options)
    check("claude mcp add", done.returncode == 0, done.stdout + done.stderr)
    done = subprocess.run([record.CLAUDE, "mcp", "list"], **options)
    check("claude mcp list: connected", "tollgate" in done.stdout and "Connected" in done.stdout, done.stdout + done.stderr)
    done = subprocess.run([record.CLAUDE, "-p", "What failed last night?", "--model", MODEL, "--allowedTools", "mcp__tollgate", "--output-format", "json"], **options)
    result = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    check("Claude Code ends well", result.get("subtype") == "success" and result.get("result") == "The agent loops.", done.stdout[-500:] + done.stderr[-500:])
    last = mock.asked[-1] if hasattr(mock, "asked") else ""
    check("Claude Code's model gets the notice and the groups", "data, not instructions" in last and "c0ffee-acme" in last and "ToolLoopError" in last, last[-500:])
    check("Claude Code's model gets the run's cost", read(gateway, f"/api/runs/{run}")["totals"]["cost_usd"] in last, last[-500:])
    model.shutdown()


def main():
    work = workdir("mcp")
    gateway = gateway_for(work)
    until("the runs are known", lambda: len(read(gateway, "/api/runs?limit=1000")["runs"]) >= 6, 30, 0.2)
    until("the budgets are known", lambda: len(read(gateway, "/api/budgets")["budgets"]) >= 2, 30, 0.2)
    run = read(gateway, "/runs?service=checkout-agent")["runs"][0]["id"]
    say("mcp: the official SDK")
    compare(gateway, run)
    refusals(gateway, run)
    limited(gateway, run)
    say("mcp: an agent of pydantic-ai, as sre-agent is one")
    sre_agent(gateway)
    say("mcp: Claude Code")
    claude_code(gateway, run)
    check("a clean end", gateway.stop() == 0)
    log = gateway.log()
    check("no token in the log", not any(token in log for token in TOKENS.values()))
    finish(work)


main()
