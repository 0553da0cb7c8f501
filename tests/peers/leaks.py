"""The leak search: does any of these canaries stand in these bytes, in any form that a program may have given them?

Forms: raw; inside base64 (three alignments, both alphabets), hex, percent and JSON escapes (\\uXXXX), UTF-16; and all of these
inside zstd and gzip and zlib frames found anywhere, six levels deep. A canary is ASCII, `CANARY-<place>-<16 hex>`.

    leaks.py CANARIES-FILE PATH…      prints what was found, exit 1 if anything was
"""
import base64
import os
import re
import sys
import zlib

try:
    import zstandard
except ImportError:  # the caller then has no frames to look into; run.sh installs it
    zstandard = None

ZSTD, GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08"
ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
MAX_INFLATED = 256 << 20
DEPTH = 6


def needles(canary):
    """Byte patterns that betray a canary: (form, pattern). Its tail of 16 hex digits alone is unique, so that is what is sought."""
    tail = canary[-16:]
    raw = tail.encode()
    yield "raw", raw
    yield "upper", raw.upper()
    yield "hex", raw.hex().encode()
    yield "hex upper", raw.hex().upper().encode()
    yield "utf-16 le", tail.encode("utf-16-le")
    yield "utf-16 be", tail.encode("utf-16-be")
    yield "percent", "".join(f"%{b:02x}" for b in raw).encode()
    yield "percent upper", "".join(f"%{b:02X}" for b in raw).encode()
    yield "json escapes", "".join(f"\\u{b:04x}" for b in raw).encode()
    yield "reversed", raw[::-1]
    for shift in range(3):
        # what the neighbours decide is cut off at both ends
        coded = base64.b64encode(b"\0" * shift + raw)
        inner = coded[-(-shift * 8 // 6):(shift + 16) * 8 // 6]
        yield f"base64 +{shift}", inner


def patterns(canaries):
    """One expression for all, and which canary each pattern is of."""
    of = {}
    for canary in canaries:
        for form, pattern in needles(canary):
            of[pattern] = (canary, form)
    return of


class Search:
    def __init__(self, canaries):
        self.of = patterns(canaries)
        self.found = set()
        self.bytes = self.frames = 0
        self.starts = re.compile(b"|".join(re.escape(p) for p in sorted(self.of, key=len, reverse=True))) if self.of else None

    def look(self, where, data, depth=0):
        """Looks through bytes; what is found is noted as (canary, form, where)."""
        self.bytes += len(data)
        if self.starts:
            for match in self.starts.finditer(data):
                canary, form = self.of[match.group()]
                self.found.add((canary, form, where))
        if depth < DEPTH:
            for name, inner in self.inflated(data):
                self.frames += 1
                self.look(f"{where} > {name}", inner, depth + 1)

    def inflated(self, data):
        """Every compressed frame, from wherever one may start."""
        at = data.find(ZSTD)
        while at >= 0:
            inner = unzstd(data[at:])
            if inner:
                yield f"zstd@{at}", inner
            at = data.find(ZSTD, at + 4)
        at = data.find(GZIP)
        while at >= 0:
            inner = unzlib(data[at:], 31)
            if inner:
                yield f"gzip@{at}", inner
            at = data.find(GZIP, at + 3)
        for match in ZLIB.finditer(data):
            inner = unzlib(data[match.start():], 15)
            if inner and len(inner) > 8:
                yield f"zlib@{match.start()}", inner

    def file(self, path):
        with open(path, "rb") as f:
            self.look(path, f.read())
        # names are text too
        self.look(f"name of {path}", os.fsencode(path))

    def tree(self, root):
        for folder, _, files in os.walk(root):
            for name in files:
                self.file(os.path.join(folder, name))


def unzstd(data):
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
        return reader.decompress(data)[:MAX_INFLATED]
    except (zstandard.ZstdError, MemoryError):
        return b""


def unzlib(data, bits):
    try:
        return zlib.decompressobj(bits).decompress(data, MAX_INFLATED)
    except zlib.error:
        return b""


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


def main():
    if missed := self_check():
        sys.exit(f"the leak search does not work: {missed}")
    with open(sys.argv[1]) as f:
        search = Search(f.read().split())
    for path in sys.argv[2:]:
        search.tree(path) if os.path.isdir(path) else search.file(path)
    for row in sorted(search.found):
        print(*row, sep="\t")
    sys.exit(bool(search.found))


if __name__ == "__main__":
    main()
