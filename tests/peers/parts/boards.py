"""The dashboards of deploy/dashboards: their files are what generate.py writes, keep their vendors' schemas, and ask only for attributes, metrics and
labels that recorded sessions emit. The number of each panel, computed from the output of a running tollgate, is that of ../boards/expected.json, and the
main ones are those of tollgate's own API. TOLLGATE_UPDATE=1 writes expected.json.
"""
import collections
import json
import os
import re
import shutil
import subprocess
import sys

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REPO = os.path.dirname(os.path.dirname(PEERS))
BOARDS = os.path.join(REPO, "deploy", "dashboards")
sys.path[:0] = [PEERS, BOARDS]
import generate  # noqa: E402
import otlp_json  # noqa: E402
from boards import evaluate, schemas  # noqa: E402
from harness import CACHE, Gateway, Sink, check, figure, files, finish, free_port, http, outlet, read_json, say, until, workdir, write, write_json  # noqa: E402
from promql import names  # noqa: E402

EXPECTED = os.path.join(PEERS, "boards", "expected.json")
NAMES = os.path.join(REPO, "crates", "telemetry", "src", "names", "mod.rs")
CLIENTS = ("claude-code", "claude-otel-hooks")
# Series that no session can make here: Prometheus' own, and those of items that could not be processed, of data that nothing reads, and of Kafka.
UNSEEN = {"ALERTS", "tollgate_quarantined_items_total", "tollgate_spool_unread_seconds", "tollgate_kafka_produce_seconds_bucket", "tollgate_kafka_produce_seconds"}
BUILT = "built-for-the-boards"  # the session of what no recording has: a fallback, and a late item


# ---- the recorded output -----------------------------------------------------------------------------------------------

def span(number, parent, name, start, seconds, attributes, failed=None):
    return otlp_json.span(TRACE, number, parent, name, 1_795_000_000_000_000_000 + start * 1e9, seconds, {"session.id": BUILT, **attributes}, failed)


def post(gateway, spans):
    otlp_json.send(gateway, [otlp_json.group(spans, service__name="built")])


TRACE = "b0a4d5" + "0" * 25 + "1"


def fallback(gateway):
    """A run whose model is overloaded; another one, whose name has no price, answers."""
    call = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic"}
    post(gateway, [
        span(1, 0, "invoke_agent built", 0, 3, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "built"}),
        span(2, 1, "chat", 0.1, 1, {**call, "gen_ai.request.model": "claude-opus-4-8", "error.type": "overloaded_error",
                                           "http.response.status_code": 529}, failed="overloaded"),
        span(3, 1, "chat", 1.5, 1, {**call, "gen_ai.request.model": "no-such-model", "gen_ai.usage.input_tokens": 10,
                                           "gen_ai.usage.output_tokens": 5}),
    ])


def counted(sink):
    """An exporter that moves what a back end would count twice: no panel may go dark."""
    return {name: {**one, "counted_by": "signoz"} for name, one in outlet(sink).items()}


def recorded_rows(sink):
    """[(signal, row)] of everything that the back end got."""
    return [(signal, evaluate.row(signal, item)) for signal, item in sink.items()]


