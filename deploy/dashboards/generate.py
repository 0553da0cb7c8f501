#!/usr/bin/env python3
"""Writes the dashboards of Honeycomb, SigNoz and Grafana, and the table of panels in README.md, from boards.yaml.

    generate.py            writes the files
    generate.py --check    fails if one is not up to date
"""
import json
import os
import re
import sys
import textwrap

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
VENDORS = ("honeycomb", "signoz", "grafana")
DAY = 86400
PANEL_KEYS = {"id", "title", "answers", "group", "chart", "unit", "width", "yesterday", "not", "events", "metrics", "signoz", "volatile", "thresholds"}
UNITS = {"count", "usd", "seconds", "ms", "ratio"}
CHARTS = {"number": 3, "line": 6, "bars": 6, "table": 6}


# ---- the description -----------------------------------------------------------------------------------------------

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


# ---- Honeycomb: Terraform --------------------------------------------------------------------------------------------

HONEYCOMB_PROVIDER = '''# Written by generate.py from boards.yaml.

terraform {
  required_providers {
    honeycombio = {
      source  = "honeycombio/honeycombio"
      version = ">= 0.46"
    }
  }
}

# the API key is HONEYCOMB_API_KEY of the environment; boards and queries must be allowed to it
provider "honeycombio" {}
'''
HONEYCOMB_CHARTS = {"number": "stat", "line": "line", "bars": "tsbar", "table": "default"}
HONEYCOMB_KEYS = {"trace_id": "trace.trace_id"}


