#!/usr/bin/env python3
"""What each redaction rule brings: measures a binary on the sets of sets.py, with rules turned off.

  score.py                              one row per class and measure, for the halves `dev` and `held`
  score.py --compare OTHER_BINARY       both binaries side by side
  score.py --off RULE,…                 the table without some rules, beside the one with all
  score.py --ablate [--tolerance CLASS=N …]   the change by each rule that is off, rules without any, and the largest set
                                        of rules that may be off together: chosen on `dev`, shown for `held` too
  score.py --misses CLASS-OR-SET        what `dev` misses of a class, or hides without need of a set without private data
  score.py sets | check                 the sets, their sizes and sources | checks of this script itself

Recall, leak, precision and clean are those of `tollgate redact --score` (crates/redaction/src/score.rs), which `check`
compares. The speed of the rules is measured elsewhere, on an idle machine: `cargo bench -p benches --bench redact`.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import sets as labelled  # noqa: E402

HALVES = ("dev", "held")
# Numerator and denominator of each measure.
MEASURES = {"recall": ("found", "labels"), "leak": ("leaked", "labels"), "precision": ("correct", "placed"), "kept": ("clean", "near"),
            "false/MB": ("false", "bytes")}
ROWS = [(kind, measure) for kind in ("structured", "secrets", "names", "addresses", "ids", "rare", "evasion") for measure in ("recall", "leak", "precision")]
ROWS += [("near-misses", "kept"), *((name, "false/MB") for name in labelled.CORPORA)]
# How much worse a row of a class may get when several rules are off together; a leak falls and rises with its recall.
TOLERANCES = {"structured": .005, "secrets": .005, "names": .01, "addresses": .01, "ids": .02, "rare": .02, "evasion": .01, "near-misses": .01, "false/MB": 0}


def rules_and_types():
    """The rules of config/rules, and the class of each type of placeholder: a secret if a rule of secrets.yaml has it."""
    rules, types = [], {"SECRET": "secrets"}
    for file in ("secrets", "pii", "names", "keys"):
        text = (labelled.REPO / f"config/rules/{file}.yaml").read_text(encoding="utf-8")
        for name, placeholder in re.findall(r"^- name: (\S+)\n  placeholder: (\S+)", text, re.MULTILINE):
            rules.append(name)
            types.setdefault(placeholder, "secrets" if file == "secrets" else "structured")
    return rules, {**types, "PERSON": "names", "ADDRESS": "addresses"}


def spans_of(line):
    return [(span["start"], span["end"], span["type"]) for span in json.loads(line)["spans"]]


def survival(text, label, placed):
    """Whether no letter or digit of a label survives, and whether four characters in a row (or all of a shorter one) do."""
    is_gone, surviving, longest = True, 0, 0
    for at in range(label[0], label[1]):
        surviving = 0 if any(start <= at < end for start, end, _ in placed) else surviving + 1
        longest = max(longest, surviving)
        is_gone &= not surviving or not text[at].isalnum()
    return is_gone, longest >= min(label[1] - label[0], 4)


class Harness:
    """The sets as one file of texts, and what a binary makes of them."""

    def __init__(self, binary, packages):
        self.binary, self.packages, self.first = binary, packages, None
        self.rules, self.types = rules_and_types()
        self.sets = labelled.load(packages)
        self.texts = [(name, text) for name, texts in self.sets.items() for text in texts]
        self.folder = tempfile.TemporaryDirectory(prefix="rules-")
        self.input = self.write({"text": text.text} for _, text in self.texts)

    def write(self, rows):
        path = pathlib.Path(tempfile.mkstemp(dir=self.folder.name)[1])
        path.write_text("".join(json.dumps({"id": str(at), **row}) + "\n" for at, row in enumerate(rows)), encoding="utf-8")
        return path

    def run(self, *arguments, off=(), binary=None):
        path = pathlib.Path(tempfile.mkstemp(dir=self.folder.name, suffix=".yaml")[1])
        path.write_text(json.dumps({
            "receivers": {"otlp": {}}, "exporters": {"debug": {"trust": "internal"}},
            "processors": {"redact": {"options": {rule: {"on": False} for rule in sorted(off)}}},
            "service": {"pipelines": {"traces": {"receivers": ["otlp"], "processors": ["redact"], "exporters": ["debug"]}}}}))
        done = subprocess.run([binary or self.binary, "redact", "--config", path, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"score: {binary or self.binary} failed: {done.stderr.strip()[:500]}")
        return done.stdout

    def output(self, off=(), binary=None):
        """A line of JSON for each text: its placeholders."""
        lines = self.run("--input", self.input, "--output", "-", off=off, binary=binary).rstrip("\n").split("\n")
        if len(lines) != len(self.texts) or not all(line.startswith(f'{{"id":"{at}",') for at, line in enumerate(lines)):
            raise SystemExit("score: the output lacks texts or has another order")
        return lines

    def measure(self, off=(), binary=None):
        """The rows {(class, measure): {half: number}}. Only texts that differ from those of the first run are counted again."""
        lines = self.output(off, binary)
        if self.first is None:
            self.first = lines, collections.Counter()
            for at, line in enumerate(lines):
                self.first[1].update(self.count(at, spans_of(line)))
        counts = self.first[1].copy()
        for at, (line, before) in enumerate(zip(lines, self.first[0])):
            if line != before:
                counts.update(self.count(at, spans_of(line)))
                counts.subtract(self.count(at, spans_of(before)))
        rows = {}
        for kind, measure in ROWS:
            shares = {half: [counts[half, kind, part] for part in MEASURES[measure]] for half in HALVES}
            rows[kind, measure] = {half: part / whole * (1e6 if measure == "false/MB" else 1) if whole else None for half, (part, whole) in shares.items()}
        return rows

    def class_of(self, name, kind):
        """The class of a label or placeholder in a set, or None if the set is not labelled for it."""
        classes = labelled.SETS[name].classes
        if kind != "-" and classes and classes[0].startswith("*"):
            return classes[0][1:]
        kind = self.types.get(kind, "structured") if kind != "-" else None
        return kind if kind in classes else None

    def count(self, at, found):
        """Counts of one text by (half, class, part of a measure)."""
        name, text = self.texts[at]
        counts = collections.Counter({(text.half, name, "bytes"): len(text.text.encode())})

        def add(kind, **parts):
            counts.update({(text.half, kind, part): int(by) for part, by in parts.items()})
        for label in text.labels:
            if kind := self.class_of(name, label[2]):
                is_gone, is_leaked = survival(text.text, label, found)
                add(kind, labels=1, found=is_gone, leaked=is_leaked)
        for start, end, kind in found:
            is_correct = any(start < stop and begin < end for begin, stop, _ in text.labels)
            if kind := self.class_of(name, kind):
                add(kind, placed=1, correct=is_correct)
            add(name, false=not is_correct)
        if text.near_miss:
            add("near-misses", near=1, clean=not found)
        return counts


def table(columns):
    """One line per row; a column is (heading, figures)."""
    print(f"| class | measure | {' | '.join(f'{heading} {half}' for heading, _ in columns for half in HALVES)} |")
    print("|---" * (2 + 2 * len(columns)) + "|")
    for row in ROWS:
        numbers = [figures[row][half] for _, figures in columns for half in HALVES]
        print(f"| {row[0]} | {row[1]} | {' | '.join('-' if n is None else f'{n:.0f}' if row[1] == 'false/MB' else f'{n:.3f}' for n in numbers)} |")


def changes(base, other):
    """The rows that differ: {(class, measure): {half: difference}}. A precision without placeholders counts as 0."""
    differences = {row: {half: (other[row][half] or 0) - (base[row][half] or 0) for half in HALVES} for row in ROWS}
    return {row: halves for row, halves in differences.items() if any(abs(by) > 1e-9 for by in halves.values())}


def losses(difference):
    """What got worse on `dev`, except leaks: (class, amount)."""
    for (kind, measure), halves in difference.items():
        loss = halves["dev"] if measure == "false/MB" else -halves["dev"]
        if measure != "leak" and loss > 1e-9:
            yield "false/MB" if measure == "false/MB" else kind, loss


def ablate(harness, tolerances):
    """The change by each rule, then the largest set of rules that may be off together, cheapest rule first."""
    base, rules = harness.measure(), harness.rules
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        effects = dict(zip(rules, pool.map(lambda rule: changes(base, harness.measure({rule})), rules)))
        idle = [rule for rule in rules if not effects[rule]]
        alone = dict(zip(idle, pool.map(lambda rule: sum(line.count('"type":') for line in harness.output(set(rules) - {rule})), idle)))

    def is_tolerated(difference):
        return all(loss <= tolerances[kind] + 1e-9 for kind, loss in losses(difference))
    off, without = set(), base
    cheapest = sorted(rules, key=lambda rule: sum(loss / (1000 if kind == "false/MB" else 1) for kind, loss in losses(effects[rule])))
    # those without effect are tried at once
    for more in [idle, *([rule] for rule in cheapest)]:
        if off.issuperset(more) or not all(is_tolerated(effects[rule]) for rule in more):
            continue
        tried = harness.measure(off | set(more))
        if is_tolerated(changes(base, tried)):
            off, without = off | set(more), tried
    return {"base": base, "effects": effects, "alone": alone, "off": sorted(off), "without": without}


def show_ablation(result):
    effects, alone, off = result["effects"], result["alone"], result["off"]
    table([("all rules", result["base"]), (f"without {len(off)} rules", result["without"])])
    idle = [rule for rule in effects if not effects[rule]]
    print(f"\n{len(idle)} rules change nothing on any set. Alone they find nothing either, so the sets do not tell what they are for:")
    print("  " + ", ".join(rule for rule in idle if not alone[rule]))
    print("These find something alone (placeholders), which other rules find too:")
    print("  " + ", ".join(f"{rule} ({alone[rule]})" for rule in idle if alone[rule]))
    print(f"\n{len(off)} rules that may be off together (chosen on dev):\n  " + ", ".join(off))
    print("\nWhat changes when one rule is off (dev/held: points, or false placeholders a MB), without leaks:")

    def weight(rule):
        return -sum(abs(halves["dev"]) for (_, measure), halves in effects[rule].items() if measure == "recall")
    for rule in sorted(filter(effects.get, effects), key=weight):
        scaled = {row: [halves[half] * (1 if row[1] == "false/MB" else 100) for half in HALVES] for row, halves in effects[rule].items()}
        parts = [f"{kind} {measure} " + "/".join(f"{by:+.2f}" for by in both) for (kind, measure), both in scaled.items()
                 if measure != "leak" and any(abs(by) >= .01 for by in both)]
        print(f"- {rule}{' (may be off)' if rule in off else ''}: {', '.join(parts)}")


def misses(harness, wanted):
    """Prints JSON lines [set, type, value, text]; `held` is never shown."""
    if wanted not in dict(ROWS) and wanted not in harness.sets:
        raise SystemExit(f"score: no class or set {wanted}")
    for (name, text), found in zip(harness.texts, map(spans_of, harness.output())):
        missed = [label for label in text.labels if harness.class_of(name, label[2]) == wanted and not survival(text.text, label, found)[0]]
        if wanted == name:
            missed += [span for span in found if not any(span[0] < stop and begin < span[1] for begin, stop, _ in text.labels)]
        for start, end, kind in missed if text.half == "dev" else []:
            print(json.dumps([name, kind, text.text[start:end], text.text[max(start - 120, 0):end + 60]], ensure_ascii=False))


def refuses(what, act):
    try:
        act()
    except SystemExit as refusal:
        return print(f"ok: {what}: {refusal}")
    raise SystemExit(f"check: failed: {what} is no error")


def self_check(harness):
    """Wrong sets and rules are refused, the measures are those of `--score`, and without rules nothing is found."""
    stated = harness.sets["stated secrets"]
    beyond = labelled.Text("", stated[0].text, [(0, len(stated[0].text) + 1, "SECRET")])
    refuses("a label outside of its text", lambda: labelled.check("recordings", [*harness.sets["recordings"], beyond]))
    refuses("an empty set", lambda: labelled.check("recordings", []))
    refuses("a set that is smaller than stated", lambda: labelled.check("stated secrets", stated[:300]))
    refuses("another set than before", lambda: labelled.check("stated secrets", [*stated, stated[0]]))
    refuses("a rule that does not exist", lambda: harness.output({"no_such_rule"}))
    refuses("a class that does not exist", lambda: tolerances_of(["secret=0"]))

    placed = [spans_of(line) for line in harness.output()]
    own, rows = collections.Counter(), []
    for (name, text), found in zip(harness.texts, placed):
        labels = [label for label in text.labels if label[2] != "-"]
        spans = [{"start": start, "end": end, "type": kind} for start, end, kind in labels]
        rows.append({"group": name, "near_miss": text.near_miss, "text": text.text, "spans": spans})
        for label in labels:
            is_gone, is_leaked = survival(text.text, label, found)
            own.update(labels=1, found=is_gone, leaked=is_leaked)
        own.update(placeholders=len(found), correct=sum(any(s < end and start < e for s, e, _ in labels) for start, end, _ in found))
        own.update(near_misses=text.near_miss, clean_texts=text.near_miss and not found)
    scored = json.loads(harness.run("--score", harness.write(rows), "--json"))["all"]
    if different := {measure: (count, scored[measure]) for measure, count in own.items() if scored[measure] != count}:
        raise SystemExit(f"check: failed: `redact --score` counts differently (ours, its): {different}")
    print(f"ok: the counts are those of `redact --score`: {dict(own)}")

    base, none = harness.measure(), harness.measure(harness.rules)
    for row in ROWS:
        for half in HALVES if row[1] == "recall" else ():
            if (base[row][half] or 0) < .05 or none[row][half] > .01:
                raise SystemExit(f"check: failed: {row[0]} {half}: recall {base[row][half]}, without rules {none[row][half]}")
    print("ok: all rules together find something of each class; without rules, recall is below .01")


def tolerances_of(given):
    pairs = dict(pair.split("=") for pair in given)
    if unknown := set(pairs) - set(TOLERANCES):
        raise SystemExit(f"score: no class {', '.join(unknown)}; there are {', '.join(TOLERANCES)}")
    return {**TOLERANCES, **{name: float(bound) for name, bound in pairs.items()}}


def plain(value):
    """A result with keys that JSON has."""
    return {" ".join(key) if isinstance(key, tuple) else key: plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def main():
    # some of Faker's providers choose from sets, whose order depends on the hash seed
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=["check", "sets"])
    parser.add_argument("--binary", default=os.environ.get("TOLLGATE_BIN", str(labelled.REPO / "target/debug/tollgate")))
    parser.add_argument("--compare", metavar="OTHER_BINARY")
    parser.add_argument("--off", metavar="RULE,…")
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("--tolerance", nargs="*", default=[], metavar="CLASS=N")
    parser.add_argument("--misses", metavar="CLASS-OR-SET")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    tolerances = tolerances_of(asked.tolerance)
    for binary in filter(None, (asked.binary, asked.compare)):
        if not os.access(binary, os.X_OK):
            raise SystemExit(f"score: no binary {binary}: cargo build, or --binary FILE")
    packages = subprocess.run([labelled.HERE / "install.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    harness = Harness(asked.binary, pathlib.Path(packages))
    if asked.command == "check":
        return self_check(harness)
    if asked.command == "sets":
        for name, texts in harness.sets.items():
            labels, size = sum(kind != "-" for t in texts for *_, kind in t.labels), sum(len(t.text.encode()) for t in texts)
            print(f"| {name} | {len(texts)} | {labels} | {size / 1000:.0f} KB | {labelled.SETS[name].source} |")
        return None
    if asked.misses:
        return misses(harness, asked.misses)
    if asked.ablate:
        result = ablate(harness, tolerances)
        return print(json.dumps(plain(result), indent=1)) if asked.json else show_ablation(result)
    columns = {"all rules": harness.measure()}
    if asked.off:
        columns["without"] = harness.measure(asked.off.split(","))
    if asked.compare:
        columns["other"] = harness.measure(binary=asked.compare)
    return print(json.dumps(plain(columns), indent=1)) if asked.json else table(list(columns.items()))


if __name__ == "__main__":
    sys.exit(main())