class Recorded:
    """Recorded sessions through a gateway with the `runs` connector: what the back end got, /metrics and the API's answers."""

    def __init__(self, work):
        self.sink = Sink(os.path.join(work, "sink"))
        self.gateway = Gateway(work, counted(self.sink), change=self.connect).start()
        sessions = 1 + sum(len(self.gateway.replay_client(client)) for client in CLIENTS)
        fallback(self.gateway)
        assert self.gateway.post("traces", b"no request", "application/json")[0] == 400
        until("all sessions have ended", lambda: self.gateway.metric("agent_sessions_total") == sessions, 60, 0.2)
        until("summaries are delivered", self.summaries_are_whole, 60, 0.2)
        self.rows, self.text = self.read(), self.metrics()
        self.scraped = evaluate.scrape(self.text)
        self.api = {path: self.gateway.ask(f"/api/{path}") for path in ("sums", "runs?limit=1000", "sessions")}

    def connect(self, config):
        config["processors"]["runs"] = {"idle_timeout": "8s", "settle": "3s"}
        config["connectors"] = {"runs": {"interval": "1s"}}
        pipelines = config["service"]["pipelines"]
        for signal in ("traces", "logs"):
            pipelines[signal]["exporters"] = ["otlp_http", "runs"]
        for signal in ("logs", "metrics"):
            pipelines[f"{signal}/runs"] = {"receivers": ["runs"], "processors": ["redact"], "exporters": ["otlp_http"]}
        exporter = {"otlp": {"protocol": "http/protobuf", "endpoint": f"http://127.0.0.1:{self.sink.http}"}}
        config["service"]["telemetry"]["metrics"] = {"readers": [{"periodic": {"interval": 1000, "exporter": exporter}}]}

    def metrics(self):
        return http(f"http://127.0.0.1:{self.gateway.admin}/metrics")[2].decode()

    def summaries(self):
        return [one for signal, one in self.read() if signal == "logs" and one["body"] == "tollgate.run.summary"]

    def summaries_are_whole(self):
        bodies = [one["body"] for signal, one in self.read() if signal == "logs"]
        runs = self.gateway.metric("agent_runs_total")
        return self.gateway.drained() and bodies.count("tollgate.run.summary") >= runs and "tollgate.alert" in bodies

    def read(self):
        return recorded_rows(self.sink)

    def late(self):
        """A tool call of a run that was summarised: the run is summarised again."""
        post(self.gateway, [span(4, 1, "execute_tool late", 2.6, 0.1, {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "late"})])
        until("a late item makes another summary", lambda: any("tollgate.run.revision" in one for one in self.summaries()), 60, 0.2)
        return self.rows + [("logs", one) for one in self.summaries() if "tollgate.run.revision" in one]


# ---- the receiver of hooks ---------------------------------------------------------------------------------------------

RECEIVED = "claude-code-hooks, by the receiver"  # its numbers in expected.json
# What Claude Code's hooks do not report, as docs/how-to/claude-code-hooks.md says.
NOT_REPORTED = {"cache-hit-ratio", "compaction", "model-usage", "stop-reasons", "tokens", "tokens-per-session"}
# The receiver takes these from the times of arrival, where an event has no length.
BY_ARRIVAL = {"session-duration": ("average", "p95"), "sub-agents": ("average",), "tool-duration": ("average", "p95")}


def by_the_receiver(board, work):
    """Each panel of the hooks' edition from what tollgate makes of Claude Code's own events (tests/cases/hooks)."""
    folder, port = os.path.join(work, "receiver"), free_port()
    sink = Sink(os.path.join(folder, "sink"))

    def with_hooks(config):
        config["receivers"]["claude_code_hooks"] = {"endpoint": f"127.0.0.1:{port}"}
        config["service"]["pipelines"]["traces"]["receivers"].append("claude_code_hooks")

    gateway = Gateway(folder, counted(sink), change=with_hooks).start()
    sent = 0
    for case in files("*.jsonl", os.path.join(REPO, "tests", "cases", "hooks")):
        with open(case) as f:
            for event in (line for line in f if not line.startswith("#")):
                status, _, answer = http(f"http://127.0.0.1:{port}/v1/hooks/claude-code", event.encode(), {"content-type": "application/json"})
                assert status == 200, (case, event[:200], answer)
                sent += 1
    gateway.ends("receiver")
    rows = recorded_rows(sink)
    check(f"receiver: each of {sent} events is a span", len(rows) == sent, len(rows))
    found, lacking = {}, set()
    for panel in board["panels"]:
        query = panel["events"]
        if evaluate.problems(query, rows):
            lacking.add(panel["id"])
        numbers_ = evaluate.events(query, rows)
        if columns := BY_ARRIVAL.get(panel["id"]):
            first = len(query.get("by", []))
            at = [first + list(query["show"]).index(column) for column in columns]
            # the end of a sub-agent whose start no case has comes without
            check(f"receiver: {panel['id']} has its times", any((row[place] or -1) >= 0 for row in numbers_ for place in at), numbers_)
            numbers_ = [[value for place, value in enumerate(row) if place not in at] for row in numbers_]
        found[panel["id"]] = {"events": numbers_}
    check("receiver: the panels that lack an attribute are those of docs/how-to/claude-code-hooks.md", lacking == NOT_REPORTED, lacking ^ NOT_REPORTED)
    return found


