#!/usr/bin/env python3
"""Writes the dashboards of Honeycomb, SigNoz and Grafana, and the table of panels in README.md, from boards.yaml.

    generate.py            writes the files
    generate.py --check    fails if one is not up to date
"""
import os
import sys
import textwrap

from writers.description import HERE, VENDORS, load, source
from writers.grafana import grafana
from writers.honeycomb import HONEYCOMB_PROVIDER, honeycomb
from writers.signoz import signoz


def readme(boards):
    """README.md with the tables of panels between its two marks."""
    names = {"events": "yes", "metrics": "PromQL", "traces": "TraceQL"}
    lines = []
    for board in boards:
        lines += [f"### {board['title']}", "", "| panel | answers | Honeycomb | SigNoz | Grafana |", "|---|---|---|---|---|"]
        reasons = []
        for panel in board["panels"]:
            cells = []
            for vendor in VENDORS:
                if vendor in panel["not"]:
                    reason = panel["not"][vendor]
                    reasons += [reason] if reason not in reasons else []
                    cells.append(f"no ({reasons.index(reason) + 1})")
                else:
                    cells.append(names[source(panel, vendor)])
            lines.append(f"| {panel['group']}: {panel['title']} | {panel['answers']} | {' | '.join(cells)} |")
        lines += [""] + [line for at, reason in enumerate(reasons, 1) for line in textwrap.wrap(f"{at}. {reason}.", 118, subsequent_indent="   ")] + ([""] if reasons else [])
    with open(os.path.join(HERE, "README.md")) as f:
        text = f.read()
    before, _, rest = text.partition("<!-- panels: begin -->\n")
    _, _, after = rest.partition("<!-- panels: end -->")
    return before + "<!-- panels: begin -->\n\n" + "\n".join(lines) + "\n<!-- panels: end -->" + after


def files(boards):
    """{path below this folder: text}"""
    out = {"honeycomb/provider.tf": HONEYCOMB_PROVIDER}
    for board in boards:
        out[f"honeycomb/{board['id']}.tf"] = honeycomb(board)
        out[f"signoz/{board['id']}.json"] = signoz(board)
        out[f"grafana/{board['id']}.json"] = grafana(board)
    out["README.md"] = readme(boards)
    return out


def stale(wanted, folder=HERE):
    """Files that differ from what the description says, or that it does not have."""
    wrong = []
    for path, text in wanted.items():
        try:
            with open(os.path.join(folder, path)) as f:
                here = f.read()
        except FileNotFoundError:
            here = None
        wrong += [path] if here != text else []
    for vendor in VENDORS:
        if os.path.isdir(os.path.join(folder, vendor)):
            wrong += sorted(f"{vendor}/{name}" for name in os.listdir(os.path.join(folder, vendor)) if f"{vendor}/{name}" not in wanted)
    return wrong


def main():
    wanted = files(load())
    if sys.argv[1:] == ["--check"]:
        if wrong := stale(wanted):
            sys.exit("not what generate.py writes: " + ", ".join(wrong))
        return
    for path, text in wanted.items():
        os.makedirs(os.path.dirname(os.path.join(HERE, path)), exist_ok=True)
        with open(os.path.join(HERE, path), "w") as f:
            f.write(text)


if __name__ == "__main__":
    main()
