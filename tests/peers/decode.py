"""Reads recorded OTLP requests with the official schema (opentelemetry-proto): items as plain dicts. For manifest.py and keys.py.

As a program it prints a recording: decode.py FILE…
"""
import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest}
METRIC_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


def hex_to_base64(node):
    """OTLP/JSON writes ids as hex; the protobuf JSON mapping reads base64."""
    if isinstance(node, dict):
        return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ("traceId", "spanId", "parentSpanId") and isinstance(v, str)
                else hex_to_base64(v) for k, v in node.items()}
    if isinstance(node, list):
        return [hex_to_base64(v) for v in node]
    return node


def parse(signal, body, encoding):
    """A request from its bytes, `pb` or `json`."""
    if encoding == "json":
        return json_format.ParseDict(hex_to_base64(json.loads(body)), REQUESTS[signal](), ignore_unknown_fields=True)
    return REQUESTS[signal].FromString(body)


def load(path):
    """(signal, request) of one recorded file, by its name `NNN-signal.{pb,json}`."""
    signal, kind = path.rsplit("-", 1)[1].split(".")
    with open(path, "rb") as f:
        return signal, parse(signal, f.read(), kind)


# the fields that lead to a request's spans, log records and metrics
LEAVES = {"traces": ("resource_spans", "scope_spans", "spans"), "logs": ("resource_logs", "scope_logs", "log_records"),
          "metrics": ("resource_metrics", "scope_metrics", "metrics")}


def leaves(signal, request):
    """Every span, log record or metric."""
    top, scopes, leaf = LEAVES[signal]
    return (x for resource in getattr(request, top) for scope in getattr(resource, scopes) for x in getattr(scope, leaf))


def value(any_value):
    kind = any_value.WhichOneof("value")
    if kind is None:
        return None
    inner = getattr(any_value, kind)
    if kind == "array_value":
        return [value(v) for v in inner.values]
    if kind == "kvlist_value":
        return attributes(inner.values)
    if kind == "bytes_value":
        return {"bytes": inner.hex()}
    return inner


def attributes(pairs):
    return {p.key: value(p.value) for p in pairs}


def items(signal, request):
    """Yields one dict a span, log record or data point, with its resource and scope."""
    top, scopes, leaf = LEAVES[signal]
    for r in getattr(request, top):
        resource = attributes(r.resource.attributes)
        for s in getattr(r, scopes):
            base = {"resource": resource, "scope": s.scope.name, "scope_version": s.scope.version,
                    "scope_attributes": attributes(s.scope.attributes)}
            for x in getattr(s, leaf):
                if signal == "traces":
                    yield {**base, "name": x.name, "trace_id": x.trace_id.hex(), "span_id": x.span_id.hex(),
                           "parent": x.parent_span_id.hex(), "start": x.start_time_unix_nano, "end": x.end_time_unix_nano,
                           "status": {"code": x.status.code, "message": x.status.message}, "attributes": attributes(x.attributes),
                           "events": [{"name": e.name, "attributes": attributes(e.attributes)} for e in x.events],
                           "links": [{"trace_id": l.trace_id.hex(), "attributes": attributes(l.attributes)} for l in x.links]}
                elif signal == "logs":
                    yield {**base, "name": x.event_name, "trace_id": x.trace_id.hex(), "span_id": x.span_id.hex(),
                           "time": x.time_unix_nano, "observed": x.observed_time_unix_nano, "severity": x.severity_text, "body": value(x.body),
                           "attributes": attributes(x.attributes)}
                else:
                    kind = x.WhichOneof("data")
                    data = getattr(x, kind)
                    for p in data.data_points:
                        number = p.WhichOneof("value") if hasattr(p, "as_double") else None
                        yield {**base, "name": x.name, "kind": kind, "unit": x.unit,
                               "temporality": getattr(data, "aggregation_temporality", None),
                               "value": getattr(p, number) if number else None, "attributes": attributes(p.attributes)}


def strings(node, place):
    """Every string under a value, with its place; JSON text is left as text."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, dict):
        for k, v in node.items():
            yield f"{place} key", k
            yield from strings(v, f"{place}.{k}")
    elif isinstance(node, list):
        for v in node:
            yield from strings(v, f"{place}[]")


def name_of(item):
    """A span or metric has a name; a log record may have its own only in the body or in `event.name`, and a name that is a place in the source."""
    body = item.get("body")
    short = isinstance(body, str) and len(body) <= 64 and "{" not in body  # no JSON, no sentence
    return (item["attributes"].get("event.name") if "observed" in item else None) or item["name"] or (body if short else "log")


def places(signal, item):
    """Yields (place, text) for every text of an item: where a canary may hide."""
    name = name_of(item)
    for k, v in item["resource"].items():
        yield from strings(v, f"resource {k}")
    for k, v in item["scope_attributes"].items():
        yield from strings(v, f"scope {k}")
    for k, v in item["attributes"].items():
        yield from strings(v, f"{name} attribute {k}")
    yield f"{name} name", item["name"]
    if signal == "logs":
        yield from strings(item["body"], f"{name} body")
    if signal == "traces":
        yield f"{name} status.message", item["status"]["message"]
        for e in item["events"]:
            for k, v in e["attributes"].items():
                yield from strings(v, f"{name} event {e['name']} attribute {k}")
        for l in item["links"]:
            for k, v in l["attributes"].items():
                yield from strings(v, f"{name} link attribute {k}")


def main():
    for path in sys.argv[1:]:
        signal, request = load(path)
        for n, item in enumerate(items(signal, request)):
            if n:
                for k in ("resource", "scope", "scope_version", "scope_attributes"):
                    item.pop(k)
            print(f"--- {path} {signal} {n}")
            print(json.dumps(item, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
