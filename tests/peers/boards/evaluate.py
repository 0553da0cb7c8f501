"""Computes a panel's number from recorded output: queries over spans and logs, and over the series of /metrics. It also reads the queries back out
of the vendors' files, so that the number is that of the file and not only that of the description."""
import math
import re

# ---- spans and logs --------------------------------------------------------------------------------------------------


def row(signal, item):
    """One span, log record or data point as a back end stores it: a flat row."""
    base = {**item["resource"], **item.get("attributes", {})}
    if signal == "metrics":
        return {**base, item["name"]: item.get("value")}
    return {**base, "trace_id": item["trace_id"], **({"name": item["name"]} if signal == "traces" else {"body": item["body"]})}


SIGNALS = {"spans": {"traces"}, "logs": {"logs"}, "spans and logs": {"traces", "logs"}, "metrics": {"metrics"}, "own metrics": {"metrics"}}


def call(text):
    match = re.fullmatch(r"(\w+)(?:\(([\w.]*)\))?", text)
    return match[1], match[2] or None


def holds(value, condition):
    if condition in ("present", "absent"):
        return (value is not None) == (condition == "present")
    if isinstance(condition, list):
        return value in condition
    if isinstance(condition, str) and condition.startswith("^"):
        return isinstance(value, str) and value.startswith(condition[1:])
    return type(value) is type(condition) and value == condition


def chosen(rows, source, where):
    return [one for signal, one in rows if signal in SIGNALS[source] and all(holds(one.get(key), condition) for key, condition in where.items())]


def aggregate(text, rows):
    operation, key = call(text)
    if operation == "count":
        return float(len(rows))
    values = [one[key] for one in rows if one.get(key) is not None]
    if operation == "count_distinct":
        return float(len(set(values)))
    if not values:
        return 0.0 if operation == "sum" else None
    if operation == "p95":
        return float(sorted(values)[math.ceil(len(values) * 0.95) - 1])
    return float({"sum": sum, "max": max, "avg": lambda all_: sum(all_) / len(all_)}[operation](values))


def events(query, rows):
    """[[group …, number …]], sorted."""
    groups = {}
    for one in chosen(rows, query["from"], query["where"]):
        groups.setdefault(tuple(one.get(key) for key in query.get("by", [])), []).append(one)
    out = []
    for group, members in groups.items():
        if ratio := query.get("ratio"):
            part = [one for one in members if all(holds(one.get(key), condition) for key, condition in ratio.get("where", {}).items())]
            numbers = [aggregate(ratio["of"], part) / aggregate(ratio["to"], members)]
        else:
            numbers = [aggregate(text, members) for text in query["show"].values()]
        out.append([*group, *(None if number is None else round(number, 9) for number in numbers)])
    return sorted(out, key=repr)


def problems(query, rows):
    """Attributes that no recorded row has where the query needs them, or of another type."""
    wrong = []
    source, where = query["from"], query["where"]
    conditions = {**where, **query.get("ratio", {}).get("where", {})}
    calls = [call(text) for text in (query["show"].values() if "show" in query else (query["ratio"]["of"], query["ratio"]["to"]))]
    found = chosen(rows, source, {key: condition for key, condition in where.items() if condition != "absent"})
    for key, condition in conditions.items():
        others = chosen(rows, source, {other: value for other, value in conditions.items() if other != key and value != "absent"})
        if condition == "absent":
            wrong += [] if any(key in one for one in found) else [f"{key} is on no row that the other conditions choose"]
        elif not any(holds(one.get(key), condition) for one in others):
            wrong.append(f"no recorded row has {key} {condition!r}: {sorted({repr(one.get(key)) for one in others})[:4]}")
    wrong += [f"{key} is on no row that the query chooses" for key in [*query.get("by", []), *(key for _, key in calls if key)]
              if not any(one.get(key) is not None for one in found)]
    for operation, key in calls:
        types = {type(one[key]) for one in found if one.get(key) is not None} if key else set()
        if operation not in ("count", "count_distinct") and not types <= {int, float}:
            wrong.append(f"{operation}({key}), but it is {sorted(kind.__name__ for kind in types)}")
    return wrong


# ---- queries read back out of the files ------------------------------------------------------------------------------

def honeycomb(spec, source):
    """A honeycombio_query_specification, as plain() of ../promql/others.py gives it."""
    names = {"trace.trace_id": "trace_id"}

    def where(filters):
        out = {}
        for one in filters:
            key, value = names.get(one["column"], one["column"]), one.get("value")
            value = {"true": True, "false": False}.get(value, value)  # the provider's own rule for texts
            out[key] = {"exists": "present", "does-not-exist": "absent", "starts-with": f"^{value}", "in": str(value).split(","), "=": value}[one["op"]]
        return out

    def text(one):
        column = one.get("column")
        return one["op"].lower() + (f"({names.get(column, column)})" if column else "")

    query = {"from": source, "by": [names.get(key, key) for key in spec.get("breakdowns", [])]}
    if "formula" in spec:
        part, whole = spec["calculation"]
        base = where(whole["filter"])
        own = {key: value for key, value in where(part["filter"]).items() if key not in base}
        return {**query, "where": base, "ratio": {"of": text(part), "to": text(whole), "where": own}}
    return {**query, "where": where(spec["filter"]), "show": {str(at): text(one) for at, one in enumerate(spec["calculation"])}}


