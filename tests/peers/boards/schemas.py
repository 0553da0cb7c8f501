"""Compares the dashboards with what their vendors publish. Each function returns what is wrong.

Honeycomb: the arguments in the documentation of the provider (docs/resources/flexible_board.md, query.md, query_annotation.md,
docs/data-sources/query_specification.md of honeycombio/terraform-provider-honeycombio, 0.46, read on 2026-11-27) and the checks of its source.
SigNoz: signoz.schema.json. Grafana: the types of @grafana/schema, by the TypeScript compiler.
"""
import json
import os
import re
import subprocess
import tempfile

import hcl2
import jsonschema

from promql.others import arguments, plain, specification

HERE = os.path.dirname(os.path.abspath(__file__))

# ---- Honeycomb ---------------------------------------------------------------------------------------------------------

QUERY = {"dataset": str, "query_json!": str}
ANNOTATION = {"dataset!": str, "query_id!": str, "name!": str, "description": str}
CHART = {"chart_type": str, "chart_index": int, "omit_missing_values": bool, "use_log_scale": bool}
VISUALIZATION = {"use_utc_xaxis": bool, "hide_markers": bool, "hide_hovers": bool, "overlaid_charts": bool, "chart": [CHART]}
PANEL = {
    "type!": str,
    "position": [{"x_coordinate": int, "y_coordinate": int, "width": int, "height": int}],
    "query_panel": [{"query_id!": str, "query_annotation_id!": str, "query_style": str, "visualization_settings": [VISUALIZATION]}],
    "slo_panel": [{"slo_id!": str}], "text_panel": [{"content!": str}],
}
BOARD = {"name!": str, "description": str, "tags": dict, "panel": [PANEL]}
CHARTS = {"default", "line", "tsbar", "stacked", "stat", "cpie", "cbar"}


def overlaps(places, columns):
    taken, wrong = set(), []
    for name, x, y, width, height in places:
        cells = {(column, line) for column in range(x, x + width) for line in range(y, y + height)}
        wrong += [f"{name}: overlaps or leaves the grid"] if cells & taken or x + width > columns else []
        taken |= cells
    return wrong


def honeycomb(path):
    """(what is wrong, {panel: specification})"""
    with open(path) as f:
        document = plain(hcl2.load(f))

    def all_of(kind, resource):
        return {name: body for one in document.get(kind, []) for name, body in one.get(resource, {}).items()}

    specs = all_of("data", "honeycombio_query_specification")
    queries, annotations = all_of("resource", "honeycombio_query"), all_of("resource", "honeycombio_query_annotation")
    kinds = {kind for one in document.get("resource", []) for kind in one} | {kind for one in document.get("data", []) for kind in one}
    wrong = [f"unknown resource {kind}" for kind in kinds - {"honeycombio_query_specification", "honeycombio_query", "honeycombio_query_annotation",
                                                             "honeycombio_flexible_board"}]
    for name, spec in specs.items():
        wrong += specification(name, spec)
    for name, query in queries.items():
        wrong += arguments(query, QUERY, name)
        wrong += [f"{name}: asks another query"] if f"data.honeycombio_query_specification.{name}.json" not in query.get("query_json", "") else []
    for name, annotation in annotations.items():
        wrong += arguments(annotation, ANNOTATION, name)
        wrong += [f"{name}: annotates another query"] if f"honeycombio_query.{name}.id" not in annotation.get("query_id", "") else []
    panels = []
    for name, board in all_of("resource", "honeycombio_flexible_board").items():
        wrong += arguments(board, BOARD, name)
        wrong += [f"{name}: name or description is too long"] if len(board["name"]) > 255 or not 1 <= len(board["description"]) <= 1023 else []
        places = []
        for panel in board["panel"]:
            shown, position = panel["query_panel"][0], panel["position"][0]
            query = re.search(r"honeycombio_query\.(\w+)\.id", shown["query_id"])[1]
            panels.append(query)
            wrong += [f"{query}: another annotation"] if f"honeycombio_query_annotation.{query}.id" not in shown["query_annotation_id"] else []
            wrong += [f"{query}: style"] if panel["type"] != "query" or shown["query_style"] not in ("graph", "table", "combo") else []
            charts = [one for settings in shown.get("visualization_settings", []) for one in settings["chart"]]
            wrong += [f"{query}: chart {one}" for one in charts if one["chart_type"] not in CHARTS]
            places.append((query, position["x_coordinate"], position["y_coordinate"], position["width"], position["height"]))
        wrong += overlaps(places, 12)
    wrong += [f"{name} is not complete or not on the board" for name in set(specs) ^ set(panels) | set(queries) ^ set(panels) | set(annotations) ^ set(panels)]
    return wrong, specs


