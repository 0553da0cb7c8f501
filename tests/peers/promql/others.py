"""What can be checked without the vendor: Honeycomb's triggers (the provider's documented arguments and limits), CloudWatch's alarms (cfn-lint).
Each function returns what is wrong."""
import os
import re
import subprocess
import sys

import hcl2

# ---- Honeycomb: arguments and limits as the provider's documentation (0.46) tells them -------------------------------

TRIGGER = {"name", "description", "dataset", "query_json", "frequency", "threshold", "baseline_details", "dynamic", "recipient", "alert_type", "disabled", "tags"}
SPEC = {"calculation", "calculated_field", "filter", "filter_combination", "formula", "breakdowns", "time_range", "having"}
COLUMNLESS = {"COUNT", "CONCURRENCY"}
FILTER_OPS = {"=", "!=", ">", ">=", "<", "<=", "starts-with", "does-not-start-with", "contains", "does-not-contain", "exists", "does-not-exist", "in", "not-in"}


OPERATIONS = {"COUNT", "CONCURRENCY", "SUM", "AVG", "COUNT_DISTINCT", "MAX", "MIN", "P50", "P90", "P95", "P99", "RATE_AVG", "RATE_SUM", "RATE_MAX", "HEATMAP"}
OFFSETS = {1800, 3600, 7200, 28800, 86400, 604800, 2419200, 15724800}
# {argument: type, or [a block]}; `!` marks what is required
FILTER = {"column!": str, "op!": str, "value": str}
SPECIFICATION = {
    "calculation": [{"op!": str, "column": str, "name": str, "filter_combination": str, "filter": [FILTER]}],
    "calculated_field": [{"name!": str, "expression!": str}],
    "formula": [{"name!": str, "expression!": str}],
    "filter": [FILTER], "filter_combination": str, "breakdowns": list, "limit": int, "time_range": int, "start_time": int, "end_time": int,
    "granularity": int, "compare_time_offset": int,
    "order": [{"op": str, "column": str, "order": str}],
    "having": [{"calculate_op!": str, "column": str, "op!": str, "value!": float}],
}


def arguments(body, schema, at):
    """Unknown and missing arguments, and such of another type."""
    known = {key.rstrip("!"): kind for key, kind in schema.items()}
    wrong = [f"{at}: unknown argument {key}" for key in set(body) - set(known)]
    wrong += [f"{at}: no {key[:-1]}" for key in schema if key.endswith("!") and key[:-1] not in body]
    for key, value in body.items():
        kind = known.get(key)
        if isinstance(kind, list):
            for one in value:
                wrong += arguments(one, kind[0], f"{at}.{key}")
        elif kind and not isinstance(value, kind):
            wrong.append(f"{at}.{key}: {value!r}")
    return wrong


def specification(name, spec):
    wrong = arguments(spec, SPECIFICATION, name)
    shown = [(one["op"], one.get("column")) for one in spec.get("calculation", [])]
    wrong += [f"{name}: {op} and column {column}" for op, column in shown if op not in OPERATIONS or (column is None) != (op in COLUMNLESS)]
    for one in spec.get("filter", []) + [one for calculation in spec.get("calculation", []) for one in calculation.get("filter", [])]:
        valueless = one["op"] in ("exists", "does-not-exist")
        wrong += [f"{name}: filter {one}"] if one["op"] not in FILTER_OPS or ("value" in one) == valueless else []
    for calculation in spec.get("calculation", []):
        wrong += [f"{name}: a calculation with filters needs a name"] if "filter" in calculation and "name" not in calculation else []
    named = [one["name"] for one in spec.get("calculation", []) if "name" in one]
    for formula in spec.get("formula", []):
        wrong += [f"{name}: formula {formula}"] if set(re.findall(r"\$(\w+)", formula["expression"])) - set(named) or formula["name"] in named else []
    for one in spec.get("order", []):
        target = (one.get("op"), one.get("column"))
        wrong += [f"{name}: order {one}"] if target not in shown or one.get("order") not in ("ascending", "descending") else []
    wrong += [f"{name}: limit"] if not 1 <= spec.get("limit", 1) <= 1000 else []
    wrong += [f"{name}: compare_time_offset"] if spec.get("compare_time_offset", 86400) not in OFFSETS | {spec.get("time_range")} else []
    return wrong


