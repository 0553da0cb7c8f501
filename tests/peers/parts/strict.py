"""Strict mode (`forward: after_put`): nothing goes to an exporter before its content and keys are in the store, over an outage of the store
and a kill; then all of it does.

    strict.py [--forward committed]     with `committed` the first check fails: it can
"""
import argparse
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import HERE, Gateway, Sink, check, figure, finish, http, say, start, until, workdir  # noqa: E402
from load import request  # noqa: E402

BATCHES, SPANS = 12, 5
ENV = {**os.environ, "AWS_ACCESS_KEY_ID": "peer", "AWS_SECRET_ACCESS_KEY": "peer", "AWS_EC2_METADATA_DISABLED": "true"}


def send(gateway, first):
    """Batches of spans and records with content; what was acknowledged."""
    acked = []
    for n in range(first, first + BATCHES):
        for signal in ("traces", "logs"):
            ids = [f"strict-{signal}-{n}-{k}" for k in range(SPANS)]
            status = gateway.post(signal, request(signal, ids).SerializeToString())[0]
            acked += ids if status == 200 else []
    return acked


def tried(gateway, more):
    """The store refused so many attempts more: time enough to forward, for who would."""
    before = gateway.metric("tollgate_vault_uploads_total", outcome="retry")
    until("attempts that the store refuses", lambda: gateway.metric("tollgate_vault_uploads_total", outcome="retry") >= before + more, 60)


def fragments(folder):
    return sum(name.endswith(".agev") for _, _, names in os.walk(folder) for name in names)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--forward", default="after_put")
    forward = options.parse_args().forward
    say(f"strict: forward: {forward}")
    work = workdir("strict")
    sink, folder = Sink(os.path.join(work, "sink")), os.path.join(work, "s3")
    os.makedirs(folder)
    stub = start([sys.executable, os.path.join(HERE, "s3_stub.py"), "--dir", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                 stderr=open(os.path.join(work, "s3.log"), "wb"))
    port = json.loads(stub.stdout.readline())["port"]

    def tell(query):
        check(f"the store: {query}", http(f"http://127.0.0.1:{port}/control?{query}")[0] == 200)

    s3 = {"bucket": "vault", "key_bucket": "keys", "region": "eu-west-1", "endpoint": f"http://127.0.0.1:{port}", "force_path_style": True,
          "object_lock": {"mode": "compliance", "retention": "100d"}}
    gateway = Gateway(work, {"otlp_http": {"endpoint": f"http://127.0.0.1:{sink.http}"}}, vault={"store": {"s3": s3}, "forward": forward})
    tell("status=503")
    gateway.start(env=ENV)
    acked = send(gateway, 0)
    check("clients get their OK while the store is away", len(acked) == 2 * BATCHES * SPANS, len(acked))
    tried(gateway, 3)
    check("nothing was forwarded", not sink.ids(), len(sink.ids()))
    check("nothing is in the store", fragments(folder) == 0)
    gateway.kill()
    gateway.start(env=ENV)
    tried(gateway, 3)
    check("nor after a kill, by the next process", not sink.ids(), len(sink.ids()))
    tell("ok=1")
    until("everything stored and forwarded", lambda: len(sink.ids()) >= len(acked) and gateway.drained(), 90)
    got = sink.ids()
    check("then all of it was, once", sorted(got) == sorted(acked), f"{len(got)} of {len(acked)}")
    check("with its content in the store", fragments(folder) > 0)
    acked += send(gateway, BATCHES)
    # what waits is counted once a second: what comes now may not be counted yet
    until("everything stored and forwarded", lambda: len(sink.ids()) >= len(acked) and gateway.drained(), 90)
    check("and what comes while the store works", sorted(sink.ids()) == sorted(acked), f"{len(sink.ids())} of {len(acked)}")
    check("a clean end", gateway.stop() == 0)
    with open(os.path.join(work, "s3.log")) as f:
        asked = f.read()
    check("the writer asked for nothing but puts", "asked:" not in asked, asked[:300])
    figure("items held", len(acked) // 2)
    finish(work)


if __name__ == "__main__":
    main()
