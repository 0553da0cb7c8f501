"""One marker of 32 characters in every prompt of a run, and the search for it in any form: raw, base64 (three alignments, both alphabets),
hex (both cases), UTF-16 (both orders), JSON escapes, percent, reversed; and all of these in zstd and gzip frames found anywhere."""
import base64
import os
import random
import string

from leaks import inflated


def made(rng=random.SystemRandom()):
    """A marker: letters and digits that stand in no other text."""
    return "Mk" + "".join(rng.choice(string.ascii_letters + string.digits) for _ in range(30))


class Marker:
    def __init__(self, text):
        raw = text.encode()
        self.forms = {"raw": raw, "reversed": raw[::-1], "lower": raw.lower(), "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(),
                      "utf-16": text.encode("utf-16-le"), "utf-16 be": text.encode("utf-16-be"), "percent": "".join(f"%{b:02X}" for b in raw).encode(),
                      "json escapes": "".join(f"\\u{b:04x}" for b in raw).encode(), "hex of utf-16": text.encode("utf-16-le").hex().encode()}
        for shift in range(3):
            # without the characters that depend on what stands beside it
            inner = base64.b64encode(b"\0" * shift + raw)[(0, 2, 3)[shift]:]
            inner = inner.rstrip(b"=")[:-1]
            self.forms[f"base64 +{shift}"] = inner
            self.forms[f"base64 url +{shift}"] = inner.replace(b"+", b"-").replace(b"/", b"_")
        self.found, self.bytes, self.frames = [], 0, 0

    def look(self, where, data, depth=0):
        self.bytes += len(data)
        for form, text in self.forms.items():
            if text in data:
                self.found.append(f"{where}: {form}")
        if depth < 4:
            for name, inner in inflated(data):
                self.frames += 1
                self.look(f"{where} > {name}", inner, depth + 1)

    def tree(self, root):
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                self.look(f"name of {path}", os.fsencode(path))
                try:
                    with open(path, "rb") as f:
                        self.look(path, f.read())
                except FileNotFoundError:
                    pass  # the spool drops what is done


def self_check():
    """Forms that are not found, or the search proves nothing."""
    import gzip

    import zstandard
    text = made()
    beside = f"pre {text} post"
    coded = {
        "raw": beside.encode(), "hex": beside.encode().hex().encode(), "HEX": beside.encode().hex().upper().encode(),
        "utf-16": beside.encode("utf-16-le"), "utf-16 be": beside.encode("utf-16-be"), "percent": "".join(f"%{b:02X}" for b in beside.encode()).encode(),
        "json": "".join(f"\\u{ord(c):04x}" for c in beside).encode(), "gzip": b"junk" + gzip.compress(beside.encode()),
        "zstd in gzip": gzip.compress(b"head" + zstandard.ZstdCompressor().compress(beside.encode()) + b"tail"),
        **{f"base64 +{n}": base64.b64encode(b"x" * n + beside.encode()) for n in range(3)},
        **{f"base64 url +{n}": base64.urlsafe_b64encode(b"\xff" * n + beside.encode()) for n in range(3)},
    }
    missed = []
    for form, data in coded.items():
        search = Marker(text)
        search.look(form, data)
        if not search.found:
            missed.append(form)
    clean = Marker(text)
    clean.look("clean", made().encode() + os.urandom(100_000))
    return missed + ["found in what is clean"] * bool(clean.found)
