"""Telemetry as OTLP/JSON, for parts that make spans by hand."""
import json

KINDS = {str: "stringValue", bool: "boolValue", float: "doubleValue"}


def attributes(pairs):
    """Pairs without a value are left out."""
    return [{"key": key, "value": {"intValue": str(value)} if type(value) is int else {KINDS[type(value)]: value}}
            for key, value in pairs.items() if value is not None]


def span(trace, number, parent, name, start, seconds, pairs, failed=None):
    """A span of a trace (hex) with its number as its id, below a parent (a number or an id); `failed` is its error's message."""
    made = {"traceId": trace, "spanId": f"{number:016x}", "name": name, "kind": 3, "startTimeUnixNano": str(int(start)),
            "endTimeUnixNano": str(int(start + seconds * 1e9)), "attributes": attributes(pairs)}
    if parent:
        made["parentSpanId"] = parent if isinstance(parent, str) else f"{parent:016x}"
    if failed:
        made["status"] = {"code": 2, "message": failed}
    return made


def group(spans, **resource):
    """Spans of one resource, whose attributes have `__` for a dot."""
    about = attributes({key.replace("__", "."): value for key, value in resource.items()})
    return {"resource": {"attributes": about}, "scopeSpans": [{"scope": {"name": "peer"}, "spans": spans}]}


def send(gateway, groups):
    """In requests of a hundred groups, each of which must be accepted."""
    for at in range(0, len(groups), 100):
        gateway.send("traces", json.dumps({"resourceSpans": groups[at:at + 100]}).encode(), "application/json")
