"""What is in a vault opens with other people's age: Go's (Debian) and TypeScript's; keys and fragments, to the same bytes."""
import base64
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import CACHE, HERE, Gateway, Sink, Stock, check, figure, files, finish, outlet, read, say, texts, tool, workdir  # noqa: E402


class Age:
    """Go's age, from Debian."""

    name = "Go's age"

    def open(self, identity, sealed):
        """The plaintext; None if it does not open."""
        with tempfile.NamedTemporaryFile("w") as key:
            key.write(identity + "\n")
            key.flush()
            done = subprocess.run(["age", "-d", "-i", key.name], input=sealed, capture_output=True)
        return done.stdout if done.returncode == 0 else None


class Program:
    """A process that answers a line with a line."""

    def __init__(self, name, *command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def open(self, identity, sealed):
        self.process.stdin.write(json.dumps({"identity": identity, "file": base64.b64encode(sealed).decode()}) + "\n")
        self.process.stdin.flush()
        plain = json.loads(self.process.stdout.readline()).get("plain")
        return None if plain is None else base64.b64decode(plain)


def secret(text):
    """The key of an identity file."""
    return next(line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-"))


def main():
    subprocess.run([os.path.join(HERE, "npm_install.sh"), os.path.join(HERE, "interop")], check=True, stdout=subprocess.DEVNULL)
    work = workdir("interop")
    gateway = Gateway(work, outlet(Sink(os.path.join(work, "sink"))), log="info").start()
    for client in ("claude-code", "semconv", "openinference"):
        gateway.replay_client(client)
    gateway.ends()
    others = [Age(), Program("age-encryption (TypeScript)", "node", os.path.join(CACHE, "interop", "open.mjs"))]
    auditor = secret(read(gateway.identity))
    keys = {os.path.basename(path)[:-4]: read(path, "rb") for path in files("keys/**/*.age", gateway.store)}
    fragments = []
    for row in Stock(gateway.store, gateway.identity).fragments().values():
        with open(os.path.join(gateway.store, row["object_key"]), "rb") as f:
            f.seek(row["off"])
            fragments.append((row, f.read(row["len"])))
    check("there are keys and fragments", len(keys) >= 5 and len(fragments) >= 20, f"{len(keys)}, {len(fragments)}")
    # a process each: some of them only
    sample = fragments[:: max(1, len(fragments) // 40)]
    stranger = secret(tool("age-keygen").decode())
    seen = {}
    for other in others:
        sessions = {key: other.open(auditor, sealed) for key, sealed in keys.items()}
        check(f"{other.name}: every session key opens with the auditor's", all(sessions.values()), str([k for k, v in sessions.items() if not v][:3]))
        secrets = {key: secret(plain.decode()) for key, plain in sessions.items() if plain}
        chosen = sample if isinstance(other, Age) else fragments
        plains = {row["fragment"]: other.open(secrets[row["key_id"]], sealed) for row, sealed in chosen}
        check(f"{other.name}: {len(plains)} fragments open", all(plains.values()))
        seen[other.name] = plains
        row, sealed = fragments[0]
        check(f"{other.name}: a fragment that was cut off does not open", other.open(secrets[row["key_id"]], sealed[:-5]) is None)
        changed = bytearray(sealed)
        changed[-1] ^= 1
        check(f"{other.name}: nor one with a bit changed", other.open(secrets[row["key_id"]], bytes(changed)) is None)
        check(f"{other.name}: nor any key with a stranger's identity", other.open(stranger, next(iter(keys.values()))) is None)
    full = seen["age-encryption (TypeScript)"]
    check("all of them give the same bytes", all(plains[one] == full[one] for plains in seen.values() for one in plains))
    documents = [json.loads(tool("zstd", "-dc", data=plain)) for plain in full.values()]
    check("which are documents", all(document["items"] for document in documents))
    figure("keys, fragments, texts in them", f"{len(keys)}, {len(fragments)}, {sum(1 for document in documents for _ in texts(document))}")
    finish(work)


if __name__ == "__main__":
    say("interop: the vault opens with other people's age")
    main()
