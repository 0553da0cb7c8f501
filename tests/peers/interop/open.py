"""Opens age files by pyrage: lines of {"identity", "file"} (text, base64) in, {"plain"} (base64) or {"error"} out."""
import base64
import json
import sys

import pyrage

for line in sys.stdin:
    asked = json.loads(line)
    try:
        plain = pyrage.decrypt(base64.b64decode(asked["file"]), [pyrage.x25519.Identity.from_str(asked["identity"])])
        print(json.dumps({"plain": base64.b64encode(plain).decode()}), flush=True)
    except Exception as error:  # whatever it is, it did not open
        print(json.dumps({"error": type(error).__name__}), flush=True)
