"""What servers with Prometheus' API must hold of the metrics that were sent."""
import json
import re
import time
import urllib.parse

import decode
from backends.common import ask, no_content
from harness import check, files, until


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
