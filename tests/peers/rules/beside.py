#!/usr/bin/env python3
"""The redaction rules beside gitleaks and Presidio, on the sets of sets.py: recall of both halves, false placeholders a
MB of code and docs without private data, and MB a second of processor time (start included), on one machine in one run.

  beside.py [--binary FILE] [--spacy]     FILE: a release build of tollgate; --spacy: Presidio with its model as well

A label is found if none of its letters and digits is outside of what a tool reports. Presidio is given the labelled
texts and a tenth of the others, because it is slow. gitleaks' own examples are among the secrets, and Presidio's among
the sentences.
"""
import argparse
import collections
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import score  # noqa: E402
import sets as labelled  # noqa: E402

PRESIDIO = """
import json, sys
from presidio_analyzer import AnalyzerEngine
sys.path.insert(0, sys.argv[1])
import serve
deployed = serve.deployed()
engine = deployed.engine(sys.argv[2]) if len(sys.argv) > 2 else AnalyzerEngine(nlp_engine=serve.Blank(), supported_languages=["en"])
for line in sys.stdin:
    found = engine.analyze(json.loads(line), language="en", score_threshold=0.4)
    print(json.dumps([[one.start, one.end] for one in found]))
"""


def timed(command, **options):
    """Standard output of a command, and the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"beside: {command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def of_tollgate(binary, texts, folder):
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"id": str(at), "text": text.text}) + "\n" for at, text in enumerate(texts)))
    out, seconds = timed([binary, "redact", "--input", path, "--output", "-"])
    return [[span[:2] for span in score.spans_of(line)] for line in out.splitlines()], seconds


def of_gitleaks(packages, texts, folder):
    binary, source, report = folder / "gitleaks", folder / "source", folder / "report.json"
    subprocess.run(["go", "build", "-o", binary, "."], cwd=packages / "gitleaks", check=True)
    source.mkdir()
    for at, text in enumerate(texts):
        (source / f"{at}.txt").write_text(text.text)
    scan = [binary, "dir", "--no-banner", "--exit-code", "0", "--report-path", report]
    timed([*scan, source])
    found_at = json.loads(report.read_text())
    # as few files, because it starts anew with each
    joined = folder / "joined"
    joined.mkdir()
    for at in range(0, len(texts), 500):
        (joined / f"{at}.txt").write_text("\n\n".join(text.text for text in texts[at:at + 500]))
    _, seconds = timed([*scan, joined])
    found = [[] for _ in texts]
    for one in found_at:
        at, secret = int(pathlib.Path(one["File"]).stem), one["Secret"]
        text, start = texts[at].text, -1
        while (start := text.find(secret, start + 1)) >= 0:
            found[at].append((start, start + len(secret)))
    return found, seconds


def of_presidio(model, texts):
    here = labelled.REPO / "tests/peers/presidio"
    venv = subprocess.run([here / "install.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    lines = "".join(json.dumps(text.text) + "\n" for text in texts)
    out, seconds = timed([f"{venv}/bin/python", "-c", PRESIDIO, here, *model], input=lines)
    return [json.loads(line) for line in out.splitlines()], seconds


def figures(harness, rows, found, seconds):
    counts, size = collections.Counter(), 0
    for (name, text), spans in zip(rows, found, strict=True):
        size += len(text.text.encode())
        placed = [(start, end, "") for start, end in spans]
        for label in text.labels:
            if kind := harness.class_of(name, label[2]):
                counts[kind] += 1
                counts[kind, "found"] += score.survival(text.text, label, placed)[0]
        if name in labelled.CORPORA:
            counts["bytes"] += len(text.text.encode())
            counts["false"] += len(placed)
    recalls = [f"{counts[kind, 'found'] / counts[kind]:.2f}" for kind in ("structured", "secrets", "names", "addresses", "ids")]
    return [*recalls, f"{counts['false'] / counts['bytes'] * 1e6:.0f}", f"{size / 1e6 / seconds:.2f}"]


def main():
    # see score.py
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.environ.get("TOLLGATE_BIN", str(labelled.REPO / "target/release/tollgate")))
    parser.add_argument("--spacy", action="store_true", help="Presidio with its model, too")
    asked = parser.parse_args()
    packages = pathlib.Path(subprocess.run([labelled.HERE / "install.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    harness = score.Harness(asked.binary, packages)
    rows = harness.texts
    few = [row for at, row in enumerate(rows) if row[1].labels or at % 10 == 0]
    print("| tool | structured | secrets | names | addresses | ids | false a MB | MB/s |\n|---" + "|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as folder:
        folder, texts = pathlib.Path(folder), [text for _, text in rows]
        tools = [("tollgate", rows, lambda: of_tollgate(asked.binary, texts, folder)), ("gitleaks", rows, lambda: of_gitleaks(packages, texts, folder))]
        for name, model in [("Presidio, its patterns", []), *([("Presidio, en_core_web_sm", ["en_core_web_sm"])] if asked.spacy else [])]:
            tools.append((name, few, lambda model=model: of_presidio(model, [text for _, text in few])))
        for name, of_rows, run in tools:
            print(f"| {name} | {' | '.join(figures(harness, of_rows, *run()))} |", flush=True)


if __name__ == "__main__":
    main()