def plain(value):
    """python-hcl2 keeps the quotes of strings and marks blocks."""
    if isinstance(value, dict):
        return {plain(key): plain(one) for key, one in value.items() if key not in ("__is_block__", "__comments__")}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value[1:-1] if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"' else value


def blocks(document, kind, resource):
    return {name: body for one in document.get(kind, []) for name, body in one.get(resource, {}).items()}


def query(name, spec):
    """A specification as triggers have it: one calculation without a name, or a formula over named ones."""
    wrong = specification(name, spec) + [f"{name}: {key}" for key in set(spec) - SPEC]
    calculations = spec.get("calculation", [])
    named = {one["name"] for one in calculations if "name" in one}
    if "formula" in spec:
        asked = set(re.findall(r"\$(\w+)", spec["formula"][0]["expression"]))
        wrong += [f"{name}: a formula, but not all calculations are named"] if asked != named or len(named) != len(calculations) else []
        wrong += [f"{name}: filters beside named calculations"] if "filter" in spec else []
    elif len(calculations) != 1 or named:
        wrong.append(f"{name}: exactly one calculation without a name")
    return wrong


def honeycomb(path, alerts):
    """`alerts`: names that docs/alerts.md has."""
    with open(path) as f:
        document = plain(hcl2.load(f))
    specs, triggers = blocks(document, "data", "honeycombio_query_specification"), blocks(document, "resource", "honeycombio_trigger")
    wrong = [problem for name, spec in specs.items() for problem in query(name, spec)]
    wrong += [f"query {name} without its trigger" for name in set(specs) ^ set(triggers)]
    for name, trigger in triggers.items():
        spec, frequency = specs.get(name, {}), trigger["frequency"]
        wrong += [f"{name}: {key}" for key in set(trigger) - TRIGGER]
        wrong += [f"{name}: no alert is called {trigger['name']}"] if trigger["name"] not in alerts else []
        wrong += [f"{name}: asks another query"] if f"honeycombio_query_specification.{name}.json" not in trigger["query_json"] else []
        wrong += [f"{name}: frequency {frequency}"] if frequency % 60 or not 60 <= frequency <= 86400 or spec.get("time_range", 7200) > 4 * frequency else []
        threshold = trigger["threshold"][0]
        wrong += [f"{name}: threshold"] if threshold["op"] not in (">", ">=", "<", "<=") or not 1 <= threshold.get("exceeded_limit", 1) <= 5 else []
        for base in trigger.get("baseline_details", []):
            wrong += [f"{name}: baseline"] if base["type"] not in ("percentage", "value") or base["offset_minutes"] not in (60, 1440, 10080, 40320) else []
    # raw volume never: a trigger on a plain count
    wrong += [f"{name}: a count by itself" for name, spec in specs.items() if "formula" not in spec and spec["calculation"][0]["op"] == "COUNT"]
    return wrong, triggers


# ---- CloudWatch ----------------------------------------------------------------------------------------------------

def cloudwatch(path):
    done = subprocess.run([os.path.join(os.path.dirname(sys.executable), "cfn-lint"), path], capture_output=True, text=True)
    wrong = [] if done.returncode == 0 else [done.stdout.strip()]
    with open(path) as f:
        found = set(re.findall(r"AlarmName: (\S+)", f.read()))
    return wrong + sorted(found ^ {"SREAgent-HighOverrideRate", "SREAgent-CostAnomaly", "SREAgent-ToolCallAnomaly"})