# ---- the description ---------------------------------------------------------------------------------------------------

def panels(boards):
    return [(f"{board['id']}/{panel['id']}", panel) for board in boards for panel in board["panels"]]


def asks_only_what_is_recorded(boards, rows, text):
    """[problem] of the description's queries: attributes with their types, metrics with their labels."""
    wrong, live, defined = [], names.scraped(text), names.defined(NAMES)
    known = names.series_of(defined)
    for place, panel in panels(boards):
        if panel.get("events"):
            wrong += [f"{place}: {problem}" for problem in evaluate.problems(panel["events"], rows)]
        for one in panel.get("metrics", []):
            for query in [one] + ([one["to"]] if "to" in one else []):
                metric = query["metric"] + {"avg": "_sum", "sum": "_sum", "count": "_count", "p95": "_bucket"}.get(query["show"], "")
                if metric in UNSEEN:
                    wrong += [] if metric == "ALERTS" or metric in known else [f"{place}: {metric} is not tollgate's"]
                elif metric not in live:
                    wrong.append(f"{place}: no session emits {metric}")
                else:
                    labels = {*query.get("by", []), *query.get("where", {}), *re.findall(r"\{\{(\w+)\}\}", query.get("as", ""))}
                    wrong += [f"{place}: {metric} has no label {label}" for label in labels - live[metric]]
                    wide = [label for label in labels if names.FORBIDDEN.match(label)]
                    wrong += [f"{place}: label {label} names one session, run or person" for label in wide]
    return wrong


def numbers(boards, recorded):
    """{board: {panel: {"events": rows, "metrics": rows}}}"""
    out = {}
    for board in boards:
        of_board = out.setdefault(board["id"], {})
        for panel in board["panels"]:
            found = of_board.setdefault(panel["id"], {})
            if panel.get("events"):
                found["events"] = evaluate.events(panel["events"], recorded.rows)
            if panel.get("metrics"):
                found["metrics"] = evaluate.metrics(panel["metrics"], recorded.scraped)
    return out


def lines(value, indent=0):
    """JSON with one row of numbers a line."""
    if isinstance(value, dict):
        inside = ",\n".join(f"{' ' * (indent + 1)}{json.dumps(key)}: {lines(one, indent + 1)}" for key, one in value.items())
    elif indent == 3:
        inside = ",\n".join(" " * (indent + 1) + json.dumps(one, ensure_ascii=False) for one in value)
    text = f"{'{' if isinstance(value, dict) else '['}\n{inside}\n{' ' * indent}{'}' if isinstance(value, dict) else ']'}"
    return text + ("\n" if not indent else "")


def as_expected(boards, found):
    """Against expected.json; numbers that depend on the clock must only be there."""
    volatile = {place for place, panel in panels(boards) if panel.get("volatile")}
    steady = {board: {panel: rows for panel, rows in of_board.items() if f"{board}/{panel}" not in volatile} for board, of_board in found.items()}
    if os.environ.get("TOLLGATE_UPDATE"):
        write(EXPECTED, lines(steady))
    expected = read_json(EXPECTED)
    wrong = []
    for board in sorted(set(expected) | set(steady)):
        for panel in sorted(set(expected.get(board, {})) | set(steady.get(board, {}))):
            here, there = steady.get(board, {}).get(panel), expected.get(board, {}).get(panel)
            wrong += [f"{board}/{panel}: {here}, expected {there}"] if json.loads(json.dumps(here)) != there else []
    return wrong


