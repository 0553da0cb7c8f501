"""Real back ends, fed by tollgate with recorded sessions, then asked through their own APIs for what an operator needs.

    backends.py [ROW ...]    default: every row

A row starts one back end and a tollgate that forwards to it and to a sink. The sink shows what tollgate sent; the back
end must hold the same: every span under its parent, token counts and cost as numbers, errors as errors, no content.
"""
import atexit
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from decimal import Decimal

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [PEERS, os.path.dirname(os.path.abspath(__file__))]
import decode  # noqa: E402
import yaml  # noqa: E402
from backends import strict  # noqa: E402
from harness import (BINARY, CACHE, HERE, RECORDINGS, REPO, SIGNALS, Gateway, Sink, check, figure, files, finish, free_port, http,  # noqa: E402
                     keygen, say, start, stop_all, until, workdir)
from leak import early, error_text  # noqa: E402
from leaks import Search  # noqa: E402

INSTALLS = ("jaeger", "prometheus", "victoriametrics", "alertmanager", "phoenix", "mlflow", "collector")
INSTALLED = os.path.join(CACHE, "backends")
# Whole traces, errors, tokens, tool calls and metrics of both temporalities, in the dialects of four clients.
SESSIONS = ("claude-code/plain", "claude-code/failing", "semconv/anthropic", "semconv/openai", "openinference/anthropic",
            "vercel-ai/v7-responses", "langsmith/langgraph")
INPUT, OUTPUT, COST = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cost"
TIMES = ("time_unix_nano", "start_time_unix_nano", "end_time_unix_nano", "observed_time_unix_nano")


# ---- what is sent --------------------------------------------------------------------------------------------------

def shift(message, nanoseconds):
    """Adds to every time in a protobuf message."""
    for field, value in message.ListFields():
        if field.name in TIMES:
            setattr(message, field.name, value + nanoseconds)
        elif field.message_type:
            for one in value if field.is_repeated else [value]:
                shift(one, nanoseconds)


def latest(message):
    """The latest time in a protobuf message."""
    times = [0]
    for field, value in message.ListFields():
        if field.name in TIMES:
            times.append(value)
        elif field.message_type:
            times += [latest(one) for one in (value if field.is_repeated else [value])]
    return max(times)


def sessions():
    """[(signal, request)] of the recorded sessions, each moved to end two seconds ago: back ends refuse old data."""
    out = []
    for session in SESSIONS:
        client, name = session.split("/")
        with open(os.path.join(RECORDINGS, client, "manifest.json")) as f:
            listed = json.load(f)["sessions"][name]["files"]
        requests = [decode.load(os.path.join(RECORDINGS, session, one["file"])) for one in listed]
        age = time.time_ns() - 2_000_000_000 - max(latest(request) for _, request in requests)
        for _, request in requests:
            shift(request, age)
        out += requests
    return out + [("metrics", marked_metric())]


def marked_metric():
    """No recorded metric has content, so this one is of a client that puts a prompt on its data point."""
    request = decode.REQUESTS["metrics"]()
    top = request.resource_metrics.add()
    top.resource.attributes.add(key="service.name").value.string_value = "ledger-agent"
    metric = top.scope_metrics.add().metrics.add(name="ledger.questions", unit="{question}")
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = 2, True
    point = metric.sum.data_points.add(start_time_unix_nano=time.time_ns() - 3_000_000_000, time_unix_nano=time.time_ns() - 1_000_000_000, as_int=3)
    point.attributes.add(key="gen_ai.prompt").value.string_value = f"What does {sorted(content())[0]} say?"
    return request


def content():
    """Canaries of prompts, answers and tools in the sessions. An error message that repeats none of them may be forwarded."""
    own = early(error_text())
    out = set()
    for session in SESSIONS:
        client, name = session.split("/")
        with open(os.path.join(RECORDINGS, client, "manifest.json")) as f:
            for one in json.load(f)["sessions"][name]["canaries"].values():
                if one["value"] not in own and any(one["seen"].values()):
                    out.add(one["value"])
    return out


