"""The way of a request as SVG. Steps, their order and their texts are those that `tollgate print-config` and `tollgate components` print;
the spool and what follows it are in docs/concepts/batch.md."""
import re
import textwrap
from html import escape

WIDTH, LEFT, RIGHT, GUTTER = 848, 96, 836, 84
ROW, NAME = 34, 104
STYLE = """
    svg { --back: #fff; --frame: #f4f6f9; --card: #fff; --line: #c9d1dc; --ink: #17202d; --dim: #566274; --accent: #0b57d0; --safe: #0a6b3d; }
    @media (prefers-color-scheme: dark) {
      svg { --back: #0e131a; --frame: #141b24; --card: #1c2530; --line: #3a4656; --ink: #e6ebf2; --dim: #9dabbc; --accent: #8ab4f8; --safe: #5ed39a; }
    }
    .back { fill: var(--back); } .frame { fill: var(--frame); stroke: var(--line); } .card { fill: var(--card); stroke: var(--line); }
    .rule { stroke: var(--line); } .way { fill: none; stroke: var(--accent); stroke-width: 1.6; } .head { fill: var(--accent); }
    .ok { fill: none; stroke: var(--safe); stroke-width: 1.6; stroke-dasharray: 5 4; } .okhead { fill: var(--safe); }
    text { font: 13px system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif; fill: var(--ink); }
    .name { font: 600 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; } .strong { font-weight: 600; }
    .dim { fill: var(--dim); } .small { font-size: 12px; } .oktext { fill: var(--safe); font-size: 12px; } .end { text-anchor: end; }
"""


def summaries(components):
    """{(section, name): summary} of `tollgate components`."""
    found, section = {}, ""
    for line in components.splitlines():
        if line.endswith(":"):
            section = line[:-1]
        else:
            name, _, text = line.strip().partition(" ")
            found[section, name] = text.strip()
    return found


def pipelines(config):
    """{signal: (receivers, processors)} of a printed configuration."""
    lines = re.findall(r"^    (\w+): \{ receivers: \[(.*?)\], processors: \[(.*?)\], exporters", config, re.M)
    return {signal: (receivers.split(", "), steps.split(", ")) for signal, receivers, steps in lines}


class Drawing:
    def __init__(self):
        self.parts, self.y = [], 14

    def rect(self, x, y, width, height, kind):
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>')

    def text(self, x, y, text, kind=""):
        self.parts.append(f'<text x="{x}" y="{y}"' + (f' class="{kind}"' if kind else "") + f">{escape(text, quote=False)}</text>")

    def box(self, x, width, name, text, kind="strong", aside=NAME):
        """A box at the present height: a name, and what it is or does."""
        self.rect(x, self.y, width, ROW, "card")
        self.text(x + 16, self.y + 22, name, kind)
        self.text(x + aside, self.y + 22, text, "dim")

    def down(self, x, length, label="", below=0):
        """An arrow from the present height; the label stands right of it."""
        end = self.y + length
        self.parts.append(f'<path class="way" d="M{x} {self.y}V{end - 7}"/>')
        self.parts.append(f'<path class="head" d="M{x} {end}l-5 -8h10z"/>')
        if label:
            self.text(x + 12, self.y + length / 2 + 4 + below, label, "dim small")