def signoz_where(expression):
    def value(text):
        return {"true": True, "false": False}.get(text, text.strip("'"))

    out = {}
    for one in expression.split(" AND "):
        key, operator, operand = re.fullmatch(r"([\w.]+) (NOT EXISTS|EXISTS|LIKE|IN|=)(?: (.*))?", one).groups()
        out[key] = {"EXISTS": lambda: "present", "NOT EXISTS": lambda: "absent", "LIKE": lambda: "^" + operand.strip("'%"),
                    "IN": lambda: [value(part.strip()) for part in operand.strip("()").split(",")], "=": lambda: value(operand)}[operator]()
    return out


def signoz(queries):
    """The builder queries of one panel, without those of yesterday."""
    first = queries[0]
    if first["signal"] == "metrics":
        (one,) = first["aggregations"]
        assert (one["temporality"], one["timeAggregation"], one["spaceAggregation"]) == ("delta", "increase", "sum"), one
        metric = one["metricName"]
        return {"from": "metrics", "by": [key["name"] for key in first["groupBy"]], "where": {metric: "present"}, "show": {"0": f"sum({metric})"}}
    source = {"traces": "spans", "logs": "logs"}[first["signal"]]
    texts = [one["expression"].removesuffix("()") for query in queries for one in query["aggregations"]]
    base = {"from": source, "by": [key["name"] for key in first.get("groupBy", [])]}
    if first["disabled"]:
        whole = signoz_where(queries[1]["filter"]["expression"])
        own = {key: value for key, value in signoz_where(first["filter"]["expression"]).items() if key not in whole}
        return {**base, "where": whole, "ratio": {"of": texts[0], "to": texts[1], "where": own}}
    return {**base, "where": signoz_where(first["filter"]["expression"]), "show": {str(at): text for at, text in enumerate(texts)}}


TRACEQL = re.compile(r"\{ (?P<where>.*) \} \| (?P<call>(?:count|sum|avg|max)_over_time\((?:span\.[\w.]+)?\)|quantile_over_time\(span\.[\w.]+, \.95\))"
                     r"(?: by \((?P<by>[\w., ]+)\))?")


def traceql(texts):
    """The TraceQL queries of one panel; each must be of the grammar above."""
    query = {"from": "spans", "show": {}}
    for at, text in enumerate(texts):
        match = TRACEQL.fullmatch(text)
        operation, key = re.fullmatch(r"(\w+)_over_time\((?:span\.([\w.]+))?(?:, \.95)?\)", match["call"]).groups()
        query["show"][str(at)] = {"quantile": "p95"}.get(operation, operation) + (f"({key})" if key else "")
        query["by"] = [key.removeprefix("span.") for key in match["by"].split(", ")] if match["by"] else []
        query["where"] = {}
        for one in match["where"].split(" && "):
            key, operator, operand = re.fullmatch(r'(name|span\.[\w.]+) (=|!=|=~) ("[^"]*"|true|false|nil)', one).groups()
            value = {"true": True, "false": False}.get(operand, operand.strip('"'))
            value = value.split("|") if operator == "=~" else value
            query["where"][key.removeprefix("span.")] = "present" if operator == "!=" else value
    return query


# ---- series ------------------------------------------------------------------------------------------------------------

def scrape(text):
    """[(name, {label: value}, number)] of a /metrics answer."""
    out = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            head, _, number = line.rpartition(" ")
            name, _, labels = head.partition("{")
            out.append((name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(number)))
    return out


def series(query, scraped):
    """{labels: number}: every counter began at 0, so its increase is its value."""
    metric, show, by = query["metric"], query["show"], query.get("by", [])
    extreme = {"_seconds": max, "_free_bytes": min} if show == "latest" else {}
    joined = next((join for end, join in extreme.items() if metric.endswith(end)), sum)

    def total(suffix="", more=()):
        groups = {}
        for name, labels, number in scraped:
            if name == metric + suffix and all(labels.get(key) in (value if isinstance(value, list) else [value]) for key, value in query.get("where", {}).items()):
                groups.setdefault(tuple(labels.get(key, "") for key in [*by, *more]), []).append(number)
        return {group: joined(numbers) for group, numbers in groups.items()}

    if show == "avg":
        counts = total("_count")
        return {group: number / counts[group] for group, number in total("_sum").items()}
    if show == "p95":
        groups = {}
        for group, number in total("_bucket", ("le",)).items():
            groups.setdefault(group[:-1], []).append((float(group[-1]), number))
        return {group: quantile(0.95, sorted(buckets)) for group, buckets in groups.items()}
    numbers = total({"sum": "_sum", "count": "_count"}.get(show, ""))
    if "to" in query:
        whole = series({**query["to"], "by": by}, scraped)
        return {group: number / whole[group] for group, number in numbers.items()}
    return numbers


def quantile(share, buckets):
    """As Prometheus computes it from a classic histogram."""
    rank = share * buckets[-1][1]
    at = next(index for index, (_, count) in enumerate(buckets) if count >= rank)
    if math.isinf(buckets[at][0]):
        return buckets[at - 1][0]
    below, before = buckets[at - 1] if at else (0.0, 0.0)
    return below + (buckets[at][0] - below) * (rank - before) / (buckets[at][1] - before)


def metrics(queries, scraped):
    """[[name of the series, labels …, number]], sorted."""
    return sorted([[query["as"], *group, round(number, 9)] for query in queries for group, number in series(query, scraped).items()], key=repr)