class Fed:
    """A gateway that has sent the sessions to a back end and to a sink; what was recorded, and what the sink got."""

    def __init__(self, work, exporter, signals=SIGNALS, change=None):
        self.sink = Sink(os.path.join(work, "sink"))
        kind = exporter.pop("kind", "otlp_http")
        # both destinations of metrics get the same conversion, so they can be compared
        same = {key: exporter[key] for key in ("deltatocumulative",) if key in exporter}

        def configure(config):
            pipelines = config["service"]["pipelines"]
            config["service"]["pipelines"] = {signal: pipelines[signal] for signal in signals}
            if change:
                change(config)

        exporters = {f"{kind}/backend": exporter, "otlp_http/sink": {"endpoint": f"http://127.0.0.1:{self.sink.http}", **same}}
        self.gateway = Gateway(work, exporters, log="info", change=configure).start()
        self.sent = [(signal, request) for signal, request in sessions() if signal in signals]
        for signal, request in self.sent:
            status, _, answer = self.gateway.post(signal, request.SerializeToString())
            assert status == 200, answer[:300]
        count = sum(1 for signal, request in self.sent for _ in decode.items(signal, request))

        def counted():
            """Items that the back end took, and that it refused: whole requests, or some items of one that it took."""
            return tuple(sum(self.gateway.metric(f"otelcol_exporter_{verb}_{noun}_total", exporter=f"{kind}/backend")
                             for noun in ("spans", "log_records", "metric_points")) for verb in ("sent", "send_failed"))

        # the spool may look empty before the first request has an answer
        until("everything delivered", lambda: sum(counted()) >= count and len(self.sink.rows()) >= count and self.gateway.drained(), 120, 0.1)
        check(f"the back end takes all {count} items", counted() == (count, 0), counted())
        self.items = [(signal, item) for path in files("*.pb", self.sink.dir) for signal, request in [decode.load(path)]
                      for item in decode.items(signal, request)]
        self.whole(signals)

    def of(self, signal):
        return [item for one, item in self.items if one == signal]

    def whole(self, signals):
        """What tollgate sent is what was recorded; the comparison with the back end rests on it."""
        recorded = {signal: [item for one, request in self.sent if one == signal for item in decode.items(signal, request)] for signal in signals}
        if "traces" in signals:
            wanted = {key(span): (span["parent"], span["status"]["code"] == 2) for span in recorded["traces"]}
            got = {key(span): (span["parent"], span["status"]["code"] == 2) for span in self.of("traces")}
            check(f"tollgate sends the {len(wanted)} spans that were recorded, with their parents and errors", wanted == got,
                  [k for k in wanted if got.get(k) != wanted[k]][:3])
        if "logs" in signals:
            check(f"tollgate sends the {len(recorded['logs'])} logs that were recorded", len(self.of("logs")) == len(recorded["logs"]))


def key(span):
    return span["trace_id"], span["span_id"]


# ---- what a back end must hold -------------------------------------------------------------------------------------

def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def differences(wanted, got, names=None):
    """Lines about spans that a back end lacks or shows otherwise than tollgate sent them.

    Both are lists of spans with `trace_id`, `span_id`, `parent`, `error`, `attributes`. `names` maps the attributes of
    tokens and cost to the back end's own names; `None` there means that the back end computes its own."""
    names = {INPUT: INPUT, OUTPUT: OUTPUT, COST: COST, **(names or {})}
    held, out = {key(span): span for span in got}, []
    if len(held) != len(got):
        out.append(f"{len(got) - len(held)} spans twice")
    for span in wanted:
        found = held.get(key(span))
        if found is None:
            out.append(f"{span['name']} of trace {span['trace_id']} is missing")
            continue
        if found["parent"] != span["parent"]:
            out.append(f"{span['name']}: parent {found['parent']!r}, sent {span['parent']!r}")
        if found["error"] != (span["status"]["code"] == 2):
            out.append(f"{span['name']}: error is {found['error']}")
        for name, own in names.items():
            sent = span["attributes"].get(name)
            value = found["attributes"].get(own) if own else None
            if own and sent is not None and not (is_number(value) and abs(value - sent) < 1e-9):
                out.append(f"{span['name']}: {own} is {value!r}, sent {sent!r}")
    return out


def self_check():
    """The comparison itself: each kind of damage is reported, and nothing else."""
    span = {"trace_id": "1", "span_id": "2", "parent": "3", "name": "chat", "status": {"code": 2}, "attributes": {INPUT: 7, COST: 0.5}}
    good = {**span, "error": True}
    bad = [[], [{**good, "parent": ""}], [{**good, "error": False}], [{**good, "attributes": {INPUT: "7", COST: 0.5}}],
           [{**good, "attributes": {INPUT: 7}}], [good, good]]
    return not differences([span], [good]) and all(len(differences([span], got)) == 1 for got in bad)


def operator(fed, got, raw, names=None):
    """The checks that every back end of traces must pass. `raw`: everything that its API returned."""
    spans = fed.of("traces")
    calls = [span for span in spans if INPUT in span["attributes"]]
    priced = [span for span in calls if span["attributes"].get(COST, 0) > 0]
    errors = sum(span["status"]["code"] == 2 for span in spans)
    wrong = differences(spans, got, names)
    check(f"{len(spans)} spans of {len({span['trace_id'] for span in spans})} traces are there and linked, {len(calls)} token counts and "
          f"{len(priced)} costs are numbers, {errors} errors are marked", not wrong and len(priced) >= 10 and errors >= 5, wrong[:5])
    no_content(fed, raw)


def no_content(fed, *raw):
    wanted = content()
    search = Search(wanted)
    search.look("answers", b"\n".join(raw))
    sent = Search(wanted)
    for _, request in fed.sent:
        sent.look("recordings", request.SerializeToString())
    check(f"none of {len({one for one, _ in sent.found})} content markers is in {len(b''.join(raw)) >> 10} KiB of answers",
          sent.found and not search.found, sorted(search.found)[:5])


def ask(url, **options):
    status, _, body = http(url, **options)
    assert status == 200, f"{url}: {status} {body[:300]!r}"
    return body


servers = []


def server(work, name, *command, **options):
    """Starts an installed program in a process group of its own; its output goes to a file."""
    with open(os.path.join(work, f"{name}.log"), "ab") as log:
        servers.append(start(list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=work, **options))