def hcl(value):
    """A value, quoted; `raw:` marks an expression."""
    if isinstance(value, str) and value.startswith("raw:"):
        return value[4:]
    if isinstance(value, list):
        return "[" + ", ".join(hcl(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)


class Block:
    """A nested block: [(argument, value or Block)]."""
    def __init__(self, *entries):
        self.entries = list(entries)


def block(head, entries, indent=0):
    """One block, formatted as `terraform fmt` does: the equals signs of neighbouring attributes are aligned."""
    pad, lines = "  " * indent, []
    attributes = [(key, hcl(value)) for key, value in entries if not isinstance(value, Block)]
    width = max((len(key) for key, _ in attributes), default=0)
    lines += [f"{pad}  {key:<{width}} = {value}" for key, value in attributes]
    for key, value in entries:
        if isinstance(value, Block):
            lines += block(key, value.entries, indent + 1)
    return [f"{pad}{head} {{", *lines, f"{pad}}}"]


def honeycomb_filter(key, condition):
    column = ("column", HONEYCOMB_KEYS.get(key, key))
    if condition in ("present", "absent"):
        return Block(column, ("op", {"present": "exists", "absent": "does-not-exist"}[condition]))
    if isinstance(condition, str) and condition.startswith("^"):
        return Block(column, ("op", "starts-with"), ("value", condition[1:]))
    if isinstance(condition, list):
        return Block(column, ("op", "in"), ("value", ",".join(condition)))
    return Block(column, ("op", "="), ("value", str(condition).lower() if isinstance(condition, bool) else str(condition)))


def honeycomb_spec(panel):
    events = panel["events"]
    filters = [("filter", honeycomb_filter(key, condition)) for key, condition in events["where"].items()]
    entries = []

    def calculation(text, name=None, own=()):
        operation, key = call(text)
        column = [("column", HONEYCOMB_KEYS.get(key, key))] if key else []
        entries.append(("calculation", Block(("op", operation.upper()), *column, *([("name", name)] if name else []), *own)))

    if ratio := events.get("ratio"):
        narrowed = [("filter", honeycomb_filter(key, condition)) for key, condition in ratio.get("where", {}).items()]
        calculation(ratio["of"], "part", filters + narrowed)
        calculation(ratio["to"], "whole", filters)
        entries.append(("formula", Block(("name", panel["title"].lower()), ("expression", "DIV($part, $whole)"))))
    else:
        for text in events["show"].values():
            calculation(text)
        entries += filters
        if sort := events.get("sort"):
            operation, key = call(events["show"][sort])
            entries.append(("order", Block(*([("column", key)] if key else []), ("op", operation.upper()), ("order", "descending"))))
    attributes = []
    if by := events.get("by"):
        attributes.append(("breakdowns", [HONEYCOMB_KEYS.get(key, key) for key in by]))
    if "limit" in events:
        attributes.append(("limit", events["limit"]))
    attributes.append(("time_range", DAY))
    if panel.get("yesterday"):
        attributes.append(("compare_time_offset", DAY))
    return entries + attributes


def honeycomb(board):
    lines, name = ["# Written by generate.py from boards.yaml.", ""], board["id"].replace("-", "_")
    shown = [panel for panel in board["panels"] if source(panel, "honeycomb")]
    for panel in shown:
        resource = f"{name}_{panel['id'].replace('-', '_')}"
        lines += block(f'data "honeycombio_query_specification" "{resource}"', honeycomb_spec(panel)) + [""]
        # without a dataset a query covers the environment, so spans and logs may be in datasets of their own
        lines += block(f'resource "honeycombio_query" "{resource}"',
                       [("query_json", f"raw:data.honeycombio_query_specification.{resource}.json")]) + [""]
        lines += block(f'resource "honeycombio_query_annotation" "{resource}"',
                       [("dataset", "__all__"), ("query_id", f"raw:honeycombio_query.{resource}.id"), ("name", panel["title"]),
                        ("description", panel["answers"])]) + [""]
    panels = []
    for panel, x, y, width, height in laid_out(shown):
        resource = f"{name}_{panel['id'].replace('-', '_')}"
        style = "table" if panel["chart"] == "table" else "combo" if panel["events"].get("by") else "graph"
        charts = [] if panel["chart"] == "table" else [("visualization_settings", Block(*[
            ("chart", Block(("chart_index", index), ("chart_type", HONEYCOMB_CHARTS[panel["chart"]])))
            for index in range(len(calculations(panel["events"])) or 1)]))]
        panels.append(("panel", Block(
            ("type", "query"),
            ("position", Block(("x_coordinate", x), ("y_coordinate", y), ("width", width), ("height", height))),
            ("query_panel", Block(("query_id", f"raw:honeycombio_query.{resource}.id"),
                                  ("query_annotation_id", f"raw:honeycombio_query_annotation.{resource}.id"),
                                  ("query_style", style), *charts)))))
    lines += block(f'resource "honeycombio_flexible_board" "{name}"', [("name", board["title"]), ("description", board["about"]), *panels]) + [""]
    lines += block(f'output "{name}_url"', [("value", f"raw:honeycombio_flexible_board.{name}.board_url")])
    return "\n".join(lines) + "\n"


# ---- SigNoz: dashboards of schema v6 ---------------------------------------------------------------------------------

# SigNoz and Grafana name units alike
UNIT_NAMES = {"count": "short", "usd": "currencyUSD", "seconds": "s", "ms": "ms", "ratio": "percentunit"}
SIGNOZ_PANELS = {"number": "NumberPanel", "line": "TimeSeriesPanel", "bars": "BarChartPanel", "table": "TablePanel"}


def signoz_filter(where):
    def quoted(value):
        return str(value).lower() if isinstance(value, (bool, int)) else "'" + value.replace("'", "\\'") + "'"

    def one(key, condition):
        if condition in ("present", "absent"):
            return f"{key} {'EXISTS' if condition == 'present' else 'NOT EXISTS'}"
        if isinstance(condition, str) and condition.startswith("^"):
            return f"{key} LIKE '{condition[1:]}%'"
        if isinstance(condition, list):
            return f"{key} IN ({', '.join(quoted(value) for value in condition)})"
        return f"{key} = {quoted(condition)}"

    return " AND ".join(one(key, condition) for key, condition in where.items())


def signoz_expression(text):
    operation, key = call(text)
    return f"{operation}({key or ''})"


def signoz_query(name, signal, where, aggregations, events, shifted, disabled=False):
    first = aggregations[0]["expression"]
    groups = [{"name": key, **({} if key == "trace_id" else {"fieldContext": "attribute"}), "fieldDataType": "string", "signal": signal}
              for key in events.get("by", [])]
    order = signoz_expression(events["show"][events["sort"]]) if "sort" in events else first
    return {"name": name, "signal": signal, "disabled": disabled, "aggregations": aggregations, "filter": {"expression": signoz_filter(where)},
            **({"groupBy": groups} if groups else {}),
            **({"functions": [{"name": "timeshift", "args": [{"value": DAY}]}]} if shifted else {}),
            "order": [{"key": {"name": order}, "direction": "desc"}], "limit": 10000 if disabled else events.get("limit", 100),
            "legend": "yesterday" if shifted else ", ".join("{{" + key + "}}" for key in events.get("by", []))}


def signoz_metric(name, series):
    """A counter's increase as a builder query."""
    metric = series["metric"]
    return {"name": name, "signal": "metrics", "disabled": False,
            "aggregations": [{"metricName": metric, "temporality": "cumulative", "timeAggregation": "increase", "spaceAggregation": "sum",
                              "reduceTo": "sum"}],
            "groupBy": [{"name": label, "fieldContext": "attribute", "fieldDataType": "string", "signal": "metrics"} for label in series["by"]],
            "order": [{"key": {"name": f"sum(increase({metric}))"}, "direction": "desc"}], "limit": 20,
            "legend": series["as"]}


def signoz_events(panel, first, shifted=False):
    """The builder queries of a panel; `first` is the letter of the first one."""
    events, letter = panel["events"], lambda offset: chr(ord(first) + offset)
    signal = {"spans": "traces", "logs": "logs"}[events["from"]]
    if ratio := events.get("ratio"):
        part, whole = letter(0), letter(1)
        queries = [signoz_query(name, signal, where, [{"expression": signoz_expression(text)}], events, shifted, disabled=True)
                   for name, where, text in ((part, {**events["where"], **ratio.get("where", {})}, ratio["of"]), (whole, events["where"], ratio["to"]))]
        formula = {"name": f"F{1 + shifted}", "expression": f"{part} / {whole}", "disabled": False, "legend": "yesterday" if shifted else "now",
                   "order": [{"key": {"name": "__result"}, "direction": "desc"}], "limit": 100}
        return [("builder_query", query) for query in queries] + [("builder_formula", formula)]
    if panel["chart"] != "table" and len(events["show"]) > 1:  # one query for each line, so that each has its name
        return [("builder_query", {**signoz_query(letter(at), signal, events["where"], [{"expression": signoz_expression(text), "alias": column}],
                                                  {**events, "show": {column: text}}, shifted),
                                   "legend": column + "".join(" {{" + key + "}}" for key in events.get("by", []))})
                for at, (column, text) in enumerate(events["show"].items())]
    aggregations = [{"expression": signoz_expression(text), "alias": column} for column, text in events["show"].items()]
    return [("builder_query", signoz_query(first, signal, events["where"], aggregations, events, shifted))]


def signoz_panel(panel, yesterday=False):
    chart = "line" if yesterday else panel["chart"]
    if source(panel, "signoz") == "events":
        queries = signoz_events(panel, "A") + (signoz_events(panel, "C", shifted=True) if yesterday else [])
    elif chart == "table":  # SigNoz takes no PromQL in tables
        queries = [("builder_query", signoz_metric(chr(ord("A") + at), series)) for at, series in enumerate(panel["metrics"])]
    else:
        queries = [("promql", {"name": chr(ord("A") + at), "query": promql(series, "5m"), "disabled": False, "legend": series["as"]})
                   for at, series in enumerate(panel["metrics"])]
    unit, decimals = UNIT_NAMES[panel["unit"]], "4" if panel["unit"] == "usd" else "2"
    if chart == "table":
        formatting = {"columnUnits": {column: unit for column in money_or_time(panel)}, "decimalPrecision": decimals}
    else:
        formatting = {"unit": unit, "decimalPrecision": decimals}
    kind = "time_series" if chart in ("line", "bars") else "scalar"
    if len(queries) == 1:
        plugin = {"kind": {"builder_query": "signoz/BuilderQuery", "promql": "signoz/PromQLQuery"}[queries[0][0]], "spec": queries[0][1]}
    else:
        plugin = {"kind": "signoz/CompositeQuery", "spec": {"queries": [{"type": type_, "spec": spec} for type_, spec in queries]}}
    title = panel["title"] + (", against yesterday" if yesterday else "")
    return {"kind": "Panel", "spec": {
        "display": {"name": title, "description": panel["answers"]},
        "plugin": {"kind": f"signoz/{SIGNOZ_PANELS[chart]}", "spec": {"formatting": formatting}},
        "queries": [{"kind": kind, "spec": {"name": queries[-1][1]["name"], "plugin": plugin}}]}}


def money_or_time(panel):
    """Columns of a table that have the panel's unit; counts have none."""
    events = panel.get("events") or {}
    return [column for column, operation, _ in calculations(events) if operation != "count" and column != "iterations"] if panel["unit"] != "count" else []


def signoz(board):
    shown = [(panel["id"], panel, False) for panel in board["panels"] if source(panel, "signoz")]
    # a number has no room for yesterday's, so a graph of both is below it
    compared = [(f"{panel['id']}-yesterday", {**panel, "chart": "line"}, True) for _, panel, _ in shown if panel.get("yesterday")]
    shown[len(compared):len(compared)] = compared
    panels, items = {}, []
    for (key, panel, compare), (_, x, y, width, height) in zip(shown, laid_out([panel for _, panel, _ in shown])):
        panels[key] = signoz_panel(panel, compare)
        items.append({"x": x, "y": y, "width": width, "height": height, "content": {"$ref": f"#/spec/panels/{key}"}})
    return json.dumps({"schemaVersion": "v6", "generateName": True, "tags": [{"key": "source", "value": "tollgate"}],
                       "spec": {"display": {"name": board["title"], "description": board["about"]}, "variables": [], "panels": panels,
                                "layouts": [{"kind": "Grid", "spec": {"items": items}}]}}, indent=1, ensure_ascii=False) + "\n"


# ---- Grafana: PromQL over tollgate's metrics, TraceQL over Tempo -----------------------------------------------------

GRAFANA_PANELS = {"number": "stat", "line": "timeseries", "bars": "bargauge", "table": "table"}


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
        return f"{'max' if metric.endswith('_seconds') else 'sum'}{grouped}({metric}{labels})"
    if show == "hourly":
        return f"sum{grouped}(rate({metric}{labels}[{window}]{offset})) * 3600"
    if show == "p95":
        return f"histogram_quantile(0.95, sum by ({', '.join(['le', *by])}) (increase({metric}_bucket{labels}[{window}]{offset})))"
    if show == "avg":
        return f"{increase('_sum')} / {increase('_count')}"
    text = increase({"sum": "_sum", "count": "_count"}.get(show, ""))
    return f"{text} / {promql(series['to'], window, offset)}" if "to" in series else text


def traceql(events):
    """[(column, query)]"""
    def condition(key, value):
        name = "name" if key == "name" else f"span.{key}"
        if value == "present":
            return f"{name} != nil"
        if isinstance(value, bool):
            return f"{name} = {str(value).lower()}"
        return f'{name} = "{value}"'

    spans = " && ".join(condition(key, value) for key, value in events["where"].items())
    by = f" by ({', '.join(f'span.{key}' for key in events['by'])})" if events.get("by") else ""

    def function(operation, key):
        if operation == "count":
            return "count_over_time()"
        return f"quantile_over_time(span.{key}, .95)" if operation == "p95" else f"{operation}_over_time(span.{key})"

    return [(column, f"{{ {spans} }} | {function(operation, key)}{by}") for column, operation, key in calculations(events)]


def grafana_targets(panel):
    table, over_time = panel["chart"] == "table", panel["chart"] == "line"
    letters = iter("ABCDEFGHIJ")
    if source(panel, "grafana") == "traces":
        datasource = {"type": "tempo", "uid": "${tempo}"}
        return [{"refId": next(letters), "datasource": datasource, "queryType": "traceql", "query": query, "filters": [], "limit": 20,
                 "metricsQueryType": "instant" if table or panel["events"].get("by") else "range", "tableType": "traces"}
                for _, query in traceql(panel["events"])]
    datasource = {"type": "prometheus", "uid": "${datasource}"}
    out = []
    for offset in [""] + ([" offset 1d"] if panel.get("yesterday") else []):
        for series in panel["metrics"]:
            hourly = series["show"] == "hourly"
            expr = promql(series, "$__rate_interval" if hourly else "$window", offset)
            if not over_time and series.get("by") and series["metric"] != "ALERTS":
                expr = f"topk({15 if table else 10}, {expr})" + (" > 0" if table else "")
            legend = "yesterday" if offset else "now" if panel.get("yesterday") else series["as"]
            target = {"refId": next(letters), "datasource": datasource, "expr": expr, "legendFormat": legend}
            if not over_time and not panel.get("yesterday") and series.get("by"):
                target["instant"] = True
            out.append({**target, **({"format": "table"} if table else {})})
    return out


def grafana_panel(at, panel, x, y, width, height):
    kind, targets = GRAFANA_PANELS[panel["chart"]], grafana_targets(panel)
    if kind == "bargauge" and not any(target.get("instant") or target.get("metricsQueryType") == "instant" for target in targets):
        kind = "timeseries"
    steps = [{"color": "green" if "thresholds" in panel else "text", "value": None}]
    steps += [{"color": color, "value": panel["thresholds"][level]} for level, color in (("warning", "yellow"), ("critical", "red"))
              if "thresholds" in panel]
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    sort = "Value" if source(panel, "grafana") == "metrics" else None
    options = {
        "stat": {"reduceOptions": reduced, "graphMode": "area", "colorMode": "value", "textMode": "value_and_name", "orientation": "horizontal"},
        "bargauge": {"reduceOptions": reduced, "displayMode": "basic", "orientation": "horizontal", "showUnfilled": True},
        "table": {"showHeader": True, **({"sortBy": [{"displayName": sort, "desc": True}]} if sort else {})},
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}},
    }[kind]
    defaults = {"unit": UNIT_NAMES[panel["unit"]], "thresholds": {"mode": "absolute", "steps": steps},
                "color": {"mode": "thresholds" if kind in ("stat", "bargauge") else "palette-classic"}, "noValue": "none"}
    if kind == "timeseries" and panel["chart"] == "bars":
        defaults["custom"] = {"drawStyle": "bars", "fillOpacity": 60}
    overrides = [{"matcher": {"id": "byName", "options": "yesterday"}, "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": "text"}}]}] if panel.get("yesterday") else []
    names = {}
    if source(panel, "grafana") == "traces":  # Tempo's series have no legend of their own
        names = {target["refId"]: column for target, (column, _) in zip(targets, traceql(panel["events"]))}
    if kind == "timeseries":
        overrides += [{"matcher": {"id": "byFrameRefID", "options": ref}, "properties": [{"id": "displayName", "value": column}]}
                      for ref, column in names.items()]
    out = {"id": at, "type": kind, "title": panel["title"], "description": panel["answers"], "datasource": targets[0]["datasource"],
           "gridPos": {"x": 2 * x, "y": 2 * y, "w": 2 * width, "h": 2 * height}, "targets": targets,
           "fieldConfig": {"defaults": defaults, "overrides": overrides}, "options": options}
    if kind == "table":
        hidden = {"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True, "job": True}, "indexByName": {},
                                               "renameByName": {f"Value #{ref}": column for ref, column in names.items()} if len(names) > 1 else {}}}
        out["transformations"] = ([{"id": "merge", "options": {}}] if len(targets) > 1 else []) + [hidden]
    return out


