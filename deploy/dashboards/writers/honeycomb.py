"""Honeycomb: a board and its queries as Terraform."""
import json

from writers.description import DAY, calculations, call, laid_out, source

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
