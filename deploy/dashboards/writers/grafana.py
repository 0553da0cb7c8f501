"""Grafana: PromQL over tollgate's metrics, TraceQL over Tempo."""
import json

from writers.description import UNIT_NAMES, calculations, laid_out, promql, source

GRAFANA_PANELS = {"number": "stat", "line": "timeseries", "bars": "bargauge", "table": "table"}


def traceql(events):
    """[(column, query)]"""
    def condition(key, value):
        name = "name" if key == "name" else f"span.{key}"
        if value == "present":
            return f"{name} != nil"
        if isinstance(value, bool):
            return f"{name} = {str(value).lower()}"
        return f'{name} =~ "{"|".join(value)}"' if isinstance(value, list) else f'{name} = "{value}"'

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