def grafana(board):
    shown = [panel for panel in board["panels"] if source(panel, "grafana")]
    sources = {source(panel, "grafana") for panel in shown}
    variables = [{"name": name, "type": "datasource", "query": kind, "label": label, "hide": 0}
                 for name, kind, label, needed in (("datasource", "prometheus", "tollgate's metrics", "metrics"), ("tempo", "tempo", "Traces", "traces"))
                 if needed in sources]
    if "metrics" in sources:
        variables.append({"name": "window", "type": "custom", "label": "Window", "query": "1h,6h,24h", "current": {"text": "1h", "value": "1h"},
                          "options": [{"text": text, "value": text, "selected": text == "1h"} for text in ("1h", "6h", "24h")], "hide": 0})
    links = []
    if "link" in board:
        page = "http://127.0.0.1:8888/"
        variables.append({"name": "tollgate", "type": "textbox", "label": "tollgate's page", "query": page, "current": {"text": page, "value": page}, "hide": 0})
        links = [{"title": board["link"]["title"], "type": "link", "url": board["link"]["url"], "targetBlank": True, "icon": "external link",
                  "asDropdown": False, "includeVars": False, "keepTime": False, "tags": [], "tooltip": ""}]
    panels = [grafana_panel(at, *place) for at, place in enumerate(laid_out(shown), 1)]
    return json.dumps({"title": board["title"], "uid": f"tollgate-{board['id']}", "description": board["about"], "tags": ["tollgate"],
                       "schemaVersion": 39, "version": 1, "editable": True, "refresh": "1m", "time": {"from": "now-24h", "to": "now"},
                       "timezone": "browser", "graphTooltip": 1, "links": links, "templating": {"list": variables}, "annotations": {"list": []},
                       "panels": panels}, indent=1, ensure_ascii=False) + "\n"


