"""The leak search: does any of these canaries stand in these bytes, in any form that a program may have given them?

Forms: raw; inside base64 (three alignments, both alphabets), hex, percent and JSON escapes (\\uXXXX), UTF-16; and all of these
inside zstd and gzip and zlib frames found anywhere, six levels deep. A canary is ASCII, `CANARY-<place>-<16 hex>`."""
import base64
import os
import re
import zlib

import zstandard

ZSTD, GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08"
ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
HEX = re.compile(rb"[0-9a-fA-F]{16,}")
# what an encoding of the 16 hex digits looks like, and how it is undone; the digits' own codes are 0x30 to 0x39 and 0x61 to 0x66
CODED = (
    ("utf-16", re.compile(rb"(?:[0-9a-fA-F]\x00){15,}[0-9a-fA-F]"), lambda run: run[::2]),
    ("percent", re.compile(rb"(?:%[3-6][0-9a-fA-F]){16,}"), lambda run: bytes.fromhex(run.replace(b"%", b"").decode())),
    ("json escapes", re.compile(rb"(?:\\u00[3-6][0-9a-fA-F]){16,}"), lambda run: bytes.fromhex(run.replace(b"\\u00", b"").decode())),
)
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{22,}")
MAX_INFLATED = 256 << 20
CHUNK = 1 << 16
DEPTH = 6


class Search:
    """Looks for the 16 hex digits of each canary: they are unique, and no program takes them apart."""

    def __init__(self, canaries):
        self.of, self.found = {}, set()
        self.bytes = self.frames = 0
        self.know(canaries)

    def know(self, canaries):
        """Adds canaries that are looked for from now on."""
        self.of.update((canary[-16:].encode(), canary) for canary in canaries)

    def look(self, where, data, depth=0):
        """Looks through bytes; what is found is noted as (canary, where)."""
        self.bytes += len(data)
        for match in HEX.finditer(data):
            self.digits(where, match.group().lower())
        if depth == DEPTH:
            return
        for form, pattern, undo in CODED:
            for match in pattern.finditer(data):
                self.digits(f"{where} > {form}", undo(match.group()).lower())
        for match in BASE64.finditer(data):
            run = match.group().replace(b"-", b"+").replace(b"_", b"/")
            for shift in range(4):
                part = run[shift:]
                inner = base64.b64decode(part[:len(part) // 4 * 4])
                if HEX.search(inner) or ZSTD in inner or GZIP in inner or b"\0" in inner:
                    self.look(f"{where} > base64", inner, depth + 1)
        for name, inner in inflated(data):
            self.frames += 1
            self.look(f"{where} > {name}", inner, depth + 1)

    def digits(self, where, run):
        """A run of hex digits: the canary itself, backwards, or as the hex of its text."""
        for form, text in (("", run), (" > reversed", run[::-1])):
            for at in range(len(text) - 15):
                if canary := self.of.get(text[at:at + 16]):
                    self.found.add((canary, where + form))
        if len(run) >= 32:
            for shift in range(2):
                inner = bytes.fromhex(run[shift:shift + (len(run) - shift) // 2 * 2].decode()).lower()
                for match in HEX.finditer(inner):
                    self.digits(f"{where} > hex", match.group())

    def file(self, path):
        with open(path, "rb") as f:
            self.look(path, f.read())
        # names are text too
        self.look(f"name of {path}", os.fsencode(path))

    def tree(self, root):
        for folder, _, names in os.walk(root):
            for name in names:
                self.file(os.path.join(folder, name))


def inflated(data):
    """Every compressed frame, from wherever one may start: (name, content)."""
    for name, magic, make in (("zstd", ZSTD, lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()),
                              ("gzip", GZIP, lambda: zlib.decompressobj(31))):
        at = data.find(magic)
        while at >= 0:
            if inner := inflate(make(), data, at):
                yield f"{name}@{at}", inner
            at = data.find(magic, at + 1)
    for match in ZLIB.finditer(data):
        inner = inflate(zlib.decompressobj(15), data, match.start())
        if len(inner) > 16:
            yield f"zlib@{match.start()}", inner


def inflate(decompressor, data, at):
    """What can be read of a frame: in pieces, since most starts are none and files are large."""
    out = bytearray()
    try:
        while at < len(data) and len(out) < MAX_INFLATED and not getattr(decompressor, "eof", False):
            out += decompressor.decompress(data[at:at + CHUNK])
            at += CHUNK
    except (zlib.error, zstandard.ZstdError, MemoryError):
        pass
    return bytes(out)


def self_check():
    """Each form is found, or the search proves nothing."""
    import gzip
    canary = "CANARY-place-0123456789abcdef"
    text = f"pre {canary} post"
    coded = {
        "raw": text.encode(), "hex": text.encode().hex().encode(), "utf-16": text.encode("utf-16-le"),
        "base64": b"".join(base64.b64encode(b"x" * n + text.encode()) + b"\n" for n in range(3)),
        "base64 url": base64.urlsafe_b64encode(b"\xff\xfe" + text.encode()),
        "percent": "".join(f"%{b:02X}" for b in text.encode()).encode(), "json": "".join(f"\\u{ord(c):04x}" for c in text).encode(),
        "gzip": b"junk" + gzip.compress(text.encode()), "zlib": b"ju" + zlib.compress(text.encode()),
        "zstd in gzip": gzip.compress(b"head" + zstandard.ZstdCompressor().compress(text.encode()) + b"tail"),
    }
    missed = []
    for form, data in coded.items():
        search = Search([canary])
        search.look(form, data)
        if not search.found:
            missed.append(form)
    clean = Search([canary])
    clean.look("clean", b"CANARY-place-0123456789abcdee " + os.urandom(100_000))
    if clean.found:
        missed.append("found in what is clean")
    return missed
