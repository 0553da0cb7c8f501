"""The vault's chain, verified by somebody else's implementation (Go's golang.org/x/mod/sumdb), over kills and restarts.

    chain.py [--kills 5]
"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, CACHE, HERE, Gateway, Sink, check, figure, finish, say, until, workdir  # noqa: E402
from load import request  # noqa: E402


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def go():
    """Builds the other implementation; what can't be built fails."""
    binary = os.path.join(CACHE, "go", "chain")
    env = {**os.environ, "GOPATH": os.path.join(CACHE, "gopath"), "GOCACHE": os.path.join(CACHE, "gocache"), "GOFLAGS": "-modcacherw",
           "GOTOOLCHAIN": "local"}
    done = subprocess.run(["go", "build", "-o", binary, "."], cwd=os.path.join(HERE, "chain"), env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"chain: the Go verifier can't be built: {done.stderr[-800:]}")
    return binary


def fill(gateway, rng, kills):
    """Work, kills at any moment, restarts; at last a clean end."""
    sent = 0
    for turn in range(kills + 1):
        gateway.start()
        for _ in range(rng.randrange(3, 9)):
            ids = [f"{sent + n}" for n in range(4)]
            status = gateway.post("traces", request("traces", ids).SerializeToString())[0]
            assert status == 200, status
            sent += len(ids)
            if rng.random() < 0.3:
                until("an upload", lambda: gateway.metric("tollgate_vault_uploads_total", kind="chain"), 30)
        if turn < kills:
            gateway.kill()
    until("everything in the store", gateway.drained, 60)
    check("a clean end", gateway.stop() == 0)
    return sent


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--kills", type=int, default=5)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    a = p.parse_args()
    say(f"chain: another implementation verifies the vault, {a.kills} kills, seed {a.seed}")
    other, work, rng = go(), workdir("chain"), random.Random(a.seed)
    signing = os.path.join(work, "signing.key")
    code, key, why = run(BINARY, "vault", "keygen", "--signing", "--name", "peer.example", "--output", signing)
    key = key.strip()
    check("a signing key is made", code == 0 and key.startswith("peer.example+"), why)
    sink = Sink(os.path.join(work, "sink"))
    gateway = Gateway(work, {"otlp_http": {"endpoint": f"http://127.0.0.1:{sink.http}"}}, vault={"signing_key": signing}, log="info")
    sent = fill(gateway, rng, a.kills)
    store = ["--store", gateway.store, "--key", key]

    code, report, why = run(BINARY, "vault", "verify", *store, "--identity", gateway.identity, "--json")
    report = json.loads(report or "{}")
    check("tollgate verifies, and finds nothing", code == 0 and not report["findings"], f"{report.get('findings')} {why}")
    check("every fragment was opened", report["counts"]["opened"] == report["counts"]["fragments"] > 0)
    code, counts, why = run(other, gateway.store, key)
    check("Go verifies signatures, checkpoints, links, roots, hashes", code == 0, why)
    counts = json.loads(counts or "{}")
    same = [(counts.get(theirs), report["counts"][ours]) for theirs, ours in
            (("epochs", "epochs"), ("digests", "digests"), ("lines", "leaves"))]
    check("both counted the same", all(theirs == ours for theirs, ours in same), str(same))
    check("each item has a line", report["counts"]["leaves"] >= sent, f"{report['counts']['leaves']} of {sent}")
    for name, value in counts.items():
        figure(name, value)

    leaves = []
    for path in glob.glob(os.path.join(gateway.store, "index", "**", "*.zst"), recursive=True):
        text = subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout
        leaves += [f"{row['writer']}/{row['epoch']}/{row['leaf']:012}" for row in map(json.loads, text.splitlines())]

    anchor_key, anchor = os.path.join(work, "anchor.key"), os.path.join(work, "now.anchor")
    anchors = run(BINARY, "vault", "keygen", "--signing", "--name", "anchor.example", "--output", anchor_key)[1].strip()
    code, _, why = run(BINARY, "vault", "anchor", *store, "--sign-with", anchor_key, "--output", anchor)
    check("an anchor is made", code == 0, why)
    code, _, why = run(BINARY, "vault", "anchor", *store, "--sign-with", signing, "--output", anchor + ".own")
    check("not one that the gateway could sign itself", code != 0 and "the writer's own key" in why and not os.path.exists(anchor + ".own"), why)
    code, _, why = run(BINARY, "vault", "verify", *store, "--anchor", anchor, "--anchor-key", anchors, "--leaf", rng.choice(leaves))
    check("the chain holds what was anchored, and a leaf that was seen", code == 0, why)

    digests = sorted(glob.glob(os.path.join(gateway.store, "chain", "*", "*", "*", "*.json")))
    with open(digests[len(digests) // 2], "r+b") as f:
        text = f.read().replace(b'"tree_size":', b'"tree_size":1', 1)
        f.seek(0)
        f.write(text)
    refused = run(BINARY, "vault", "verify", *store)[0], run(other, gateway.store, key)[0]
    check("both refuse a changed digest", refused == (1, 1), str(refused))
    os.remove(digests[-1])
    code = run(BINARY, "vault", "verify", *store, "--anchor", anchor, "--anchor-key", anchors)[0]
    check("an anchor knows what was cut off", code == 1)
    finish(work)


if __name__ == "__main__":
    main()