@atexit.register
def end_row():
    """Ends the servers of a row with the processes that they started (MLflow has eight), and everything else that runs."""
    while servers:
        try:
            os.killpg(servers.pop().pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    stop_all()


def answers(url, seconds=60):
    """Waits until a server answers with 200."""
    def test():
        if servers[-1].poll() is not None:
            raise RuntimeError(f"{servers[-1].args[0]} ended with {servers[-1].returncode}: see its log")
        try:
            return http(url, timeout=5)[0] == 200
        except OSError:
            return False
    until(f"{url} answers", test, seconds, 0.1)


def trace_ids(fed):
    return sorted({span["trace_id"] for span in fed.of("traces")})


# ---- traces --------------------------------------------------------------------------------------------------------

def jaeger(work):
    """Storage in memory; what its page reads: services, search by an error's tag, and whole traces."""
    grpc, query, admin = free_port(), free_port(), free_port()
    other = [f"--{name}.host-port=127.0.0.1:{free_port()}" for name in ("collector.otlp.http", "collector.http-server", "collector.grpc-server",
                                                                        "query.grpc-server")]
    server(work, "jaeger", os.path.join(INSTALLED, "jaeger"), "--collector.otlp.enabled=true", f"--collector.otlp.grpc.host-port=127.0.0.1:{grpc}",
           f"--query.http-server.host-port=127.0.0.1:{query}", f"--admin.http.host-port=127.0.0.1:{admin}", *other,
           env={**os.environ, "SPAN_STORAGE_TYPE": "memory"})
    base = f"http://127.0.0.1:{query}/api"
    answers(f"{base}/services")
    fed = Fed(work, {"kind": "otlp", "endpoint": f"http://127.0.0.1:{grpc}", "compression": "gzip"}, ("traces",))
    ids = trace_ids(fed)

    def read():
        bodies = [http(f"{base}/traces/{one}") for one in ids]
        count = sum(len(json.loads(body)["data"][0]["spans"]) for status, _, body in bodies if status == 200)
        return [body for _, _, body in bodies] if count >= len(fed.of("traces")) else None

    raw = until("Jaeger shows every span", read, 60, 0.2)
    got = []
    for span in (span for body in raw for trace in json.loads(body)["data"] for span in trace["spans"]):
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        parents = [one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF" and one["traceID"] == span["traceID"]]
        got.append({"trace_id": span["traceID"], "span_id": span["spanID"], "parent": parents[0] if parents else "",
                    "error": tags.get("error") is True, "attributes": tags})
    services = ask(f"{base}/services")
    wanted = {span["resource"]["service.name"] for span in fed.of("traces")}
    check(f"its services are the clients': {', '.join(sorted(wanted))}", set(json.loads(services)["data"]) == wanted, services[:200])
    tag = urllib.parse.quote(json.dumps({"error": "true"}))
    failed = ask(f"{base}/traces?service=claude-code&limit=100&tags={tag}")
    wanted = {span["trace_id"] for span in fed.of("traces") if span["resource"]["service.name"] == "claude-code" and span["status"]["code"] == 2}
    check("a search for failed spans of Claude Code finds its failed trace", {one["traceID"] for one in json.loads(failed)["data"]} == wanted)
    operator(fed, got, b"".join([*raw, services, failed]))
    check("a trace that was not sent is not found", http(f"{base}/traces/{'ab' * 16}")[0] == 404)


def phoenix(work):
    """SQLite; REST for spans, GraphQL for the sums of its page."""
    port = free_port()
    server(work, "phoenix", os.path.join(INSTALLED, "phoenix", "bin", "phoenix"), "serve",
           env={**os.environ, "PHOENIX_WORKING_DIR": work, "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(free_port()),
                "PHOENIX_TELEMETRY_ENABLED": "false", "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false"})
    base = f"http://127.0.0.1:{port}"
    answers(f"{base}/healthz", 240)
    fed = Fed(work, {"endpoint": base, "compression": "gzip"}, ("traces",))

    def read():
        body = ask(f"{base}/v1/projects/default/spans?limit=1000")
        return body if len(json.loads(body)["data"]) >= len(fed.of("traces")) else None

    raw = until("Phoenix shows every span", read, 60, 0.5)
    got = [{"trace_id": span["context"]["trace_id"], "span_id": span["context"]["span_id"], "parent": span["parent_id"] or "",
            "error": span["status_code"] == "ERROR", "attributes": span["attributes"]} for span in json.loads(raw)["data"]]
    query = {"query": "{ projects { edges { node { traceCount recordCount tokenCountPrompt tokenCountCompletion costSummary { total { cost } } } } } }"}
    page = ask(f"{base}/graphql", body=json.dumps(query).encode(), headers={"content-type": "application/json"})
    operator(fed, got, raw + page)
    wrong = differences(fed.of("traces"), got, {INPUT: "llm.token_count.prompt", OUTPUT: "llm.token_count.completion", COST: None})
    check("the token counts that its page shows are the ones that tollgate sent", not wrong, wrong[:5])
    sums = json.loads(page)["data"]["projects"]["edges"][0]["node"]
    check("its page counts the traces and spans", (sums["traceCount"], sums["recordCount"]) == (len(trace_ids(fed)), len(got)), sums)
    figure("cost on Phoenix's own page, which prices each span", round(sums["costSummary"]["total"]["cost"], 6), "USD")
    figure("cost of the same calls by tollgate, each counted once", round(sum(span["attributes"].get(COST, 0) for span in got), 6), "USD")


def mlflow(work):
    """SQLite; REST for whole traces and for the sums of its page."""
    port = free_port()
    server(work, "mlflow", os.path.join(INSTALLED, "mlflow", "bin", "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
           "--backend-store-uri", f"sqlite:///{work}/mlflow.db", "--artifacts-destination", os.path.join(work, "artifacts"),
           env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
    base = f"http://127.0.0.1:{port}"
    answers(f"{base}/health", 240)
    fed = Fed(work, {"endpoint": base, "compression": "gzip", "headers": {"x-mlflow-experiment-id": "0"}}, ("traces",))
    ids = trace_ids(fed)
    raw = ask(f"{base}/api/3.0/mlflow/traces/batchGet?" + "&".join(f"trace_ids=tr-{one}" for one in ids), timeout=60)
    got, used = [], 0
    for trace in json.loads(raw)["traces"]:
        used += json.loads(trace["trace_info"]["trace_metadata"].get("mlflow.trace.tokenUsage", "{}")).get("input_tokens", 0)
        for span in trace["spans"]:
            got.append({"trace_id": hexed(span["trace_id"]), "span_id": hexed(span["span_id"]), "parent": hexed(span.get("parent_span_id", "")),
                        "error": span.get("status", {}).get("code") == "STATUS_CODE_ERROR",
                        "attributes": {pair["key"]: plain(pair["value"]) for pair in span["attributes"]}})
    operator(fed, got, raw)
    check("its traces have token sums", used > 0, raw[:300])
    figure("input tokens by MLflow's own sums", used)


def hexed(text):
    """Hex of an id in base64."""
    return base64.b64decode(text).hex()


def plain(value):
    """The value of a typed attribute, as protobuf's JSON has it: a long integer may be a text."""
    (kind, inner), = value.items() or [("none", None)]
    return int(inner) if kind in ("int_value", "intValue") else inner


# ---- metrics -------------------------------------------------------------------------------------------------------

def prometheus_name(metric):
    """The name of a metric after OTLP's translation to Prometheus: unit and `_total` behind it."""
    unit = {"s": "seconds", "By": "bytes", "ms": "milliseconds", "1": "ratio" if metric.WhichOneof("data") == "gauge" else ""}.get(metric.unit, metric.unit)
    words = [re.sub(r"[^A-Za-z0-9:]+", "_", metric.name).strip("_")]
    if unit and not unit.startswith("{") and unit not in words[0].split("_"):
        words.append(re.sub(r"[^A-Za-z0-9]+", "_", unit))
    if metric.WhichOneof("data") == "sum" and metric.sum.is_monotonic:
        words[0] = words[0].removesuffix("_total")
        words.append("total")
    return "_".join(words)


def last_values(sink):
    """{(name in Prometheus, resource and attributes): last value that the sink got}, for sums, gauges and a histogram's sum and count."""
    out, when = {}, {}

    def note(name, resource, point, value):
        at = name, json.dumps([decode.attributes(resource.attributes), decode.attributes(point.attributes)], sort_keys=True)
        if when.get(at, 0) <= point.time_unix_nano:
            when[at], out[at] = point.time_unix_nano, value

    for path in files("*-metrics.pb", sink.dir):
        for top in decode.load(path)[1].resource_metrics:
            for metric in (metric for scope in top.scope_metrics for metric in scope.metrics):
                kind, name = metric.WhichOneof("data"), prometheus_name(metric)
                for point in getattr(metric, kind).data_points:
                    if kind == "histogram":
                        note(f"{name}_sum", top.resource, point, point.sum)
                        note(f"{name}_count", top.resource, point, point.count)
                    else:
                        note(name, top.resource, point, getattr(point, point.WhichOneof("value")))
    return out


def metrics_arrive(fed, base, flush=lambda: None):
    """Asks a server with Prometheus' API for every metric that the sink got: number of series and sum of their values."""
    sent = {}
    for (name, _), value in last_values(fed.sink).items():
        sent.setdefault(name, []).append(value)
    seen = {}

    def query(expr):
        return ask(f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expr, "time": time.time()}))

    def read(name):
        flush()
        seen[name] = query(name)
        values = [float(one["value"][1]) for one in json.loads(seen[name])["data"]["result"]]
        return len(values) == len(sent[name]) and abs(sum(values) - sum(sent[name])) <= 1e-9 * max(1, abs(sum(values)))

    def all_there():
        return all([read(name) for name in sent])

    try:
        until("every series is there", all_there, 40, 0.5)
    except TimeoutError:
        pass
    wrong = [f"{name}: sent {len(sent[name])} series of {sum(sent[name])}, got {seen[name][:300]}" for name in sent if not read(name)]
    check(f"{len(sent)} metrics have the {sum(map(len, sent.values()))} series that tollgate sent, with their values", not wrong and len(sent) > 5, wrong[:3])
    tokens = json.loads(query("sum by (type, model) (claude_code_token_usage_tokens_total)"))["data"]["result"]
    check("tokens by type and model can be asked for", {one["metric"].get("type") for one in tokens} >= {"input", "output", "cacheRead"}
          and all(one["metric"].get("model") and float(one["value"][1]) >= 0 for one in tokens), tokens)
    cost = json.loads(query("sum(claude_code_cost_usage_USD_total)"))["data"]["result"]
    spent = sum(point["value"] for signal, request in fed.sent for point in decode.items(signal, request) if point["name"] == "claude_code.cost.usage")
    check("cost is the sum that Claude Code reported", spent > 0 and len(cost) == 1 and abs(float(cost[0]["value"][1]) - spent) < 1e-9, (spent, cost))
    check("a metric that was not sent has no series", not json.loads(query("tollgate_never_sent_total"))["data"]["result"])
    series = ask(f"{base}/api/v1/series?" + urllib.parse.urlencode({"match[]": '{__name__=~".+"}'}))
    labels = ask(f"{base}/api/v1/labels")
    no_content(fed, series, labels, *seen.values())
    return json.loads(series)["data"]


def prometheus(work):
    """The receiver of OTLP metrics. tollgate sends in parallel, so the configuration accepts samples out of order."""
    port = free_port()
    path = os.path.join(work, "prometheus.yml")
    with open(path, "w") as f:
        json.dump({"storage": {"tsdb": {"out_of_order_time_window": "30m"}}, "otlp": {"promote_resource_attributes": ["service.name"]}}, f)
    server(work, "prometheus", os.path.join(INSTALLED, "prometheus"), f"--config.file={path}", f"--storage.tsdb.path={work}/tsdb",
           f"--web.listen-address=127.0.0.1:{port}", "--web.enable-otlp-receiver")
    base = f"http://127.0.0.1:{port}"
    answers(f"{base}/-/ready")
    fed = Fed(work, {"endpoint": f"{base}/api/v1/otlp", "compression": "gzip", "deltatocumulative": {}}, ("metrics",))
    series = metrics_arrive(fed, base)
    jobs = {one["job"] for one in series if one["__name__"].startswith(("claude_code", "gen_ai"))}
    check("the label `job` is the service's name", jobs == {"claude-code", "ledger-agent"}, jobs)


def victoriametrics(work):
    """Its OTLP door, which takes protobuf only; names as Prometheus has them."""
    port = free_port()
    server(work, "victoria-metrics", os.path.join(INSTALLED, "victoria-metrics"), f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={work}/tsdb",
           "-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s")
    base = f"http://127.0.0.1:{port}"
    answers(f"{base}/health")
    fed = Fed(work, {"metrics_endpoint": f"{base}/opentelemetry/v1/metrics", "compression": "gzip", "deltatocumulative": {}}, ("metrics",))
    series = metrics_arrive(fed, base, lambda: ask(f"{base}/internal/force_flush"))
    services = {one.get("service.name") or one.get("service_name") for one in series}
    check("the service's name is a label", services >= {"claude-code", "ledger-agent"}, services)


# ---- other gateways ------------------------------------------------------------------------------------------------

def same_items(fed, sink, own=("none",)):
    """All that a second sink got equals the first sink's, item by item; `own`: prefixes of what the peer writes itself."""
    def text(item):
        kept = {name: value for name, value in item["attributes"].items() if not name.startswith(own)}
        return json.dumps({**item, "attributes": kept}, sort_keys=True)

    behind = [(signal, item) for path in files("*.pb", sink.dir) for signal, request in [decode.load(path)] for item in decode.items(signal, request)]
    for signal in SIGNALS:
        wanted, got = (sorted(text(item) for one, item in items if one == signal) for items in (fed.items, behind))
        apart = [one for one in got if one not in set(wanted)]
        check(f"{len(wanted)} {signal} items pass it unchanged", wanted and wanted == got, (len(got), apart[:1]))
    return behind


def as_got(items):
    """Spans of a sink in the form that `differences` reads."""
    return [{**item, "error": item["status"]["code"] == 2} for signal, item in items if signal == "traces"]


def bodies(sink):
    out = []
    for path in files("*.pb", sink.dir):
        with open(path, "rb") as f:
            out.append(f.read())
    return out


def collector(work):
    """The OpenTelemetry Collector behind tollgate, by gRPC: its own counters, and what it sends on."""
    behind = Sink(os.path.join(work, "behind"))
    grpc, metrics = free_port(), free_port()
    path = os.path.join(work, "collector.yaml")
    with open(path, "w") as f:
        json.dump({
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{grpc}"}}}},
            "exporters": {"otlp_http": {"endpoint": f"http://127.0.0.1:{behind.http}"}},
            "service": {
                "telemetry": {"metrics": {"level": "normal", "readers": [{"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": metrics}}}}]}},
                "pipelines": {signal: {"receivers": ["otlp"], "exporters": ["otlp_http"]} for signal in SIGNALS},
            },
        }, f)
    server(work, "collector", os.path.join(INSTALLED, "collector"), "--config", path)
    answers(f"http://127.0.0.1:{metrics}/metrics")
    fed = Fed(work, {"kind": "otlp", "endpoint": f"http://127.0.0.1:{grpc}"})
    until("the Collector has sent everything on", lambda: len(behind.rows()) >= len(fed.sink.rows()), 60, 0.1)
    items = same_items(fed, behind)
    own = ask(f"http://127.0.0.1:{metrics}/metrics").decode()
    for signal, noun, count in (("traces", "spans", len(fed.of("traces"))), ("logs", "log_records", len(fed.of("logs"))),
                                ("metrics", "metric_points", len(fed.of("metrics")))):
        accepted, refused = (sum(float(line.rpartition(" ")[2]) for line in own.splitlines() if line.startswith(f"otelcol_receiver_{verb}_{noun}"))
                             for verb in ("accepted", "refused"))
        check(f"its own counter says {count} {noun} accepted, none refused", (accepted, refused) == (count, 0), (accepted, refused))
    operator(fed, as_got(items), own.encode() + b"".join(bodies(behind)))


