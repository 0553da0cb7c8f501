"""The official SDKs send, a sink in another process receives: nothing lost, nothing twice, no content outside, all of it in the vault."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import CACHE, HERE, SIGNALS, Gateway, Sink, Stock, check, figure, finish, outlets, say, texts, until, workdir  # noqa: E402
from leaks import Search, self_check  # noqa: E402

COUNT = 60


def sender(name, gateway, *extra):
    if name == "js-json":
        command = ["node", os.path.join(CACHE, "js", "send.mjs"), "--endpoint", f"http://127.0.0.1:{gateway.http}"]
    elif name.startswith("go-"):
        port = gateway.grpc if name == "go-grpc" else gateway.http
        command = [os.path.join(CACHE, "go", "send"), "--protocol", name[3:], "--endpoint", f"http://127.0.0.1:{port}"]
    else:
        port = gateway.grpc if name == "py-grpc" else gateway.http
        command = [sys.executable, os.path.join(HERE, "sdk", "send.py"), "--protocol", "grpc" if name == "py-grpc" else "http",
                   "--endpoint", f"http://127.0.0.1:{port}"]
    done = subprocess.run(command + ["--prefix", name, "--count", str(COUNT), "--signals", ",".join(SIGNALS), *extra],
                          capture_output=True, text=True, timeout=120)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    check(f"{name}: all accepted", done.returncode == 0 and lines[-1]["ok"] == 3 * COUNT, f"{lines[-1:]} {done.stderr[-300:]}")
    return [line for line in lines if "id" in line]


def main():
    work = workdir("sdk")
    check("the leak search finds every form", not self_check(), self_check())
    sink = Sink(os.path.join(work, "sink"))
    gateway = Gateway(work, outlets(sink)).start()
    sent = []
    senders = [("py-grpc", ["--compression", "gzip"]), ("py-http", []), ("js-json", ["--compression", "gzip"])]
    if "go" in sys.argv[1:]:
        senders += [("go-grpc", []), ("go-http", ["--compression", "gzip"])]
    for name, extra in senders:
        sent += sender(name, gateway, *extra)
    wanted = {line["id"] for line in sent}
    until("everything delivered", lambda: gateway.drained(), 60)

    got = {"grpc": [], "http": []}
    transports = {request["n"]: request["transport"] for request in sink.requests()}
    for row in sink.rows():
        if row["test_id"]:
            got[transports[row["n"]]].append(row["test_id"])
    for transport, ids in got.items():
        check(f"{transport} exporter: every acknowledged item arrived", set(ids) == wanted, f"{len(wanted - set(ids))} missing, {len(set(ids) - wanted)} unknown")
        check(f"{transport} exporter: once", len(ids) == len(set(ids)), f"{len(ids) - len(set(ids))} twice")
    spans = {(row["trace_id"], row["span_id"]) for row in sink.rows() if row["signal"] == "traces"}
    check("trace and span ids are the clients'", {(l["trace_id"], l["span_id"]) for l in sent if l["signal"] == "traces"} == spans)

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
    say("sdk: official Python (gRPC, HTTP/protobuf) and JavaScript (HTTP/JSON) SDKs, and with `go` Go's (gRPC, HTTP/protobuf)")
    main()