# ---- the files ---------------------------------------------------------------------------------------------------------

def path(vendor, board, ending):
    return os.path.join(BOARDS, vendor, f"{board['id']}.{ending}")


def read(vendor, board):
    return read_json(path(vendor, board, "json"))


def files_give_the_same(boards, found, rows, specs):
    """The queries in the vendors' files, read back, give the description's numbers."""
    wrong, compared = [], {vendor: 0 for vendor in generate.VENDORS}
    for board in boards:
        signoz, grafana = read("signoz", board), {panel["title"]: panel for panel in read("grafana", board)["panels"]}
        for panel in board["panels"]:
            place = f"{board['id']}/{panel['id']}"
            queries = {}
            if generate.source(panel, "honeycomb"):
                spec = specs[place.replace("/", "_").replace("-", "_")]
                queries["honeycomb"] = evaluate.honeycomb(spec, panel["events"]["from"])
            if generate.source(panel, "signoz") == "events":
                plugin = signoz["spec"]["panels"][panel["id"]]["spec"]["queries"][0]["spec"]["plugin"]
                queries["signoz"] = evaluate.signoz([one["spec"] for one in plugin["spec"]["queries"] if one["type"] == "builder_query"]
                                                    if "queries" in plugin["spec"] else [plugin["spec"]])
            if generate.source(panel, "grafana") == "traces":
                queries["grafana"] = evaluate.traceql([target["query"] for target in grafana[panel["title"]]["targets"]])
            for vendor, query in queries.items():
                compared[vendor] += 1
                here = evaluate.events(query, rows)
                wrong += [f"{vendor}: {place}: {here}"] if here != found[board["id"]][panel["id"]]["events"] else []
    return wrong, compared


def promql_of(board):
    """[(vendor, panel, expression for one hour)] of Grafana's and SigNoz' files."""
    out = []
    for panel in read("grafana", board)["panels"]:
        out += [("grafana", panel["title"], target["expr"]) for target in panel["targets"] if "expr" in target]
    for panel in read("signoz", board)["spec"]["panels"].values():
        plugin = panel["spec"]["queries"][0]["spec"]["plugin"]
        specs = [one["spec"] for one in plugin["spec"]["queries"]] if "queries" in plugin["spec"] else [plugin["spec"]]
        out += [("signoz", panel["spec"]["display"]["name"], spec["query"]) for spec in specs if "query" in spec]
    return [(vendor, title, re.sub(r"\[(?:\$window|\$__rate_interval|5m)\]", "[1h]", expr)) for vendor, title, expr in out]


def prometheus_computes(exprs, scraped, work):
    """{expression: sorted numbers} by Prometheus' own engine, if every counter was 0 an hour ago."""
    series = []
    for name, labels, number in scraped:
        inside = ", ".join(f'{key}="{value}"' for key, value in labels.items())
        series.append({"series": f"{name}{{{inside}}}", "values": f"0x59 {number!r}"})
    cases = [{"expr": expr, "eval_time": "1h", "exp_samples": []} for expr in exprs]
    path_ = os.path.join(work, "panels.json")
    write_json(path_, {"rule_files": [], "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": cases}]})
    done = subprocess.run(["promtool", "test", "rules", path_], capture_output=True, text=True)
    out = {expr: [] for expr in exprs}
    for match in re.finditer(r'expr: (".*"), time: 1h,\s*\n\s*exp:\s*nil\s*\n\s*got:\s*(.*)', done.stdout + done.stderr):
        values = re.findall(r"(?:\}|^) ([-+.\dEeNaInf]+)(?=,|\n|$)", match[2] + "\n")
        out[json.loads(match[1])] = sorted(float(value) for value in values)
    return out, done.stdout + done.stderr


