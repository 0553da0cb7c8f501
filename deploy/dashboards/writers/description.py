"""The boards of boards.yaml, and what more than one vendor's file needs of them."""
import os
import re

import yaml

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

VENDORS = ("honeycomb", "signoz", "grafana")
DAY = 86400
PANEL_KEYS = {"id", "title", "answers", "group", "chart", "unit", "width", "yesterday", "not", "events", "metrics", "signoz", "volatile", "thresholds"}
UNITS = {"count", "usd", "seconds", "ms", "ratio"}
CHARTS = {"number": 3, "line": 6, "bars": 6, "table": 6}
# SigNoz and Grafana name units alike
UNIT_NAMES = {"count": "short", "usd": "currencyUSD", "seconds": "s", "ms": "ms", "ratio": "percentunit"}


def call(text):
    """`sum(key)` as ("sum", "key"), `count` as ("count", None)."""
    match = re.fullmatch(r"(count)|(count_distinct|sum|avg|max|p95)\(([\w.]+)\)", text)
    if not match:
        raise ValueError(f"unknown calculation {text!r}")
    return (match[1] or match[2]), match[3]


def load(path=os.path.join(HERE, "boards.yaml")):
    """The boards; of a panel with editions only the one of its board."""
    with open(path) as f:
        boards = yaml.safe_load(f)["boards"]
    for board in boards:
        edition = board.get("edition")

        def of_edition(value):
            if edition and isinstance(value, dict) and set(value) <= {"telemetry", "hooks"}:
                return value.get(edition)
            return value

        board["panels"] = [{key: value for key, raw in panel.items() if (value := of_edition(raw)) is not None} for panel in board["panels"]]
        for panel in board["panels"]:
            validate(board, panel)
    return boards


def validate(board, panel):
    where = f"{board['id']}/{panel['id']}"
    if unknown := set(panel) - PANEL_KEYS:
        raise ValueError(f"{where}: unknown keys {sorted(unknown)}")
    panel.setdefault("unit", "count")
    panel.setdefault("not", {})
    panel["width"] = panel.get("width", CHARTS[panel["chart"]])
    if panel["unit"] not in UNITS:
        raise ValueError(f"{where}: unknown unit {panel['unit']}")
    for vendor in VENDORS:
        if (source(panel, vendor) is None) != (vendor in panel["not"]):
            raise ValueError(f"{where}: {vendor} needs either a query or a reason in `not`")


def source(panel, vendor):
    """Which query a vendor shows: "events", "metrics", "traces" (events as TraceQL) or None."""
    events, metrics = panel.get("events"), panel.get("metrics")
    if vendor == "honeycomb":
        return "events" if events else None
    if vendor == "signoz":
        if events and panel.get("signoz") != "metrics":
            return "events"
        return "metrics" if metrics else None
    if metrics:
        return "metrics"
    # TraceQL reads spans only, divides nothing and counts no distinct values
    traceable = events and events["from"] == "spans" and "ratio" not in events
    return "traces" if traceable and all(operation != "count_distinct" for _, operation, _ in calculations(events)) else None


def sent_metric(events):
    """The one metric of clients that a query `from: metrics` sums."""
    if events["from"] != "metrics":
        return None
    ((_, operation, metric),) = calculations(events)
    if operation != "sum" or events["where"] != {metric: "present"} or "ratio" in events:
        raise ValueError(f"a query from metrics has the sum of one metric and no other condition: {events}")
    return metric


def calculations(events):
    """[(column, operation, key)]"""
    return [(column, *call(text)) for column, text in events.get("show", {}).items()]


def laid_out(panels, columns=12):
    """[(panel, x, y, width, height)] from left to right; a panel that does not fit starts a row."""
    out, x, y, row = [], 0, 0, 0
    for panel in panels:
        height = {"number": 3, "table": 6}.get(panel["chart"], 5)
        if x + panel["width"] > columns:
            x, y, row = 0, y + row, 0
        out.append((panel, x, y, panel["width"], height))
        x, row = x + panel["width"], max(row, height)
    return out


def promql(series, window, offset=""):
    """The query of one series of `metrics`, over a window."""
    def matcher(where):
        conditions = [f'{key}=~"{"|".join(value)}"' if isinstance(value, list) else f'{key}="{value}"' for key, value in where.items()]
        return "{" + ", ".join(conditions) + "}" if conditions else ""

    metric, show, by = series["metric"], series["show"], series.get("by", [])
    labels = matcher(series.get("where", {}))
    grouped = f" by ({', '.join(by)}) " if by else ""

    def increase(suffix=""):
        return f"sum{grouped}(increase({metric}{suffix}{labels}[{window}]{offset}))"

    if metric == "ALERTS":
        return f"group by ({', '.join(by)}) (ALERTS{labels})"
    if show == "latest":
        extreme = {"_seconds": "max", "_free_bytes": "min"}
        joined = next((word for end, word in extreme.items() if metric.endswith(end)), "sum")
        return f"{joined}{grouped}({metric}{labels})"
    if show == "hourly":
        return f"sum{grouped}(rate({metric}{labels}[{window}]{offset})) * 3600"
    if show == "p95":
        return f"histogram_quantile(0.95, sum by ({', '.join(['le', *by])}) (increase({metric}_bucket{labels}[{window}]{offset})))"
    if show == "avg":
        return f"{increase('_sum')} / {increase('_count')}"
    text = increase({"sum": "_sum", "count": "_count"}.get(show, ""))
    return f"{text} / {promql(series['to'], window, offset)}" if "to" in series else text
