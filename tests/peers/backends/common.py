"""What the rows of the part `backends` share: the sessions that are sent, what a back end must hold, and its process."""
import atexit
import json
import os
import signal
import subprocess
import time

import decode
from harness import CACHE, RECORDINGS, SIGNALS, Gateway, Sink, check, files, http, read, recorded, start, stop_all, until
from leak import early, error_text
from leaks import Search

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
        listed = recorded(client)[name]["files"]
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
        out |= {one["value"] for one in recorded(client)[name]["canaries"].values() if one["value"] not in own and any(one["seen"].values())}
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
            self.gateway.send(signal, request.SerializeToString())
        count = sum(1 for signal, request in self.sent for _ in decode.items(signal, request))

        def counted():
            """Items that the back end took, and that it refused: whole requests, or some items of one that it took."""
            return tuple(sum(self.gateway.metric(f"otelcol_exporter_{verb}_{noun}_total", exporter=f"{kind}/backend")
                             for noun in ("spans", "log_records", "metric_points")) for verb in ("sent", "send_failed"))

        # the spool may look empty before the first request has an answer
        until("everything delivered", lambda: sum(counted()) >= count and len(self.sink.rows()) >= count and self.gateway.drained(), 120, 0.1)
        check(f"the back end takes all {count} items", counted() == (count, 0), counted())
        self.items = self.sink.items()
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


# ---- a back end as a process ----------------------------------------------------------------------------------------

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


def ask(url, **options):
    status, _, body = http(url, **options)
    assert status == 200, f"{url}: {status} {body[:300]!r}"
    return body


# ---- what came out ----------------------------------------------------------------------------------------------------


def trace_ids(fed):
    return sorted({span["trace_id"] for span in fed.of("traces")})


def same_items(fed, sink, own=("none",)):
    """All that a second sink got equals the first sink's, item by item; `own`: prefixes of what the peer writes itself."""
    def text(item):
        kept = {name: value for name, value in item["attributes"].items() if not name.startswith(own)}
        return json.dumps({**item, "attributes": kept}, sort_keys=True)

    behind = sink.items()
    for signal in SIGNALS:
        wanted, got = (sorted(text(item) for one, item in items if one == signal) for items in (fed.items, behind))
        apart = [one for one in got if one not in set(wanted)]
        check(f"{len(wanted)} {signal} items pass it unchanged", wanted and wanted == got, (len(got), apart[:1]))
    return behind


def as_got(items):
    """Spans of a sink in the form that `differences` reads."""
    return [{**item, "error": item["status"]["code"] == 2} for signal, item in items if signal == "traces"]


def bodies(sink):
    return [read(path, "rb") for path in files("*.pb", sink.dir)]