def promql_gives_the_same(boards, found, scraped, work):
    """Prometheus' engine gives the evaluator's numbers for the expressions that stand in the files."""
    exprs = sorted({expr for board in boards for _, _, expr in promql_of(board)})
    computed, output = prometheus_computes(exprs, scraped, work)
    check(f"{len(exprs)} queries are PromQL", "parse error" not in output, output[:400])
    compared = 0
    wrong = []
    for board in boards:
        of_files = promql_of(board)
        for panel in board["panels"]:
            for vendor in ("grafana", "signoz"):
                if generate.source(panel, vendor) != "metrics":
                    continue
                # yesterday had no series, and Prometheus makes ALERTS itself
                mine = [expr for source, title, expr in of_files if source == vendor and title == panel["title"]
                        and "offset" not in expr and "ALERTS" not in expr]
                here = sorted(number for expr in mine for number in computed[expr])
                ours = sorted(row[-1] for row in found[board["id"]][panel["id"]]["metrics"])
                if any("> 0" in expr for expr in mine):
                    ours = [number for number in ours if number > 0]
                if not mine:
                    continue
                compared += 1
                same = len(here) == len(ours) and all(abs(one - other) <= 1e-6 + 1e-6 * abs(other) for one, other in zip(here, ours))
                wrong += [] if same else [f"{vendor}: {board['id']}/{panel['id']}: Prometheus {here}, evaluator {ours}"]
    check(f"Prometheus' engine computes the same numbers for {compared} panels of Grafana and SigNoz", compared and not wrong, wrong[:4])


# ---- tollgate's own API -------------------------------------------------------------------------------------------------

def agree_with_the_api(found, api):
    """Numbers that tollgate's API has, too; what was built for this test is left out or counted by itself."""
    native, hooks, night = (found[board] for board in ("claude-code-sessions", "claude-code-hooks", "agents-at-2am"))
    sums, runs = api["sums"], api["runs?limit=1000"]["runs"]
    recorded = [run for run in runs if run["session_id"] != BUILT]

    def equal(what, here, there):
        here, there = json.loads(json.dumps(here)), json.loads(json.dumps(there))
        check(f"{what}, as the API has it", here == there, f"{here}, API {there}")

    def value(board, panel, source="events"):
        return board[panel][source][0][-1]

    def total(board, panel, source="events"):
        return round(sum(row[-1] for row in board[panel][source]), 9)

    equal("sessions", value(native, "sessions"), len({run["session_id"] for run in recorded}))
    equal("prompts, one a run", value(native, "prompts") + value(hooks, "prompts"), len(recorded))
    for what, panel, key in (("tool calls", "tool-calls", "tool_calls"), ("failed tool calls", "tool-failures", "failed_tool_calls")):
        equal(what, total(native, panel) + total(hooks, panel), sum(run["totals"][key] for run in recorded))
    calls = [run["totals"]["model_calls"] + run["totals"]["failed_model_calls"] for run in recorded if run["tenant"]]
    equal("model calls", total(native, "model-usage"), sum(calls))
    denials = sum(one["count"] for run in runs for one in run["totals"]["permission_denials"])
    equal("permission denials", total(native, "permission-denials") + total(hooks, "permission-denials"), denials)
    for name, board, tenant in (("Claude Code", native, "acme"), ("the hooks", hooks, "unattributed")):
        new, read_, written, output = board["tokens"]["events"][0]
        own = [run["totals"]["tokens"] for run in recorded if (run["tenant"] or "unattributed") == tenant]
        equal(f"tokens of {name}", [new + read_ + written, read_, output], [sum(one[key] for one in own) for key in ("input_total", "cache_read", "output_total")])
    for what in ("tenant", "model"):
        costs = {name: float(one["cost_usd"]) for name, one in sums[f"by_{what}"].items() if one["cost_usd"] is not None}
        equal(f"cost by {what}", {row[0] or "unattributed": row[-1] for row in night[f"cost-by-{what}"]["events"]}, costs)
    equal("cost of all features", total(night, "cost-by-feature"), float(sums["all"]["cost_usd"]))
    equal("failure rate", value(night, "failure-rate"), round(sum(run["failed"] for run in runs) / len(runs), 9))
    equal("longest runs", {row[0]: [row[-2], row[-1]] for row in night["longest-runs"]["events"]},
          {run["id"]: [run["duration_seconds"], run["totals"]["iterations"]] for run in runs})
    equal("runs by state", {row[0]: row[-1] for row in night["runs-by-state"]["events"]}, collections.Counter(run["state"] for run in runs))
    equal("fallbacks", total(night, "fallbacks"), sum(one["count"] for run in runs for one in run["totals"]["fallbacks"]))