# ---- README.md ---------------------------------------------------------------------------------------------------------

def readme(boards):
    """README.md with the tables of panels between its two marks."""
    names = {"events": "yes", "metrics": "PromQL", "traces": "TraceQL"}
    lines = []
    for board in boards:
        lines += [f"### {board['title']}", "", "| panel | answers | Honeycomb | SigNoz | Grafana |", "|---|---|---|---|---|"]
        reasons = []
        for panel in board["panels"]:
            cells = []
            for vendor in VENDORS:
                if vendor in panel["not"]:
                    reason = panel["not"][vendor]
                    reasons += [reason] if reason not in reasons else []
                    cells.append(f"no ({reasons.index(reason) + 1})")
                else:
                    cells.append(names[source(panel, vendor)])
            lines.append(f"| {panel['group']}: {panel['title']} | {panel['answers']} | {' | '.join(cells)} |")
        lines += [""] + [line for at, reason in enumerate(reasons, 1) for line in textwrap.wrap(f"{at}. {reason}.", 118, subsequent_indent="   ")] + ([""] if reasons else [])
    with open(os.path.join(HERE, "README.md")) as f:
        text = f.read()
    before, _, rest = text.partition("<!-- panels: begin -->\n")
    _, _, after = rest.partition("<!-- panels: end -->")
    return before + "<!-- panels: begin -->\n\n" + "\n".join(lines) + "\n<!-- panels: end -->" + after


