"""Cases of deploy/alerts/tests as files for `promtool test rules`. A case changes a healthy fleet and says which alerts fire: exactly those."""
import concurrent.futures
import glob
import json
import math
import os
import re
import subprocess

import yaml

AFTER = 10  # minutes that are made beyond the last one that is asked about


def load(directory):
    """(base, cases): every file of cases in one list."""
    with open(os.path.join(directory, "base.yaml")) as f:
        base = yaml.safe_load(f)
    cases = []
    for path in sorted(glob.glob(os.path.join(directory, "cases", "*.yaml"))):
        with open(path) as f:
            for case in yaml.safe_load(f):
                cases.append({**case, "file": os.path.basename(path)})
    return base, cases


def labelled(series, extra='job="tollgate",instance="a:8888"'):
    name, _, labels = series.partition("{")
    labels = labels.rstrip("}")
    return name + "{" + ",".join(part for part in (labels, extra) if part) + "}"


def number(value):
    return repr(round(value, 9)) if value != int(value) else str(int(value))


def line(start, rate, steps):
    """`steps` samples of promtool's notation: the first is `start`."""
    if steps <= 0:
        return ""
    return f"{number(start)}{'+' if rate >= 0 else '-'}{number(abs(rate))}x{steps - 1}" if steps > 1 else number(start)


class Fleet:
    """The series of one case."""

    def __init__(self, base, case, bounds):
        self.case, self.bounds = case, bounds
        self.step = case.get("step", 1)
        self.before = case.get("history", 90) // self.step
        self.after = (max(case["fires"]) + AFTER) // self.step + 1
        self.base, self.out = base, []
        self.changes = dict(case.get("set", {}))
        self.gone = set(case.get("gone", []))
        self.traffic = case.get("traffic", 1)
        self.used = {}
        for samples in (base["histograms"], self.changes):
            for series, counts in samples.items():
                if isinstance(counts, dict):
                    self.used.setdefault(series.partition("{")[0], set()).update(float(upper) for upper in counts)

    def add(self, series, first, second):
        text = " ".join(part for part in (first, second) if part)
        self.out.append({"series": labelled(series), "values": text})

    def ends(self, series):
        return series.partition("{")[0] in self.gone

    def counter(self, series, rate, new):
        if isinstance(new, str):
            return self.add(series, line(0, rate * self.step, self.before), new)
        rate, new = rate * self.step, new * self.step
        first = line(0, rate, self.before)
        last = rate * max(self.before - 1, 0)
        self.add(series, first, f"_x{self.after}" if self.ends(series) else line(last + new, new, self.after))

    def gauge(self, series, level, new):
        end = f"_x{self.after}" if self.ends(series) else new if isinstance(new, str) else line(new, 0, self.after)
        self.add(series, f"_x{self.before}" if level is None else line(level, 0, self.before), end)

    def histogram(self, series, counts, new):
        name, brace, labels = series.partition("{")
        labels = labels.rstrip("}")
        zero = {}
        counts, new = counts or zero, new or zero
        used = self.used[name]
        below = [bound for bound in self.bounds[name] if bound < min(used)][-1:]
        # buckets below and above what is used say nothing more: they are left out, because each is a series to evaluate
        for bound in below + [bound for bound in self.bounds[name] if min(used) <= bound <= max(used)] + [math.inf]:
            le = "+Inf" if bound == math.inf else number(bound)
            within = lambda samples: sum(n for upper, n in samples.items() if float(upper) <= bound)  # noqa: E731
            self.counter(f'{name}_bucket{{{labels}{"," if labels else ""}le="{le}"}}', within(counts), within(new))
        of = "{" + labels + "}" if labels else ""
        self.counter(f"{name}_count{of}", sum(counts.values()), sum(new.values()))
        worth = lambda samples: sum(min(float(upper), 1e9) * n for upper, n in samples.items())  # noqa: E731
        self.counter(f"{name}_sum{of}", worth(counts), worth(new))

    def series(self):
        for kind, write in (("counters", self.counter), ("gauges", self.gauge), ("histograms", self.histogram)):
            known = self.base.get(kind, {})
            names = {series.partition("{")[0] for series in known} | set(self.base.get("known", {}).get(kind, []))
            wanted = {series: known.get(series) for series in known}
            wanted.update({series: wanted.get(series) for series in self.changes if series.partition("{")[0] in names})
            for series, was in wanted.items():
                now = self.changes.pop(series, None)
                if series in self.case.get("raw", {}):
                    continue
                if kind == "counters":
                    was = was or 0
                    write(series, was, was * self.traffic if now is None else now)
                elif kind == "histograms":
                    was = was or {}
                    write(series, was, {b: n * self.traffic for b, n in was.items()} if now is None else now)
                else:
                    write(series, was, was if now is None else now)
        if self.changes:
            raise ValueError(f"{self.case['name']}: no such metric in base.yaml: {sorted(self.changes)}")
        for series, values in self.case.get("raw", {}).items():
            self.out.append({"series": labelled(series), "values": values})
        for series, value in self.case.get("born", {}).items():
            self.add(series, f"_x{self.before}", line(value, 0, self.after))
        return self.out


def groups(rules):
    """Names of all groups, those that record first."""
    found = []
    for path in rules:
        with open(path) as f:
            found += yaml.safe_load(f)["groups"]
    return [group["name"] for group in sorted(found, key=lambda group: not all("record" in rule for rule in group["rules"]))]


def promtool_file(base, case, rules, bounds):
    """The file's content. The firing set is compared whole."""
    fleet = Fleet(base, case, bounds)
    tests = []
    for minute, names in case["fires"].items():
        at = (fleet.before + minute // fleet.step) * fleet.step
        tests.append({
            "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{at}m",
            "exp_samples": [{"labels": '{alertname="%s"}' % name, "value": 1} for name in sorted(names or [])],
        })
    interval = f"{fleet.step}m"
    # without an order promtool takes groups as they come, and an alert may miss what is recorded at the same time
    return {"rule_files": rules, "evaluation_interval": interval, "group_eval_order": groups(rules),
            "tests": [{"interval": interval, "input_series": fleet.series(), "promql_expr_test": tests}]}


def run(base, cases, rules, bounds, work):
    """{case: None, or what promtool says}; two at a time."""
    os.makedirs(work, exist_ok=True)
    # it has more use for memory than for collecting it: a fifth to a third less time
    environment = {**os.environ, "GOGC": "800", "GOMEMLIMIT": "1GiB"}

    def one(numbered):
        at, case = numbered
        path = os.path.join(work, f"case-{at}.yaml")
        with open(path, "w") as f:
            json.dump(promtool_file(base, case, rules, bounds), f)
        done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, env=environment)
        said = re.sub(r'\{__name__="ALERTS"', "{", done.stdout + done.stderr)
        return None if done.returncode == 0 else f"exit {done.returncode}: {said.strip()}"

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return {f"{case['file']}: {case['name']}": said for case, said in zip(cases, pool.map(one, enumerate(cases)))}