def main():
    work = workdir("boards")
    boards = generate.load()
    stale = generate.stale(generate.files(boards))
    check("the files are what generate.py writes", not stale, stale)
    for vendor in generate.VENDORS:
        figure(f"panels of {vendor}", " + ".join(str(sum(generate.source(panel, vendor) is not None for panel in board["panels"])) for board in boards))

    for board in boards[:2]:
        groups = {panel["group"] for panel in board["panels"]}
        check(f"{board['id']}: sixteen panels in twelve groups", (len(board["panels"]), len(groups)) == (16, 12), sorted(groups))

    specs, wrong = {}, []
    for board in boards:
        problems, of_board = schemas.honeycomb(path("honeycomb", board, "tf"))
        wrong += problems
        specs.update(of_board)
    check("Honeycomb: each resource has only documented arguments", specs and not wrong, wrong[:4])
    if shutil.which("terraform"):
        done = subprocess.run(["terraform", "fmt", "-check", os.path.join(BOARDS, "honeycomb")], capture_output=True, text=True)
        check("Honeycomb: terraform reads the files and finds them formatted", done.returncode == 0, done.stdout + done.stderr)
    wrong = [f"{board['id']}: {problem}" for board in boards for problem in schemas.signoz(read("signoz", board))]
    check("SigNoz: each dashboard is of schema v6", not wrong, wrong[:4])
    wrong = [f"{board['id']}: {problem}" for board in boards for problem in schemas.grafana(read("grafana", board))]
    check("Grafana: panels, ids, variables, data sources", not wrong, wrong[:4])
    wrong = schemas.grafana_types([read("grafana", board) for board in boards], os.path.join(CACHE, "boards"))
    check("Grafana: each dashboard is of the type that @grafana/schema publishes", not wrong, wrong[:4])

    recorded = Recorded(work)
    found = numbers(boards, recorded)
    empty = [place for place, panel in panels(boards) for kind, rows in found[place.split("/")[0]][panel["id"]].items()
             if not rows and not {one["metric"] for one in panel["metrics"]} & UNSEEN]
    check("every panel has a number", not empty, empty)
    received = by_the_receiver(boards[1], work)
    wrong = as_expected(boards, {**found, RECEIVED: received})
    check(f"the numbers of {len(panels(boards))} panels are those of boards/expected.json", not wrong, wrong[:3])
    wrong, compared = files_give_the_same(boards, found, recorded.rows, specs)
    check(f"queries read back from the files give the same numbers ({compared['honeycomb']} of Honeycomb, {compared['signoz']} of SigNoz, "
          f"{compared['grafana']} of Grafana's traces)", not wrong, wrong[:3])
    promql_gives_the_same(boards, found, recorded.scraped, work)
    agree_with_the_api(found, recorded.api)
    rows = recorded.late()
    wrong = asks_only_what_is_recorded(boards, rows, recorded.text)
    check("each query asks only for attributes, metrics and labels that the sessions emit", not wrong, wrong[:6])
    figure("spans, log records and points", len(rows))
    finish(work)


if __name__ == "__main__":
    say("boards: the dashboards over recorded sessions")
    main()
