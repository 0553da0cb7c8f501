"""A marker in every prompt, any number of them, through crashes, an outage and bad input: it is in the opened vault and nowhere else.

    canary.py [--prompts 20000] [--seed N]

Everywhere else: spool and data directory (while S3 is away, and at the end), log at debug level, what the exporters sent, S3 as stored, metrics,
page, answers, core files (the limit is lifted, the process killed by SIGABRT). `tests/nightly.sh canary` adds up rounds to a million.
"""
import argparse
import glob
import http.client
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import HERE, Gateway, Sink, Stock, check, figure, finish, http as get, outlets, say, start, texts, until, workdir  # noqa: E402
from load import request  # noqa: E402
from marker import Marker, made, self_check  # noqa: E402

BATCH = 50
# of these widths in the template, another value in each request
TRACE, RUN = b"TRACE-TRACE-TRAC", b"RUN-RUN-RUN-RUN-"


class Prompts:
    """Threads that send prompts with the marker; the same bytes again until they are taken."""

    def __init__(self, port, marker, threads=3):
        self.port, self.sent, self.taken, self.broken, self.wanted = port, 0, 0, 0, 0
        self.lock, self.running, self.stopped = threading.Lock(), True, False
        self.templates = [self.template(signal, marker, n) for n, signal in enumerate(("traces", "logs", "traces"))]
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(threads)]
        for thread in self.threads:
            thread.start()

    def template(self, signal, marker, n):
        made = request(signal, [f"{RUN.decode()}-{n}-{item}" for item in range(BATCH)], sessions=5)
        for group in (made.resource_spans if signal == "traces" else made.resource_logs):
            for scope in (group.scope_spans if signal == "traces" else group.scope_logs):
                for item in (scope.spans if signal == "traces" else scope.log_records):
                    item.trace_id = TRACE
                    for attribute in item.attributes:
                        if attribute.key == "gen_ai.input.messages":
                            attribute.value.string_value = json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"Say {marker} again, please"}]}])
        return signal, made.SerializeToString()

    def run(self, n):
        connection, again = None, None
        while not self.stopped:
            with self.lock:
                go = self.running and (again or self.sent < self.wanted)
                if go and not again:
                    self.sent += BATCH
            if not go:
                time.sleep(0.01)
                continue
            if not again:
                signal_, body = self.templates[n % len(self.templates)]
                again = signal_, body.replace(TRACE, os.urandom(16)).replace(RUN, os.urandom(8).hex().encode())
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("POST", f"/v1/{again[0]}", again[1], {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    again = None
                    with self.lock:
                        self.taken += BATCH
                else:
                    time.sleep(0.1)
            except (OSError, http.client.HTTPException):
                connection = None
                self.broken += 1
                time.sleep(0.05)

    def until(self, count, seconds=3000):
        self.wanted = count
        until(f"{count} prompts sent", lambda: self.sent >= count, seconds, 0.05)


class Store:
    """s3_stub.py as a process."""

    def __init__(self, root):
        self.root = root
        os.makedirs(root)
        self.process = start([sys.executable, os.path.join(HERE, "s3_stub.py"), "--dir", root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.port = json.loads(self.process.stdout.readline())["port"]

    def tell(self, query):
        assert get(f"http://127.0.0.1:{self.port}/control?{query}", timeout=10)[0] == 200


def malformed(gateway, marker, search):
    """Bad input with the marker in it: nothing may quote it."""
    body = request("traces", ["bad"]).SerializeToString()
    text = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": marker, "attributes": [{"key": marker, "value": {"stringValue": marker}}]}]}]}]}).encode()
    for data, kind in ((body[:20] + marker.encode() + body[20:], "application/x-protobuf"), (text[:-9], "application/json"), (marker.encode(), "application/json"),
                       (text.replace(b"spans", marker.encode(), 1)[:-4], "application/json")):
        status, headers, answer = gateway.post("traces", data, kind)
        search.look("an answer to bad input", str(headers).encode() + answer)
    _, headers, answer = get(f"http://127.0.0.1:{gateway.http}/v1/{marker}", b"", {"content-type": marker})
    search.look("an answer to a bad path", str(headers).encode() + answer)


def cores(work):
    with open("/proc/sys/kernel/core_pattern") as f:
        pattern = f.read().strip()
    if pattern.startswith("|"):
        return None
    folder = os.path.dirname(pattern) or os.path.join(work, "data")
    return glob.glob(os.path.join(folder, "*core*"))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--prompts", type=int, default=20_000)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    a = p.parse_args()
    say(f"canary: {a.prompts} prompts, seed {a.seed}")
    missed = self_check()
    check("the search finds every form", not missed, missed)
    rng = random.Random(a.seed)
    marker = made(rng)
    work, search = workdir("canary"), Marker(marker)
    # whoever wants core files gets none
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
    sink, store = Sink(os.path.join(work, "sink")), Store(os.path.join(work, "s3"))
    s3 = {"bucket": "audit-logs", "key_bucket": "audit-keys", "prefix": "p", "region": "us-east-1", "force_path_style": True,
          "endpoint": f"http://127.0.0.1:{store.port}", "object_lock": {"mode": "compliance", "retention": "100d"}}
    env = {**os.environ, "AWS_ACCESS_KEY_ID": "peer", "AWS_SECRET_ACCESS_KEY": "peer", "AWS_EC2_METADATA_DISABLED": "true"}
    gateway = Gateway(work, outlets(sink), vault={"store": {"s3": s3}}, log="debug")
    gateway.start(env=env)
    before = set(cores(work) or ())
    prompts = Prompts(gateway.http, marker)
    prompts.until(a.prompts // 4)
    # half of all while nobody takes anything: it all lies in the spool
    store.tell("status=503")
    sink.tell("status=503")
    prompts.until(a.prompts * 5 // 8)
    search.tree(gateway.data)
    held = search.bytes
    check("nothing in spool and data directory while everything waits there", not search.found, search.found[:3])
    gateway.kill()
    gateway.start(env=env)
    prompts.until(a.prompts * 3 // 4)
    gateway.process.send_signal(signal.SIGABRT)
    gateway.process.wait()
    gateway.start(env=env)
    store.tell("ok=1")
    sink.tell("ok=1")
    malformed(gateway, marker, search)
    prompts.until(a.prompts)
    until("every prompt accepted", lambda: prompts.taken == prompts.sent, 600, 0.1)
    until("everything delivered and uploaded", gateway.drained, 900, 0.2)
    for path in ("/", "/metrics", "/readyz"):
        _, headers, body = get(f"http://127.0.0.1:{gateway.admin}{path}")
        search.look(f"admin {path}", str(headers).encode() + body)
    prompts.stopped = True
    check("a clean end", gateway.stop() == 0)

    dumped = cores(work)
    check("no core file, though the limit allows them", dumped is None or not set(dumped) - before, dumped)
    search.tree(work)
    check("the marker is nowhere outside the opened vault: spool, data, log, core, S3, outbound, in any form", not search.found, search.found[:5])
    stock = Stock(os.path.join(store.root, "audit-logs"), gateway.identity, os.path.join(store.root, "audit-keys"))
    fragments = list(stock.fragments().values())
    chosen = rng.sample(fragments, min(40, len(fragments)))
    opened = ["\n".join(texts(stock.open(row))) for row in chosen]
    check("and it is in the vault, opened with stock tools", opened and all(marker in text for text in opened), len(opened))
    lines = sum(bool(row.get("object_key")) for row in stock.rows())
    check("a line for each prompt at least", lines >= a.prompts, f"{lines} of {a.prompts}")
    figure("prompts", a.prompts)
    figure("index lines with content", lines)
    figure("bytes searched while waiting", held)
    figure("bytes searched in all, inflated frames included", search.bytes)
    figure("frames inflated", search.frames)
    finish(work)


if __name__ == "__main__":
    main()
