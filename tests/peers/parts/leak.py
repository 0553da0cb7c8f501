"""The leak search: every canary of every recording is in the vault after opening, and nowhere else, in no encoding.

Everywhere else: what the sink got (headers too), the spool's files, the whole data directory, the log at debug level, /metrics, the page,
the vault as stored (names, sealed objects, index). That the search would find a leak is shown by its own check of forms here, and by
`cargo test --test it leak`, which runs the same way with sealing off.

Error text (the keys `error_text` of config/dialects.yaml, a status message) is content by no rule: it goes on, redacted and capped
(docs/decisions/0001-agent-items-and-content.md). A canary that a server or tool put into an error message may stand there in what the sink got, and nowhere else;
but not if it is an echo: if content of the same request, or of an earlier one of the session, holds it.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import decode  # noqa: E402
from harness import HERE, RECORDINGS, REPO, SIGNALS, Gateway, Sink, Stock, check, figure, files, finish, http, outlets, read_json, say, texts, until, workdir  # noqa: E402
from leaks import Search, self_check  # noqa: E402


def recordings():
    """(folder, its part of the manifest) of each session."""
    for path in files("*/manifest.json", RECORDINGS):
        for name, session in read_json(path)["sessions"].items():
            yield os.path.join(os.path.dirname(path), name), session


def canaries():
    """{canary: [places in traces and logs where it was recorded]}, by what the place's last word names: a key, or a field."""
    out = {}
    for _, session in recordings():
        for one in session["canaries"].values():
            keys = out.setdefault(one["value"], set())
            keys.update(place.split()[-1] for signal, places in one["seen"].items() if signal != "metrics" for place in places)
    return out


def error_text():
    """Keys of error messages, as the product lists them."""
    with open(os.path.join(REPO, "config", "dialects.yaml")) as f:
        listed = re.search(r"^    error_text:\n((?:      - .*\n)+)", f.read(), re.M).group(1)
    return {line.split("- ")[1].strip() for line in listed.splitlines()} | {"status.message"}


def early(may):
    """Canaries in error texts that repeat no content of their request or of an earlier one of the session: no echoes."""
    out = set()
    for folder, session in recordings():
        content = set()
        for file in (one["file"] for one in session["files"] if one["signal"] != "metrics"):
            errors = set()
            for key, text in named_texts(decode.load(os.path.join(folder, file))[1]):
                (errors if key in may else content).update(re.findall(r"CANARY-\w+-[0-9a-f]{16}", text))
            out |= errors - content
    return out


def named_texts(message, key=""):
    """(key or field, text) of everything in a protobuf message."""
    if message.DESCRIPTOR.name == "KeyValue":
        yield "a key", message.key
        yield from named_texts(message.value, message.key)
        return
    for field, value in message.ListFields():
        name = key if message.DESCRIPTOR.name in ("AnyValue", "ArrayValue", "KeyValueList") else f"{'status.' if message.DESCRIPTOR.name == 'Status' else ''}{field.name}"
        for one in value if field.is_repeated else [value]:
            if field.message_type:
                yield from named_texts(one, name)
            elif isinstance(one, (str, bytes)):
                yield name, one if isinstance(one, str) else one.decode("latin-1")


def in_errors(sink, may):
    """Canaries in what the sink got: those outside error text, as (canary, key)."""
    out = set()
    for path in files("*.pb", sink.dir):
        _, request = decode.load(path)
        for key, text in named_texts(request):
            out.update((one, key) for one in re.findall(r"CANARY-\w+-[0-9a-f]{16}", text) if key not in may)
    return out


def replay(gateway):
    count = 0
    for folder, session in recordings():
        gateway.replay(folder, session["files"])
        count += len(session["files"])
    return count


def grab(gateway, work, name):
    """What the admin port shows, as files beside the log."""
    os.makedirs(os.path.join(work, "shown"), exist_ok=True)
    for path in ("/", "/metrics", "/livez", "/readyz", "/nothing-here"):
        _, headers, body = http(f"http://127.0.0.1:{gateway.admin}{path}")
        with open(os.path.join(work, "shown", f"{name}-{path.strip('/') or 'page'}"), "wb") as f:
            f.write(str(headers).encode() + body)


def main():
    missed = self_check()
    check("the leak search finds every form", not missed, missed)
    wrong = [path for path in files("*/manifest.json", RECORDINGS)
             if subprocess.run([sys.executable, os.path.join(HERE, "manifest.py"), "--check", os.path.dirname(path)], capture_output=True).returncode]
    check("each recording is what its manifest says", not wrong, wrong)
    work = workdir("leak")
    wanted = canaries()
    sink = Sink(os.path.join(work, "sink"))
    gateway = Gateway(work, outlets(sink), log="debug").start()
    # first with both back ends away, so that the spool holds everything; then on
    sink.tell("status=503")
    count = replay(gateway)
    search = Search(wanted)
    with gateway.frozen():
        for root in (gateway.data, gateway.store):
            search.tree(root)
    spool = search.bytes
    check("no canary in the spool and data directory while everything waits", not search.found, sorted(search.found)[:5])
    grab(gateway, work, "waiting")
    gateway.kill()
    sink.tell("ok=1")
    gateway.start()
    until("everything delivered", gateway.drained, 60)
    grab(gateway, work, "drained")
    # what is malformed must not be quoted either
    for signal in SIGNALS:
        for file, kind in (("claude-code/json/001-logs.json", "application/json"), ("claude-code/plain/002-traces.pb", "application/x-protobuf")):
            with open(os.path.join(RECORDINGS, file), "rb") as f:
                body = f.read()
            for cut in (len(body) // 3, len(body) // 2, len(body) - 7):
                status, headers, answer = gateway.post(signal, body[:cut], kind)
                search.look(f"answer to a cut body of {file}", str(headers).encode() + answer)
    gateway.ends()

    may = error_text()
    of_errors = early(may) & set(wanted)
    outbound = Search(set(wanted) - of_errors)
    outbound.tree(sink.dir)
    search.found |= outbound.found
    figure("searched sink", outbound.bytes, "bytes, inflated frames included")
    wrong = in_errors(sink, may)
    check("outbound, canaries of error messages stand in error text only", not wrong, sorted(wrong)[:10])
    for root in (gateway.data, gateway.store, gateway.log_path, os.path.join(work, "shown")):
        before = search.bytes
        search.tree(root) if os.path.isdir(root) else search.file(root)
        figure(f"searched {os.path.basename(root)}", search.bytes - before, "bytes, inflated frames included")
    outside = {}
    for canary, where in search.found:
        outside.setdefault(canary, []).append(where)
    check("no canary anywhere outside the opened vault", not outside, "".join(f"\n       {c}: {w[0]} (+{len(w) - 1})" for c, w in sorted(outside.items())[:20]))

    documents = Stock(gateway.store, gateway.identity).documents()
    stored = "\n".join(text for _, document in documents for text in texts(document))
    content = {canary for canary, keys in wanted.items() if keys - may}
    lost = sorted(canary for canary in content if canary not in stored)
    check("every canary of traces and logs is in the vault, opened with stock age and zstd", not lost, f"{len(lost)}: {lost[:20]}")
    figure("requests replayed", count)
    figure("canaries sought", len(wanted))
    figure("of them in traces or logs, as content", len(content))
    figure("of them in error text that repeats nothing", len(of_errors))
    figure("fragments opened", len(documents))
    figure("bytes of spool and store searched while waiting", spool)
    figure("frames inflated", search.frames)
    finish(work)


if __name__ == "__main__":
    say("leak: every recording through a gateway, then the search")
    main()
