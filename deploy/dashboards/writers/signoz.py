"""SigNoz: dashboards of schema v6."""
import json

from writers.description import DAY, UNIT_NAMES, calculations, call, laid_out, promql, sent_metric, source

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


def signoz_metric(name, series, temporality="cumulative"):
    """A counter's increase as a builder query."""
    metric = series["metric"]
    return {"name": name, "signal": "metrics", "disabled": False,
            "aggregations": [{"metricName": metric, "temporality": temporality, "timeAggregation": "increase", "spaceAggregation": "sum",
                              "reduceTo": "sum"}],
            "groupBy": [{"name": label, "fieldContext": "attribute", "fieldDataType": "string", "signal": "metrics"} for label in series["by"]],
            "order": [{"key": {"name": f"sum(increase({metric}))"}, "direction": "desc"}], "limit": series.get("limit", 20),
            "legend": series["as"]}


def signoz_events(panel, first, shifted=False):
    """The builder queries of a panel; `first` is the letter of the first one."""
    events, letter = panel["events"], lambda offset: chr(ord(first) + offset)
    if metric := sent_metric(events):
        legend = ", ".join("{{" + key + "}}" for key in events["by"])
        return [("builder_query", signoz_metric(first, {**events, "metric": metric, "as": legend}, "delta"))]
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
