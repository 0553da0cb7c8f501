"""The official SDKs send, a sink in another process receives: nothing lost, nothing twice, no content outside, all of it in the vault.

    sdk.py [go] [java]    more SDKs, besides Python and JavaScript

Java's also sends through its own batch processors: the program ends while the gateway does not answer, and
the gateway restarts while it sends.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import senders  # noqa: E402
from harness import SIGNALS, Gateway, Sink, Stock, check, figure, finish, outlets, say, texts, until, workdir  # noqa: E402
from leaks import Search, self_check  # noqa: E402

COUNT = 60
GZIP = ("py-grpc", "js-http", "go-http", "java-http")
# a gateway that does not answer for so long is slower than any fsync, and faster than every SDK's own deadline
PAUSE = 3.0


def sender(sdk, gateway):
    compression = ["--compression", "gzip"] if sdk in GZIP else []
    # the programs of the other two send spans alone
    every = ["--signals", ",".join(SIGNALS)] if sdk.startswith(("py", "js")) else []
    done, last, lines = senders.send(sdk, gateway, "--prefix", sdk, "--count", str(COUNT), *every, *compression)
    check(f"{sdk}: all accepted", done.returncode == 0 and last["ok"] == (3 if every else 1) * COUNT, f"{last} {done.stderr[-300:]}")
    return lines


def flushed(sdk, gateway):
    """The SDK's providers shut down while the gateway does not answer; the lines of what they say was sent."""
    gateway.process.send_signal(signal.SIGSTOP)
    threading.Timer(PAUSE, gateway.process.send_signal, [signal.SIGCONT]).start()
    began = time.monotonic()
    done, last, lines = senders.send(sdk, gateway, "--prefix", f"{sdk}-flush", "--count", str(COUNT), "--shutdown")
    took = time.monotonic() - began
    check(f"{sdk}: a shutdown waits for a gateway that does not answer for {PAUSE:.0f} s, and sends everything",
          done.returncode == 0 and last["ok"] == COUNT and PAUSE < took < PAUSE + 15, f"{last} {took:.1f} s {done.stderr[-300:]}")
    return lines


def across_a_restart(sdk, gateway):
    """The gateway is restarted while the SDK sends; the lines of what was acknowledged."""
    count = 5 * COUNT
    program = subprocess.Popen(senders.command(sdk, gateway, "--prefix", f"{sdk}-restart", "--count", str(count), "--batch", "2"),
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = [json.loads(program.stdout.readline()) for _ in range(COUNT)]
    ended = gateway.stop()
    gateway.start()
    rest = [json.loads(line) for line in program.communicate(timeout=120)[0].splitlines()]
    lines += [line for line in rest if "id" in line]
    check(f"{sdk}: the gateway restarts while it sends; it sends on afterwards", ended == 0 and rest[-1]["sent"] == count
          and lines[-1]["id"].endswith(f"{count - 1:06}"), (ended, rest[-1]))
    figure(f"{sdk}: items acknowledged across a restart, of {count}", len(lines))
    return lines


def main():
    work = workdir("sdk")
    check("the leak search finds every form", not self_check(), self_check())
    sink = Sink(os.path.join(work, "sink"))
    gateway = Gateway(work, outlets(sink)).start()
    sent, more = [], sys.argv[1:]
    for sdk in senders.sdks(["py", "js", *more]):
        sent += sender(sdk, gateway)
    for sdk in senders.sdks([name for name in more if name == "java"]):
        sent += flushed(sdk, gateway)
        sent += across_a_restart(sdk, gateway)
    wanted = {line["id"] for line in sent}
    until("everything delivered", lambda: gateway.drained(), 60)

    got = {"grpc": [], "http": []}
    for row in sink.rows():
        if row["test_id"]:
            got[row["transport"]].append(row["test_id"])
    for transport, ids in got.items():
        # an SDK that gave up during the restart may have given up an item that was committed
        unknown = [one for one in set(ids) - wanted if "-restart-" not in one]
        check(f"{transport} exporter: every acknowledged item arrived", wanted <= set(ids) and not unknown, f"{len(wanted - set(ids))} missing, {unknown[:3]} unknown")
        check(f"{transport} exporter: once", len(ids) == len(set(ids)), f"{len(ids) - len(set(ids))} twice")
    spans = {(row["trace_id"], row["span_id"]) for row in sink.rows() if row["signal"] == "traces"}
    mine = {(line["trace_id"], line["span_id"]) for line in sent if line["signal"] == "traces"}
    check("trace and span ids are the clients'", mine <= spans and (mine == spans or "java" in more))

    search = Search({line["canary"] for line in sent})
    search.tree(sink.dir)
    check("no canary in what the sink got", not search.found, sorted(search.found)[:5])
    figure("sink bytes searched", search.bytes)

    check("a clean end", gateway.stop() == 0)
    documents = Stock(gateway.store, gateway.identity).documents()
    stored = "\n".join(text for _, document in documents for text in texts(document))
    content = [line for line in sent if line["signal"] != "metrics"]
    lost = [line["canary"] for line in content if line["canary"] not in stored]
    check("content of every span and log is in the vault, opened with stock age and zstd", not lost, f"{len(lost)} of {len(content)}: {lost[:3]}")
    figure("items", len(wanted))
    figure("fragments opened", len(documents))
    finish(work)


if __name__ == "__main__":
    say("sdk: official Python (gRPC, HTTP/protobuf) and JavaScript (HTTP/JSON) SDKs, and by name Go's and Java's (gRPC, HTTP/protobuf)")
    main()
