"""Strict mode (`forward: after_put`): nothing goes to an exporter before its content and keys are in the store, over an outage of the store
and a kill; then all of it does."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Gateway, S3Stub, Sink, check, credentials, files, finish, outlet, say, until, workdir  # noqa: E402
from load import request  # noqa: E402

BATCHES, SPANS = 12, 5


def send(gateway, first):
    """Batches of spans and records with content; what was acknowledged."""
    acked = []
    for n in range(first, first + BATCHES):
        for signal in ("traces", "logs"):
            ids = [f"strict-{signal}-{n}-{k}" for k in range(SPANS)]
            acked += ids if gateway.post(signal, request(signal, ids).SerializeToString())[0] == 200 else []
    return acked


def tried(gateway, more):
    """The store refused so many attempts more: time enough to forward, for who would."""
    before = gateway.metric("tollgate_vault_uploads_total", outcome="retry")
    until("attempts that the store refuses", lambda: gateway.metric("tollgate_vault_uploads_total", outcome="retry") >= before + more, 60)


def main():
    say("strict: forward: after_put")
    work = workdir("strict")
    sink, store = Sink(os.path.join(work, "sink")), S3Stub(os.path.join(work, "s3"))
    gateway = Gateway(work, outlet(sink), vault={"store": store.settings, "forward": "after_put"})
    store.tell("status=503")
    gateway.start(env=credentials())
    acked = send(gateway, 0)
    check("clients get their OK while the store is away", len(acked) == 2 * BATCHES * SPANS, len(acked))
    for moment in ("yet", "after a kill, by the next process"):
        tried(gateway, 3)
        check(f"nothing is forwarded {moment}", not sink.ids() and not files("**/*.agev", store.root), len(sink.ids()))
        gateway.kill()
        gateway.start(env=credentials())
    store.tell("ok=1")
    for moment in ("once the store is back", "while it works"):
        # what waits is counted once a second: what comes now may not be counted yet
        until("everything stored and forwarded", lambda: len(sink.ids()) >= len(acked) and gateway.drained(), 90)
        check(f"all of it is forwarded {moment}, once", sorted(sink.ids()) == sorted(acked), f"{len(sink.ids())} of {len(acked)}")
        if moment != "while it works":
            acked += send(gateway, BATCHES)
    check("with its content in the store", files("**/*.agev", store.root))
    check("a clean end", gateway.stop() == 0)
    check("the writer asked for nothing but puts", not store.complaints(), store.complaints()[:300])
    finish(work)


if __name__ == "__main__":
    main()
