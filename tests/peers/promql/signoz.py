"""deploy/alerts/signoz/rules.json out of the rule files: one rule of SigNoz' API (POST /api/v2/rules) for each alert, recorded series written out,
because SigNoz evaluates PromQL but records nothing. `python signoz.py` writes it; the part `alerts` compares."""
import json
import os
import re
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from promql import names  # noqa: E402

ALERTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "deploy", "alerts")
FILE = os.path.join(ALERTS, "signoz", "rules.json")
OWN = r"\b((?:agent|tollgate|otelcol)_\w+)"


def narrowed(expr, matchers):
    """The matchers on every selector of an agent's metric: what the recorded series is made from."""
    def add(match):
        inside = ",".join(part for part in (match[2], matchers) if part)
        return match[1] + "{" + inside + "}"
    return re.sub(r"\b(agent_\w+)(?:\{([^}]*)\})?", add, expr)


def earlier(expr, offset):
    """The same at an earlier time. Only for expressions whose selectors have a range and no offset of their own."""
    if " offset " in expr:
        raise ValueError(f"has an offset already: {expr}")
    return re.sub(r"(\[\w+\])", rf"\1 offset {offset}", expr)


def records(found):
    """{recorded series: its expression}; several of one name are told apart by their labels."""
    out = {}
    for _, rule in found:
        if "record" in rule:
            expr = " ".join(rule["expr"].split())
            for label, value in rule.get("labels", {}).items():
                expr = f'label_replace({expr}, "{label}", "{value}", "", "")'
            out[rule["record"]] = f"{out[rule['record']]} or {expr}" if rule["record"] in out else expr
    return out


def written_out(expr, recorded):
    """An expression without recorded series."""
    text = " ".join(expr.split())
    pattern = re.compile(r"(?<![\w:])(" + "|".join(sorted(map(re.escape, recorded), key=len, reverse=True)) + r")(?![\w:])(?:\{([^}]*)\})?(?: offset (\w+))?")

    def put(match):
        inner = recorded[match[1]]
        if match[2]:
            inner = narrowed(inner, match[2])
        if match[3]:
            inner = earlier(inner, match[3])
        return f"({inner})"

    while pattern.search(text):
        text = pattern.sub(put, text)
    return text


def rule(alert, expr):
    """SigNoz' form: the keys of RuletypesPostableRule (its docs/api/openapi.yml). The expression has only what is wrong, so whatever comes of it fires: above -1."""
    spec = {"name": alert["labels"]["severity"], "target": -1, "op": "above", "matchType": "last", "channels": []}
    summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"{{$\1}}", alert["annotations"]["summary"])
    summary = re.sub(r"\{\{ \$value[^}]*\}\}", "{{$value}}", summary)
    return {
        "alert": alert["alert"],
        "alertType": "METRIC_BASED_ALERT",
        "ruleType": "promql_rule",
        "schemaVersion": "v2alpha1",
        "version": "v5",
        "condition": {
            "compositeQuery": {"queryType": "promql", "panelType": "graph",
                               "queries": [{"type": "promql", "spec": {"name": "A", "query": expr}}]},
            "selectedQueryName": "A",
            "thresholds": {"kind": "basic", "spec": [spec]},
        },
        "evaluation": {"kind": "rolling", "spec": {"evalWindow": "5m", "frequency": "1m"}},
        "labels": dict(alert["labels"]),
        "annotations": {"summary": summary, "description": f"{summary}. Runbook: {alert['annotations']['runbook']}"},
    }


def rules(found):
    recorded = records(found)
    return [rule(alert, written_out(alert["expr"], recorded)) for _, alert in found if "alert" in alert]


def text(found):
    return json.dumps(rules(found), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    with open(FILE, "w") as f:
        f.write(text(names.load(os.path.join(ALERTS, "prometheus"))))