def files(boards):
    """{path below this folder: text}"""
    out = {"honeycomb/provider.tf": HONEYCOMB_PROVIDER}
    for board in boards:
        out[f"honeycomb/{board['id']}.tf"] = honeycomb(board)
        out[f"signoz/{board['id']}.json"] = signoz(board)
        out[f"grafana/{board['id']}.json"] = grafana(board)
    out["README.md"] = readme(boards)
    return out


def stale(wanted, folder=HERE):
    """Files that differ from what the description says, or that it does not have."""
    wrong = []
    for path, text in wanted.items():
        try:
            with open(os.path.join(folder, path)) as f:
                here = f.read()
        except FileNotFoundError:
            here = None
        wrong += [path] if here != text else []
    for vendor in VENDORS:
        if os.path.isdir(os.path.join(folder, vendor)):
            wrong += sorted(f"{vendor}/{name}" for name in os.listdir(os.path.join(folder, vendor)) if f"{vendor}/{name}" not in wanted)
    return wrong


def main():
    wanted = files(load())
    if sys.argv[1:] == ["--check"]:
        if wrong := stale(wanted):
            sys.exit("not what generate.py writes: " + ", ".join(wrong))
        return
    for path, text in wanted.items():
        os.makedirs(os.path.dirname(os.path.join(HERE, path)), exist_ok=True)
        with open(os.path.join(HERE, path), "w") as f:
            f.write(text)


if __name__ == "__main__":
    main()