# ---- SigNoz ------------------------------------------------------------------------------------------------------------

def signoz(board):
    with open(os.path.join(HERE, "signoz.schema.json")) as f:
        validator = jsonschema.Draft202012Validator(json.load(f))
    wrong = [f"{'/'.join(str(part) for part in error.absolute_path)}: {error.message[:200]}" for error in validator.iter_errors(board)]
    items = [item for layout in board["spec"]["layouts"] for item in layout["spec"]["items"]]
    placed = [item["content"]["$ref"].rsplit("/", 1)[1] for item in items]
    wrong += [f"{name}: not placed exactly once" for name in set(placed) ^ set(board["spec"]["panels"])]
    return wrong + overlaps([(name, item["x"], item["y"], item["width"], item["height"]) for name, item in zip(placed, items)], 12)


# ---- Grafana -----------------------------------------------------------------------------------------------------------

OPTIONS = {"stat": "Stat", "table": "Table", "timeseries": "TimeSeries", "bargauge": "BarGauge"}


def grafana(board):
    """Panels that overlap, share an id, or ask a fixed data source; variables that nobody defines."""
    defined = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)\}?", json.dumps(board)))
    wrong = [f"variable {name}" for name in sorted(used ^ defined)]
    ids = [panel["id"] for panel in board["panels"]]
    wrong += ["an id twice"] if len(ids) != len(set(ids)) else []
    for panel in board["panels"]:
        sources = {one["datasource"]["uid"] for one in (panel, *panel["targets"])}
        wrong += [f"{panel['title']}: data sources {sorted(sources)}"] if len(sources) != 1 or not sources <= {"${datasource}", "${tempo}"} else []
    return wrong + overlaps([(panel["title"], *(panel["gridPos"][key] for key in "xywh")) for panel in board["panels"]], 24)


def grafana_types(boards, modules):
    """Compiles the dashboards as literals of Grafana's types: unknown keys and wrong values are errors."""
    lines = ["import type { Dashboard } from '@grafana/schema';"]
    lines += [f"import type {{ Options as {kind} }} from '@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen';"
              for kind, name in OPTIONS.items()]
    # JSON has the values of enums, not their names
    lines.append("type Plain<T> = T extends string ? `${T}` : T extends (infer E)[] ? Plain<E>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;")
    for at, board in enumerate(boards):
        lines.append(f"export const board{at}: Plain<Dashboard> = {json.dumps(board)};")
        lines += [f"export const panel{at}_{panel['id']}: Plain<Partial<{panel['type']}>> = {json.dumps(panel['options'])};" for panel in board["panels"]]
    # beside the modules, or the compiler does not find them; with a name of its own, because parts may run side by side
    with tempfile.NamedTemporaryFile("w", suffix=".ts", dir=modules) as f:
        f.write("\n".join(lines))
        f.flush()
        compiler = os.path.join(modules, "node_modules", "typescript", "bin", "tsc")
        done = subprocess.run(["node", compiler, "--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler",
                               "--target", "esnext", f.name], capture_output=True, text=True, cwd=modules)
    problems = [line[:200] for line in (done.stdout + done.stderr).splitlines()]
    return problems or ([] if done.returncode == 0 else [f"the compiler ended with {done.returncode}"])
