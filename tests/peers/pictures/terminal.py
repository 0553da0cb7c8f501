"""Output of a command on a terminal, as SVG: each piece of one colour stands at its column, whatever font the reader has."""
import fcntl
import os
import pty
import re
import struct
import termios
from html import escape

from harness import start

COLUMNS = 100
# of a character at 14 px; the pieces are stretched to it
CHARACTER, LINE, PAD, BAR = 8.4, 19, 20, 34
# by SGR parameters, as in crates/onboarding/src/demo/story.rs
CLASSES = {"0": "", "1": "title", "2": "dim", "33": "private", "32": "safe", "36": "link", "1;31": "wrong"}
STYLE = """
    text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d5dce6; white-space: pre; }
    .title { font-weight: 700; fill: #fff; } .dim { fill: #8b98a9; } .link { fill: #6cc7dd; }
    .private { fill: #f0b35a; } .safe { fill: #62d196; } .wrong { font-weight: 700; fill: #ff8f86; }
"""


def run(command, env, cwd):
    """The exit code, and the text that the command printed on a terminal of COLUMNS columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    process = start(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd)
    os.close(theirs)
    printed = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:
            break  # Linux's way to say that nobody writes any more
        if not more:
            break
        printed += more
    os.close(ours)
    return process.wait(30), printed.decode().replace("\r\n", "\n")


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def pieces(line):
    """(column, class, text) of a line. A piece has no two spaces in a row, because only its ends are placed."""
    column, kind = 0, ""
    for at, part in enumerate(re.split(r"\x1b\[([0-9;]*)m", line)):
        if at % 2:
            kind = CLASSES[part.removeprefix("0;") or "0"]
            continue
        for found in re.finditer(r"\S+(?: \S+)*", part):
            yield column + found.start(), kind, found.group()
        column += len(part)


def svg(lines, title):
    """The lines in a window of their own colours, so that it's legible on any page."""
    width, height = round(COLUMNS * CHARACTER + 2 * PAD), BAR + len(lines) * LINE + PAD
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
           f"  <title>{escape(title)}</title>", f"  <style>{STYLE}  </style>",
           f'  <rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10" fill="#12171f" stroke="#303a48"/>']
    out += [f'  <circle cx="{PAD + 18 * at}" cy="18" r="5" fill="#303a48"/>' for at in range(3)]
    for row, line in enumerate(lines):
        y = BAR + (row + 1) * LINE - 5
        for column, kind, text in pieces(line):
            kind = f' class="{kind}"' if kind else ""
            length = f"{len(text) * CHARACTER:.1f}"
            out.append(f'  <text x="{PAD + column * CHARACTER:.1f}" y="{y}" textLength="{length}" lengthAdjust="spacingAndGlyphs"{kind}>'
                       f"{escape(text, quote=False)}</text>")
    return "\n".join(out + ["</svg>", ""])