def tollgate(work):
    """A second tollgate behind the first, for what both see: nothing is priced or cleaned twice, and both show the same runs."""
    behind = Sink(os.path.join(work, "behind"))

    def trusting(config):
        """The first one keeps content and cleans text; a second `vault` would seal its references."""
        config["receivers"]["otlp"]["trust"] = "internal"
        del config["processors"]["vault"]
        for pipeline in config["service"]["pipelines"].values():
            pipeline["processors"] = [name for name in pipeline["processors"] if name not in ("vault", "redact")]

    second = Gateway(os.path.join(work, "second"), {"otlp_http": {"endpoint": f"http://127.0.0.1:{behind.http}", "trust": "internal"}},
                     log="info", change=trusting).start()
    fed = Fed(os.path.join(work, "first"), {"endpoint": f"http://127.0.0.1:{second.http}"})
    until("the second has sent everything on", lambda: len(behind.rows()) >= len(fed.sink.rows()) and second.drained(), 60, 0.1)
    # the second writes the sums of a run so far, which depend on the order of arrival
    items = same_items(fed, behind, ("agent.", "tollgate.run."))
    runs = [ask(f"http://127.0.0.1:{one.admin}/api/runs?limit=1000") for one in (fed.gateway, second)]
    mine, its = ({one["id"]: Decimal(one["totals"]["cost_usd"] or 0) for one in json.loads(body)["runs"]} for body in runs)
    # Known defect: the second shows a call whose span was priced before its log without the rest that the log adds.
    rest = {}
    for item in fed.of("logs"):
        if "after_span" in (item["attributes"].get("tollgate.cost.flags") or []):
            run = item["attributes"].get("tollgate.run.id")
            rest[run] = rest.get(run, 0) + Decimal(item["attributes"]["tollgate.cost.usd"])
    wrong = {run: (mine.get(run), its.get(run)) for run in {*mine, *its}
             if run not in mine or run not in its or mine[run] - its[run] not in (0, rest.get(run, 0))}
    check(f"both show the same {len(mine)} runs, at the same cost but for what a log adds to its span", mine and not wrong, wrong)
    figure("cost of logs that the second does not add to its span", sum(mine.values()) - sum(its.values()), "USD")
    operator(fed, as_got(items), runs[1] + b"".join(bodies(behind)))


