"""Index lines in bulk: lines.py STORE ROWS SEED writes index objects as a gateway's vault has them, and digests that sign them; prints
{"sessions": […], "rows": …, "objects": …, "lost": …, "key": …}: sessions to look for, how many calls were lost, and the public key of the digests.

Sessions of 20 lines over four days, 8 model calls and 8 tool calls each, some of them told twice, as clients do; tenants (one with a name that no folder can have) and agents; ids as random as real ones.
"""
import base64
import hashlib
import json
import os
import random
import subprocess
import sys

import zstandard

OBJECT = 2_000
# one session in so many has a call whose line was lost with a worker of a fleet, at this price
LOST, UNCOUNTED = 50, "0.25"
WRITER, EPOCH = "gw-1", "01M7XHXN79F787HG2G83KBPCAE"
DAYS = ("2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20")
TENANTS = ("acme", "initech", "a/b c", "umbrella")
TOOLS = ("Bash", "Read", "Edit", "Grep", "WebFetch", "Task", "mcp__tracker__create")
MODELS = ("claude-sonnet-4-5", "claude-opus-4-1", "gpt-5.2", "gemini-3-pro")


def session(rng, number, day):
    """The lines of a session, without their numbers."""
    tenant, name, trace = rng.choice(TENANTS), f"{rng.getrandbits(128):032x}", f"{rng.getrandbits(128):032x}"
    user, second = f"h-{rng.getrandbits(64):016x}" if rng.random() < 0.05 else f"h-{number % 5000:016x}", rng.randrange(80_000)
    lost, found = number % LOST == 0, number % LOST == LOST // 2
    for n in range(20):
        at = second + 3 * n
        ts = f"{day}T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}.{rng.randrange(10**9):09}Z"
        tool = n % 2 == 1
        line = {
            "v": 1, "leaf": 0, "object_key": f"agent/{name}.agev", "off": n * 3000, "len": 2900, "item": 0, "kind": "payload", "ts": ts, "end_ts": ts,
            "ingest_ts": ts, "signal": "traces", "account": "default", "tenant": tenant, "session_id": name, "run_id": name[:16], "turn": str(n // 2 + 1),
            "iteration": None, "trace_id": trace, "span_id": f"{rng.getrandbits(64):016x}", "parent_span_id": None, "user_key": user,
            "actor": f"agent-{number % 12}", "agent_version": "1.4.2", "feature": None, "issue_id": f"AB-{number % 900}", "commit_sha": None,
            "environment": "prod", "call": "tool" if tool else "model", "action_type": "execute_tool" if tool else "chat",
            "tool_name": rng.choice(TOOLS) if tool else None, "tool_call_id": f"toolu_{rng.getrandbits(96):024x}" if tool else None,
            "arguments_bytes": rng.randrange(4000) if tool else None, "result_bytes": None, "model": None if tool else MODELS[number % 4],
            "provider": None if tool else "anthropic", "response_id": None if tool else f"msg_{rng.getrandbits(96):024x}",
            "status": "timeout" if rng.random() < 0.01 else "ok", "duration_ns": rng.randrange(10**10), "finish": None, "decision": None, "decided_by": None,
            "part": ["tool_args", "tool_result"] if tool else ["input", "output"], "writer": WRITER, "epoch": EPOCH,
            "fragment": f"{rng.getrandbits(128):032x}", "ct_sha256": f"{rng.getrandbits(256):064x}", "key_id": name[:16],
            "commitment": f"{rng.getrandbits(256):064x}", "pt_bytes": rng.randrange(50_000), "repeat": False,
            "tokens_in": None if tool else rng.randrange(100_000), "tokens_out": None if tool else rng.randrange(5000),
            "buckets": None if tool else {"input": 10, "cache_read": rng.randrange(90_000), "cache_write_5m": 0, "cache_write_1h": 0, "output": 500, "reasoning": 0},
            "tier": None, "cost_status": None if tool else "priced", "cost_usd": None if tool else f"0.{rng.randrange(10**6):06}",
            "rates": "2026-11-01", "rate": None, "basis": None,
        }
        waits = {"cost_status": "deferred", "cost_usd": None, "signal": "traces"}
        if n == 14 and (lost or found):  # a worker of a fleet billed the call and may have been lost before it stored its line
            line |= {"cost_status": "not_counted", "cost_usd": None, "uncounted_cost_usd": UNCOUNTED, "source_record": f"tollgate.in/7/{number}"}
            again = line
        elif n == 14:
            line |= {"call": "model_copy", "cost_status": None, "cost_usd": None}
        elif n == 15:  # a log without an id, at the span above that of the call before
            line |= {"signal": "logs", "tool_call_id": None, "tool_name": told["tool_name"], "span_id": told["parent_span_id"], "parent_span_id": None}
        elif n == 16 and found:
            line |= {"call": "model_copy", "cost_status": None, "cost_usd": None}
        elif n == 18 and lost:  # a third worker read the record too
            line = again
        elif n == 18 and found:  # the first worker's line exists
            line = again | {"cost_status": "priced", "cost_usd": UNCOUNTED, "uncounted_cost_usd": None}
        elif n == 18:  # the span of a call whose price its log has
            line |= waits | {"response_id": priced["response_id"]}
        elif n == 19:  # a second span
            line |= {"tool_call_id": told["tool_call_id"], "tool_name": told["tool_name"]}
        elif tool:
            told = line | {"parent_span_id": f"{rng.getrandbits(64):016x}"}
            line = told
        else:
            priced = line
        yield dict(line)


def openssl(*command):
    return subprocess.run(["openssl", *command], check=True, capture_output=True).stdout


class Chain:
    """Digests that a new key signs. Roots and notes are left out: `vault compact` reads which digest names which object."""

    def __init__(self, store):
        self.folder = os.path.join(store, "chain", "default", WRITER, EPOCH)
        os.makedirs(self.folder)
        self.secret = os.path.join(store, "..", "lines.pem")
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.secret)
        public = b"\x01" + openssl("pkey", "-in", self.secret, "-pubout", "-outform", "DER")[-32:]
        self.key = f"lines.example+{hashlib.sha256(b'lines.example' + chr(10).encode() + public).hexdigest()[:8]}+{base64.b64encode(public).decode()}"
        self.n = 0

    def sign(self, name, packed, first, leaves, day):
        at = f"{day}T12:00:00.000000000Z"
        digest = {"v": 1, "account": "default", "writer": WRITER, "epoch": EPOCH, "n": self.n, "start": at, "end": at, "prev": None, "tree_size": first + leaves,
                  "root": "", "index": {"key": name, "version_id": None, "sha256": hashlib.sha256(packed).hexdigest(), "first_leaf": first, "leaves": leaves},
                  "objects": [], "counters": {"acked": 0, "uploaded": 0, "pending": 0, "gaps": 0, "damaged": 0}, "note": ""}
        path = os.path.join(self.folder, f"{self.n:010}.json")
        with open(path, "w") as f:
            json.dump(digest, f)
        openssl("pkeyutl", "-sign", "-inkey", self.secret, "-rawin", "-in", path, "-out", f"{path}.sig")
        self.n += 1


