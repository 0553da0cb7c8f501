"""What is read out of the rule files: every metric that an expression names, held against crates/telemetry/src/names/mod.rs and a live /metrics."""
import glob
import os
import re

import yaml

WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool", "start", "end", "inf", "nan"}
# What Prometheus itself adds to a target.
OUTSIDE = {"up"}
# Labels that name one session, run or person: never in a rule.
FORBIDDEN = re.compile(r"(session|run|trace|span|user|prompt|request|turn|conversation|incident)(_?id|_?key)?$")


def bounds(names_rs):
    """{histogram: its upper bounds}, from names.rs."""
    with open(names_rs) as f:
        text = f.read()
    arrays = {name: [float(n.replace("_", "")) for n in re.findall(r"[\d._]+(?:e-?\d+)?", body)]
              for name, body in re.findall(r"pub const (\w+): &\[f64\] =\s*&\[(.*?)\];", text, re.S)}
    return {metric: arrays[array] for metric, array in re.findall(r'= "(\w+)",\s*MetricKind::Histogram\((?:\w+::)*(\w+)\)', text)}


def defined(names_rs):
    """{metric: kind}, from names.rs."""
    with open(names_rs) as f:
        return dict(re.findall(r'= "(\w+)",\s*MetricKind::(Counter|Gauge|Histogram)', f.read()))


def series_of(metrics):
    """Every name that a scrape of these metrics has."""
    out = set(OUTSIDE)
    for name, kind in metrics.items():
        out |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "Histogram" else {name}
    return out


def scraped(text):
    """{name: labels that its series have}, of a /metrics answer."""
    out = {}
    for row in text.splitlines():
        if row and not row.startswith("#"):
            name, _, rest = row.partition("{") if "{" in row else (row.split(" ")[0], "", "")
            out.setdefault(name, set()).update(re.findall(r'(\w+)="', rest))
    return out


def named(expr):
    """[(metric, {labels in its braces})] of a PromQL expression."""
    text = re.sub(r"#.*", " ", expr)
    text = re.sub(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', '""', text)
    text = re.sub(r"\[[^\]]*\]", " ", text)
    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    found = []
    for match in re.finditer(r"(?<![\w.:])([A-Za-z_:][\w:]*)\s*(\(|\{([^}]*)\})?", text):
        name, after, inside = match.groups()
        if after == "(" or name.lower() in WORDS:
            continue
        if inside is None and re.search(r"[\d.]$", text[: match.start()]):
            continue  # the unit of a number: 1d, 5e9
        found.append((name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside or ""))))
    return found


def grouped(expr):
    """Labels that an expression groups or joins by."""
    lists = re.findall(r"\b(?:by|on|group_left|group_right|ignoring|without)\s*\(([^)]*)\)", expr)
    return {label.strip() for one in lists for label in one.split(",") if label.strip()}


def load(directory):
    """Every rule of a folder: [(file, rule)]"""
    out = []
    for path in sorted(glob.glob(os.path.join(directory, "*.yaml"))):
        with open(path) as f:
            for group in yaml.safe_load(f)["groups"]:
                out += [(path, rule) for rule in group["rules"]]
    return out


def unknown(exprs, known, recorded=()):
    """Names that no metric and no recording rule has."""
    names = {name for expr in exprs for name, _ in named(expr)}
    return sorted(names - set(known) - set(recorded))


def strange_labels(exprs, live):
    """(metric, label) pairs that no live series has; metrics that are not live are not judged."""
    wrong = set()
    for expr in exprs:
        for name, labels in named(expr):
            if name in live:
                wrong |= {(name, label) for label in labels - live[name] - {"le", "job", "instance"}}
    return sorted(wrong)


def misuse(expr, kinds):
    """rate and increase of a gauge that is no sum; a gauge's name may end in _total only if it only grows."""
    out = []
    for name in re.findall(r"\b(?:rate|irate|increase|resets)\(\s*([A-Za-z_:][\w:]*)", expr):
        if kinds.get(name) == "Gauge" and not name.endswith(("_total", "_uptime", "_usd")):
            out.append(name)
    return out