def alertmanager(work):
    """Prometheus evaluates the rules of deploy/alerts over a running tollgate; Alertmanager gets the alerts and notifies a webhook."""
    import alerts
    port = free_port()
    hook = Sink(os.path.join(work, "hook"))
    path = os.path.join(work, "alertmanager.yml")
    with open(path, "w") as f:
        json.dump({"route": {"receiver": "none", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s",
                             "routes": [{"matchers": ['severity="critical"'], "receiver": "page"}]},
                   "receivers": [{"name": "none"}, {"name": "page", "webhook_configs": [{"url": f"http://127.0.0.1:{hook.http}/page"}]}]}, f)
    server(work, "alertmanager", "prometheus-alertmanager", f"--config.file={path}", f"--storage.path={work}/alertmanager",
           f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=")
    base = f"http://127.0.0.1:{port}/api/v2"
    answers(f"{base}/status")
    fed = Fed(work, {"endpoint": f"http://127.0.0.1:{Sink(os.path.join(work, 'other')).http}"})
    real = alerts.Prometheus(work, fed.gateway.admin, {"alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]}})
    until("Prometheus has scraped tollgate", lambda: real.ask("api/v1/query?query=tollgate_info")["result"], 60, 0.2)
    raw = []

    def shown(name, **labels):
        """The alert in Alertmanager's API; None while there is none."""
        raw.append(ask(f"{base}/alerts"))
        return next((one for one in json.loads(raw[-1]) if one["labels"]["alertname"] == name and labels.items() <= one["labels"].items()), None)

    def tool_alert():
        alerts.failing_tool(fed.gateway)
        return shown("AgentToolErrorRate", tool_name="deploy")

    rules = {rule["alert"]: rule for _, rule in alerts.names.load(alerts.PROMETHEUS) if "alert" in rule}
    arrived = [until("AgentToolErrorRate reaches Alertmanager", tool_alert, 90, 0.5)]
    fed.gateway.kill()
    arrived.append(until("TollgateDown reaches Alertmanager", lambda: shown("TollgateDown"), 90, 0.2))
    for alert in arrived:
        name, labels, notes = alert["labels"]["alertname"], alert["labels"], alert["annotations"]
        rule = rules[name]
        check(f"{name} has its severity, job and instance", labels["severity"] == rule["labels"]["severity"] and labels["job"] == "tollgate"
              and labels.get("instance", f"127.0.0.1:{fed.gateway.admin}") == f"127.0.0.1:{fed.gateway.admin}", labels)
        check(f"{name} has its runbook and a summary that is filled in", notes["runbook"] == rule["annotations"]["runbook"] and "{{" not in notes["summary"]
              and "<no value>" not in notes["summary"], notes)
        check(f"{name} links to its expression", "/graph?g0.expr=" in alert["generatorURL"], alert["generatorURL"])
    check("the summary names what failed", "deploy" in arrived[0]["annotations"]["summary"] and str(fed.gateway.admin) in arrived[1]["annotations"]["summary"])
    check("it is routed by severity", [one["name"] for one in arrived[1]["receivers"]] == ["page"], arrived[1]["receivers"])

    def notified():
        for path in files("*-other.*", hook.dir):
            with open(path) as f:
                body = json.load(f)
            if body["status"] == "firing" and body["groupLabels"] == {"alertname": "TollgateDown"}:
                return body
        return None

    body = until("the webhook is called", notified, 60, 0.2)
    check("the webhook gets labels and annotations", body["commonLabels"]["severity"] == "critical" and body["commonAnnotations"]["runbook"], body)
    check("an alert that no rule has is not shown", shown("TollgateNeverMade") is None)
    no_content(fed, *raw, json.dumps(body).encode())


# ---- back ends that only their vendor runs -------------------------------------------------------------------------

def spans_of_a_shop(count, attributes, text):
    """One request: `count` spans, each with so many attributes of this text."""
    request = decode.REQUESTS["traces"]()
    top = request.resource_spans.add()
    top.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = top.scope_spans.add()
    for at in range(count):
        now = time.time_ns() - 1_000_000_000
        span = scope.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name=f"GET /{at}", start_time_unix_nano=now, end_time_unix_nano=now + 1000)
        for part in range(attributes):
            span.attributes.add(key=f"shop.table.{part}").value.string_value = text
    return request


def settings(entry, port):
    """The entry's exporter with the sink's address in place of the vendor's, and values for its variables."""
    (exporter,) = entry["exporter"].values()
    exporter = json.loads(re.sub(r"\$\{env:(\w+)\}", r"a-value-for-\1", json.dumps(exporter)))
    here = f"http://127.0.0.1:{port}"
    if "preset" in exporter or "endpoint" in exporter:
        # the preset has a region or an address, not both
        exporter.pop("region", None)
        exporter["endpoint"] = here + urllib.parse.urlsplit(exporter.get("endpoint", "")).path
    else:
        exporter["traces_endpoint"] = here + entry["paths"]["traces"]
    return exporter


def complaint(work, exporter, signals, recipient):
    """What `validate` says against the smallest configuration with an exporter, as it is written."""
    (name,) = exporter
    steps = ["normalize", "cost", "runs", "vault", "redact"]
    vault = {"recipients": ["${env:AUDITOR_1}"], "store": {"directory": f"{work}/vault"}}
    config = {"receivers": {"otlp": {}}, "processors": {**dict.fromkeys(steps, {}), "vault": vault},
              "exporters": exporter, "spool": {"directory": f"{work}/spool"},
              "service": {"pipelines": {signal: {"receivers": ["otlp"], "processors": ["redact"] if signal == "metrics" else steps, "exporters": [name]}
                                        for signal in signals}}}
    path = os.path.join(work, "validate.yaml")
    with open(path, "w") as f:
        json.dump(config, f)
    names = set(re.findall(r"\$\{env:(\w+)\}", json.dumps(config)))
    values = {one: "https://otlp.example.com/v1/traces" if one.endswith("_URL") else "a-value-of-16-bytes-or-more" for one in names}
    values["AUDITOR_1"] = recipient
    done = subprocess.run([BINARY, "validate", "--config", path], capture_output=True, text=True, env={**os.environ, **values})
    return "" if done.returncode == 0 else done.stdout + done.stderr


def shown(page):
    """{back end: exporter} of the table of docs/how-to/backends.md."""
    with open(page) as f:
        rows = re.findall(r"^\| ([^|]+) \| `([^`]+)`", f.read(), re.M)
    return {title.strip(): yaml.safe_load("{" + text + "}") for title, text in rows if text.startswith(("otlp", '"otlp'))}


def presets(work):
    """Each entry of config/backends.yaml: `validate` takes its exporter, and a sink with the vendor's limits takes what is sent."""
    with open(os.path.join(REPO, "config", "backends.yaml")) as f:
        entries = yaml.safe_load(f)
    limits_can_fail(entries)
    validated(work, entries)

    sinks = {name: strict.StrictSink(entry) for name, entry in entries.items()}
    exporters = {f"otlp_http/{name}": settings(entry, sinks[name].port) for name, entry in entries.items()}

    def by_signal(config):
        for signal, pipeline in config["service"]["pipelines"].items():
            pipeline["exporters"] = [f"otlp_http/{name}" for name, entry in entries.items() if signal in entry["paths"]]

    gateway = Gateway(work, exporters, log="info", change=by_signal).start()
    # beside the sessions: 12 MB at once, and many small spans at once
    requests = [*sessions(), ("traces", spans_of_a_shop(300, 40, "column " * 140)), ("traces", spans_of_a_shop(1000, 20, "column"))]
    for signal, request in requests:
        status, _, answer = gateway.post(signal, request.SerializeToString())
        assert status == 200, answer[:300]
    sent = {signal: sum(1 for one, request in requests if one == signal for _ in decode.items(signal, request)) for signal in SIGNALS}

    def delivered():
        return all(sink.refused or sink.count >= sum(sent[signal] for signal in entries[name]["paths"]) for name, sink in sinks.items())

    try:
        until("everything delivered", lambda: delivered() and gateway.drained(), 90, 0.2)
    except TimeoutError:
        say("  not everything was delivered")
    for name, entry in entries.items():
        sink = sinks[name]
        got = {signal: sum(1 for one, request in sink.taken if one == signal for _ in decode.items(signal, request)) for signal in entry["paths"]}
        asked = [one for key in ("tokens", "cost") if isinstance(entry[key], list) for one in entry[key]]
        fields = entry["limits"].get("fields", 1 << 30) if isinstance(entry["limits"], dict) else 1 << 30
        check(f"{name}: {', '.join(f'{count} {signal}' for signal, count in got.items())} keep its limits and have {', '.join(asked) or 'no known names'}",
              not sink.refused and got == {signal: sent[signal] for signal in got} and set(asked) <= sink.keys and len(sink.keys) <= fields,
              (sink.refused[:3], sorted(set(asked) - sink.keys), len(sink.keys)))
    figure("names of attributes in these traces", max(len(sink.keys) for sink in sinks.values()))
    check("a clean end", gateway.stop() == 0)


def validated(work, entries):
    """The page shows the exporters of the file, and `validate` takes every exporter of the page."""
    documented = shown(os.path.join(REPO, "docs", "how-to", "backends.md"))
    apart = [entry["title"] for entry in entries.values() if documented.get(entry["title"]) != entry["exporter"]]
    check("the page shows the exporters of config/backends.yaml", not apart, apart)
    recipient = keygen(os.path.join(work, "recipient.key"))
    signals = {entry["title"]: list(entry["paths"]) for entry in entries.values()}
    said = {title: complaint(work, exporter, signals.get(title, signals_of(exporter)), recipient) for title, exporter in documented.items()}
    check(f"validate takes the {len(said)} exporters of the page", len(said) > len(entries) and not any(said.values()),
          {title: text[:500] for title, text in said.items() if text})
    broken = complaint(work, {"otlp_http/x": {"endpoint": "http://x:1", "preset": "nobody"}}, SIGNALS, recipient)
    check("and refuses one that names an unknown preset", "preset" in broken, broken)


def signals_of(exporter):
    """The signals that an exporter has an address for."""
    (options,) = exporter.values()
    return [signal for signal in SIGNALS if "endpoint" in options or f"{signal}_endpoint" in options]


def limits_can_fail(entries):
    """Each published limit, set below what the recordings have, refuses them; so does a token count that is a text."""
    traces = [request for signal, request in sessions() if signal == "traces"]
    most = [strict.measured(request)[0] for request in traces]
    known = {limit for entry in entries.values() if isinstance(entry["limits"], dict) for limit in entry["limits"]} - {"fields", "links", "age_days"}
    blind = [limit for limit in sorted(known) if not any(strict.excess({"limits": {limit: one[limit] - 1}, "tokens": "unknown", "cost": "unknown"}, request)
                                                         for one, request in zip(most, traces) if one.get(limit))]
    request = decode.REQUESTS["traces"]()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=bytes(16), span_id=b"12345678", start_time_unix_nano=1)
    span.links.add()
    span.attributes.add(key=INPUT).value.string_value = "7"
    entry = {"limits": {"links": 0, "age_days": 14}, "tokens": [INPUT], "cost": "unknown"}
    check(f"the strict sink sees {', '.join(sorted(known))}, links, old spans, empty ids and tokens as text", not blind and len(strict.excess(entry, request)) == 4,
          (blind, strict.excess(entry, request)))


ROWS = {row.__name__: row for row in (jaeger, prometheus, victoriametrics, collector, tollgate, alertmanager, presets, phoenix, mlflow)}


def install(name):
    done = subprocess.run([os.path.join(HERE, "backends", "install.sh"), name], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"backends: {name} can't be installed: {done.stderr[-1500:]}")


def main():
    wanted = sys.argv[1:] or list(ROWS)
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        sys.exit(f"backends: no row {', '.join(unknown)}; rows: {', '.join(ROWS)}")
    work = workdir("backends")
    check("the comparison reports a missing span, a wrong parent, error, type, a missing count and a span twice", self_check())
    for name in wanted:
        say(f"{name}:")
        if name in INSTALLS:
            install(name)
        began, folder = time.monotonic(), os.path.join(work, name)
        os.makedirs(folder)
        try:
            ROWS[name](folder)
        except Exception as error:  # the other rows still run
            check(name, False, repr(error))
        end_row()
        figure(f"{name} took", round(time.monotonic() - began), "s")
    finish(work)


if __name__ == "__main__":
    say("backends: real back ends, fed with recordings and asked through their own APIs")
    main()