def main():
    store, rows, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng, pack, chain = random.Random(seed), zstandard.ZstdCompressor(level=3), Chain(store)
    leaf, number, known = 0, 0, []
    while leaf < rows:
        day = DAYS[min(len(DAYS) - 1, leaf * len(DAYS) // rows)]
        first, sessions = leaf, []
        for _ in range(OBJECT // 20):
            sessions.append(list(session(rng, number, day)))
            number += 1
        # lines of sessions that run beside each other come mixed
        lines = []
        for group in range(0, len(sessions), 50):
            lines += [line for turn in zip(*sessions[group:group + 50]) for line in turn]
        text = bytearray()
        for line in lines:
            line["leaf"] = leaf
            leaf += 1
            text += json.dumps(line, separators=(",", ":")).encode() + b"\n"
        known.append(sessions[0][0]["session_id"])
        name = f"index/v1/account=default/dt={day}/{WRITER}-{EPOCH}-{first:010}.ndjson.zst"
        packed = pack.compress(bytes(text))
        os.makedirs(os.path.join(store, os.path.dirname(name)), exist_ok=True)
        with open(os.path.join(store, name), "wb") as f:
            f.write(packed)
        chain.sign(name, packed, first, leaf - first, day)
    print(json.dumps({"sessions": known, "rows": leaf, "objects": chain.n, "lost": -(-number // LOST), "key": chain.key}))


if __name__ == "__main__":
    main()