def svg(config, components):
    texts, signals = summaries(components), pipelines(config)
    receiver = signals["traces"][0][0]
    steps = signals["traces"][1]
    full = [signal for signal, (_, own) in signals.items() if own == steps]
    # signals that skip the first steps
    short = {signal: own for signal, (_, own) in signals.items() if own != steps}
    assert all(own == steps[-len(own):] for own in short.values()), short
    ports = re.findall(r"^      (grpc|http):\n        endpoint: [\d.]+:(\d+)", config, re.M)
    draw = Drawing()
    # signals that skip steps pass right of them
    left, right = LEFT + 20, RIGHT - 20 - (GUTTER if short else 0)
    inner, middle = right - left, (left + right) // 2

    draw.box(LEFT, RIGHT - LEFT, "Clients", "coding agents, LLM services, SDKs, Collectors", aside=NAME + 20)
    asked = draw.y + ROW // 2
    draw.y += ROW
    draw.down(middle, 60, "OTLP: " + ", ".join(f"{'gRPC' if name == 'grpc' else 'HTTP'} on port {port}" for name, port in ports), -15)
    frame = draw.y + 28
    draw.y += 60
    draw.box(left, inner, receiver, texts["receivers", receiver], "name")
    entry = draw.y + ROW // 2
    draw.y += ROW
    draw.down(middle, 30, ", ".join(full))
    draw.y += 30

    rows = [(step, textwrap.wrap(texts["processors", step.split("/")[0]], 70, break_on_hyphens=False)) for step in steps]
    top = draw.y
    heights = [14 + 18 * len(lines) for _, lines in rows]
    draw.rect(left, top, inner, sum(heights), "card")
    join = 0
    for (step, lines), height in zip(rows, heights):
        if draw.y > top:
            draw.parts.append(f'<path class="rule" d="M{left} {draw.y}H{right}"/>')
        draw.text(left + 16, draw.y + 20, step, "name")
        for at, line in enumerate(lines):
            draw.text(left + NAME, draw.y + 20 + 18 * at, line, "dim")
        if any(own[0] == step for own in short.values()):
            join = draw.y + height / 2
        draw.y += height
    if join:
        x = right + 22
        draw.parts.append(f'<path class="way" d="M{right} {entry}H{x - 8}q8 0 8 8V{join - 8}q0 8 -8 8H{right + 7}"/>')
        draw.parts.append(f'<path class="head" d="M{right} {join}l8 -5v10z"/>')
        draw.text(x + 8, (entry + join) / 2, ", ".join(short), "dim small")

    draw.down(middle, 30)
    draw.y += 30
    right = RIGHT - 20
    draw.box(left, right - left, "spool", "an encrypted queue on disk: telemetry to send, sealed content for the vault")
    kept = draw.y + ROW // 2
    draw.y += ROW
    draw.parts.append(f'<path class="ok" d="M{left} {kept}H80q-8 0 -8 -8V{asked + 8}q0 -8 8 -8H{LEFT - 7}"/>')
    draw.parts.append(f'<path class="okhead" d="M{LEFT} {asked}l-8 -5v10z"/>')
    for at, line in enumerate(["OK, once", "synced", "to disk"]):
        draw.text(64, (kept + asked) / 2 + 16 * at, line, "oktext end")

    half = (right - left - 20) // 2
    ways = [left + half // 2, right - half // 2]
    for x in ways:
        draw.down(x, 30)
    draw.y += 30
    draw.box(left, half, "exporters", ", ".join(name for section, name in texts if section == "exporters"))
    draw.box(right - half, half, "uploader", "keys, then objects, then the index")
    draw.y += ROW
    end = draw.y + 16
    draw.down(ways[0], 60, "OTLP with references and placeholders", 12)
    draw.down(ways[1], 60, "content is encrypted", 12)
    draw.y += 60
    outer = (RIGHT - LEFT - 20) // 2
    draw.box(LEFT, outer, "Back ends", "Honeycomb, SigNoz, any other", aside=NAME + 20)
    draw.box(RIGHT - outer, outer, "Vault", "S3 or a directory, opened by auditors", aside=70)
    height = draw.y + ROW + 14

    text = "The way of a request through tollgate"
    shell = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
             f"<title>{text}</title>", f"<style>{STYLE}</style>", f'<rect class="back" width="{WIDTH}" height="{height}" rx="10"/>',
             f'<rect class="frame" x="{LEFT}" y="{frame}" width="{RIGHT - LEFT}" height="{end - frame}" rx="10"/>',
             f'<text class="strong" x="{left}" y="{frame + 18}">tollgate</text>']
    return "\n".join(shell + draw.parts + ["</svg>", ""])
