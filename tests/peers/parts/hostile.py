"""Bad input over sockets, and bad starts: a clear refusal or correct handling; the process lives, neighbours arrive, nothing is quoted."""
import gzip
import http.client
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time

import zstandard

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, PEERS)
from harness import BINARY, RECORDINGS, Gateway, Sink, check, figure, finish, outlets, say, until, workdir  # noqa: E402
from leaks import Search  # noqa: E402
from load import add, request  # noqa: E402

PB, JSON = "application/x-protobuf", "application/json"
SECRET = "CANARY-hostile-5ec2e75ec2e75ec2"
REFUSED = (400, 408, 411, 413, 414, 415, 405, 404, 431, 422, 501)


class Trial:
    """A gateway under fire. After each trial it must be alive and must deliver a neighbour."""

    def __init__(self, gateway, sink):
        self.gateway, self.sink, self.neighbours, self.statuses = gateway, sink, [], {}
        self.answers = Search([SECRET])

    def neighbour(self):
        one = f"neighbour-{len(self.neighbours)}"
        status, _, _ = self.gateway.post("traces", request("traces", [one]).SerializeToString())
        self.neighbours.append(one)
        return status == 200

    def post(self, what, signal, body, kind=PB, allowed=REFUSED, **headers):
        """Sends; the status must be one of `allowed`."""
        try:
            status, about, answer = self.gateway.post(signal, body, kind, **headers)
            self.answers.look(what, str(about).encode() + answer)
        except (OSError, http.client.HTTPException) as error:
            status = type(error).__name__
        self.statuses.setdefault(what, set()).add(status)
        return status in allowed

    def trial(self, what, holds):
        alive = self.gateway.alive() and self.neighbour()
        check(what, holds and alive, f"{sorted(map(str, self.statuses.get(what, ())))} {'' if alive else 'DEAD'}")


def raw(port, *pieces, pause=0.0, half=False, wait=20):
    """Sends pieces over a socket and reads to the end; what came back, or None for a hang."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as s:
        out = b""
        try:
            for piece in pieces:
                s.sendall(piece)
                time.sleep(pause)
            if half:
                s.shutdown(socket.SHUT_WR)
            while chunk := s.recv(65536):
                out += chunk
        except TimeoutError:
            return None
        except OSError:
            pass
        return out


def recorded():
    with open(os.path.join(RECORDINGS, "claude-code", "plain", "002-traces.pb"), "rb") as f:
        pb = f.read()
    with open(os.path.join(RECORDINGS, "claude-code", "json", "002-traces.json"), "rb") as f:
        return pb, f.read()


def malformed(t, rng):
    pb, text = recorded()
    holds = all([t.post("truncated protobuf", "traces", pb[:rng.randrange(1, len(pb))], allowed=(400, 200)) for _ in range(150)])
    t.trial("truncated protobuf", holds)
    flipped = True
    for _ in range(300):
        body = bytearray(pb)
        for _ in range(rng.randrange(1, 6)):
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        flipped &= t.post("bit-flipped protobuf", "traces", bytes(body), allowed=(400, 200))
    t.trial("bit-flipped protobuf", flipped)
    t.trial("random bytes", all([t.post("random bytes", s, rng.randbytes(rng.randrange(1, 4000)), allowed=(400, 200)) for s in ("traces", "logs", "metrics") * 20]))
    t.trial("truncated JSON", all([t.post("truncated JSON", "traces", text[:rng.randrange(1, len(text) - 1)], JSON, (400,)) for _ in range(100)]))
    broken = True
    for _ in range(200):
        body = bytearray(text)
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        broken &= t.post("bit-flipped JSON", "traces", bytes(body), JSON, (400, 200))
    t.trial("bit-flipped JSON", broken)


def nested(depth):
    return '{"arrayValue":{"values":[' * depth + '{"stringValue":"' + SECRET + '"}' + "]}}" * depth


def attribute(value, key="k", more=""):
    return ('{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"n",'
            f'"attributes":[{{"key":"{key}","value":{value}}}]{more}}}]}}]}}]}}').encode()


def json_trials(t):
    t.trial("JSON 100,000 deep", t.post("JSON 100,000 deep", "traces", b"[" * 100_000, JSON, (400,)))
    t.trial("AnyValue 10,000 deep, JSON", t.post("AnyValue 10,000 deep, JSON", "traces", attribute(nested(10_000)), JSON, (400,)))
    deep = b"\x0a\x03abc"
    for _ in range(5000):
        inner = b"\x0a" + varint(len(deep)) + deep
        deep = b"\x2a" + varint(len(inner)) + inner
    t.trial("AnyValue 5,000 deep, protobuf", t.post("AnyValue 5,000 deep, protobuf", "traces", span_with(b"\x0a\x01k\x12" + varint(len(deep)) + deep), allowed=(400, 200)))
    t.trial("JSON with a 20 MB text", t.post("JSON with a 20 MB text", "traces", attribute('{"stringValue":"' + "x" * 20_000_000 + '"}'), JSON, (200, 413)))
    t.trial("duplicate JSON keys", t.post("duplicate JSON keys", "traces", attribute('{"stringValue":"a","stringValue":"' + SECRET + '"}'), JSON, (400, 200)))
    for what, value in (("a number for a text", '{"stringValue":5}'), ("two values in one", '{"stringValue":"a","intValue":"1"}'), ("an integer too large", '{"intValue":"99999999999999999999"}'),
                        ("bad base64", '{"bytesValue":"%%%"}'), ("a lone surrogate", '{"stringValue":"\\ud800"}')):
        t.trial(f"JSON: {what}", t.post(f"JSON: {what}", "traces", attribute(value), JSON, (400, 200)))
    t.trial("invalid UTF-8 in JSON", t.post("invalid UTF-8 in JSON", "traces", attribute('{"stringValue":"X"}').replace(b"X", b"\xff\xfe" + SECRET.encode()), JSON, (400,)))
    bad = SECRET.encode() + b"\xff\xfe"
    value = b"\x0a" + varint(len(bad)) + bad
    t.trial("invalid UTF-8 in protobuf", t.post("invalid UTF-8 in protobuf", "traces", span_with(b"\x0a\x01k\x12" + varint(len(value)) + value), allowed=(400, 200)))


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def wrap(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def span_with(pair):
    span = wrap(1, bytes(range(1, 17))) + wrap(2, bytes(range(1, 9))) + wrap(5, b"n") + wrap(9, pair)
    return wrap(1, wrap(2, wrap(2, span)))


def bombs(t):
    zeros = bytes(1 << 20)
    bomb = gzip.compress(zeros * 200, 9)
    before = t.gateway.metric("otelcol_process_memory_rss")
    t.trial("gzip bomb of 200 MiB", t.post("gzip bomb of 200 MiB", "traces", bomb, content_encoding="gzip"))
    nested_bomb = gzip.compress(gzip.compress(zeros * 200, 9), 9)
    t.trial("gzip in gzip", t.post("gzip in gzip", "traces", nested_bomb, content_encoding="gzip"))
    t.trial("zstd bomb of 1 GiB", t.post("zstd bomb of 1 GiB", "traces", zstandard.ZstdCompressor(level=19).compress(zeros * 1024), content_encoding="zstd"))
    huge = struct.pack("<I", 0xFD2FB528) + b"\xe0" + struct.pack("<Q", 1 << 40) + b"\x01\x00\x00"
    t.trial("zstd frame that says 1 TiB", t.post("zstd frame that says 1 TiB", "traces", huge, content_encoding="zstd"))
    for what, body in (("cut gzip", bomb[:1000]), ("not gzip", b"hello " * 20), ("gzip with a wrong checksum", bytes(bytearray(gzip.compress(b"\x0a\x00" * 50)[:-8]) + b"\0" * 8))):
        t.trial(what, t.post(what, "traces", body, content_encoding="gzip"))
    t.trial("unknown encoding", t.post("unknown encoding", "traces", b"x", content_encoding="br"))
    figure("memory before and after the bombs", f"{before / 2**20:.0f}, {t.gateway.metric('otelcol_process_memory_rss') / 2**20:.0f}", "MiB")


def protocols(t):
    pb, text = recorded()
    g = t.gateway
    _, headers, _ = g.post("traces", pb, "application/grpc")
    t.trial("gRPC to the HTTP port is told so", headers.get("grpc-status") not in (None, "0"))
    for kind in ("text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data"):
        t.trial(f"content type {kind or 'none'}", t.post(f"content type {kind or 'none'}", "traces", pb, kind, (415, 400)))
    t.trial("JSON said to be protobuf", t.post("JSON said to be protobuf", "traces", text, PB, (400,)))
    t.trial("protobuf said to be JSON", t.post("protobuf said to be JSON", "traces", pb, JSON, (400,)))
    t.trial("logs to the traces path", t.post("logs to the traces path", "traces", request("logs", ["x"]).SerializeToString(), allowed=(400, 200)))
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
    t.trial("HTTP/2 preface to the HTTP port", raw(g.http, preface, half=True) is not None)
    answer = raw(g.grpc, b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}", half=True)
    t.trial("HTTP/1.1 to the gRPC port", answer is not None)
    t.trial("TLS hello to both ports", all(raw(port, bytes.fromhex("16030100c8010000c40303") + os.urandom(190), half=True) is not None for port in (g.http, g.grpc)))
    t.trial("noise to both ports", all(raw(port, os.urandom(3000), half=True) is not None for port in (g.http, g.grpc)))
    grpc_trials(t)
    for what, head in (("no length", b""), ("a length that is no number", b"content-length: ten\r\n"), ("two lengths", b"content-length: 5\r\ncontent-length: 6\r\n"),
                       ("a length of 8 EiB", b"content-length: 9223372036854775807\r\n"), ("100 KiB of headers", b"x: " + b"y" * 100_000 + b"\r\n")):
        out = raw(g.http, b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n" + head + b"\r\n", half=True)
        code = int(out.split()[1]) if out and out.startswith(b"HTTP/1.1 ") else None
        t.statuses[f"HTTP: {what}"] = {code}
        t.trial(f"HTTP: {what}", out is not None and (code is None or code in REFUSED or (code == 200 and what in ("no length", "100 KiB of headers"))))


def grpc_trials(t):
    import grpc
    channel = grpc.insecure_channel(f"127.0.0.1:{t.gateway.grpc}", options=[("grpc.max_send_message_length", 1 << 30)])
    pb, text = recorded()

    def call(what, method, body, wanted, **options):
        try:
            channel.unary_unary(method)(body, timeout=20, **options)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
            t.answers.look(what, (error.details() or "").encode())
            if any(key == "grpc-status-details-bin" and b"RetryInfo" in value for key, value in error.trailing_metadata() or ()):
                code += " with RetryInfo"
        t.statuses.setdefault(what, set()).add(code)
        t.trial(what, code in wanted)

    export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    call("gRPC: unknown method", "/nobody.Service/Nothing", b"", ("UNIMPLEMENTED",))
    call("gRPC: broken protobuf", export, pb[:1000], ("INVALID_ARGUMENT",))
    call("gRPC: JSON", export, text, ("INVALID_ARGUMENT",))
    # final by OTLP's table, as it comes without RetryInfo; OUT_OF_RANGE would not be
    too_large = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    call("gRPC: 65 MiB", export, b"\x7a" + varint(65 << 20) + bytes(65 << 20), too_large)
    call("gRPC: a gzip bomb", export, b"\x7a" + varint(200 << 20) + bytes(200 << 20), too_large, compression=grpc.Compression.Gzip)
    channel.close()


def slow(t):
    g = t.gateway
    head = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100000\r\n\r\n"
    held = [socket.create_connection(("127.0.0.1", g.http)) for _ in range(200)]
    for n, s in enumerate(held):
        s.sendall(head[:40] if n % 2 else head + b"\x0a")
    began = time.monotonic()
    t.trial("200 slow clients do not hold up others", t.post("200 slow clients do not hold up others", "traces", request("traces", ["beside"]).SerializeToString(), allowed=(200,)))
    figure("answer beside 200 slow clients", round(time.monotonic() - began, 3), "s")
    for s in held:
        s.close()
    for n in range(200):
        with socket.create_connection(("127.0.0.1", g.http if n % 2 else g.grpc)) as s:
            s.sendall(head + b"\x0a" * (n * 100))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    t.trial("200 disconnects in the middle of a body", True)
    silent = socket.create_connection(("127.0.0.1", g.http), timeout=30)
    began = time.monotonic()
    try:
        closed = silent.recv(1000)
        check("a silent connection is closed", True)
        figure("closed after", round(time.monotonic() - began, 1), f"s, {closed[:40]!r}")
    except TimeoutError:
        check("a silent connection is closed", False, "still open after 30 s")
    until("room given back", lambda: g.metric("tollgate_in_flight_bytes") == 0, 20)
    check("bytes of broken requests are given back", True)


def large(t):
    def spans(build):
        out = request("traces", [f"large-{len(t.neighbours)}-{build.__name__}"])
        build(out.resource_spans[0].scope_spans[0].spans[0])
        return out.SerializeToString()

    def mebibyte(span):
        add(span.attributes, big=SECRET + "x" * (1 << 20), **{"gen_ai.output.messages": SECRET + "y" * (1 << 20)})

    def many(span):
        for n in range(10_000):
            add(span.attributes, **{f"attribute.{n}": f"value {n} {SECRET}"})

    def twice(span):
        for n in range(50):
            add(span.attributes, **{"gen_ai.input.messages": f"{n} {SECRET}"})

    def ancient(span):
        span.start_time_unix_nano, span.end_time_unix_nano = 0, 1

    def future(span):
        span.start_time_unix_nano, span.end_time_unix_nano = (1 << 64) - 1, 0

    def long_ids(span):
        span.trace_id, span.span_id, span.parent_span_id = bytes(500), b"", bytes(1)

    def names(span):
        span.name = "x" * 100_000
        add(span.attributes, **{"k" * 100_000: "v", "": "empty", "\0": "nul", "gen_ai.conversation.id": "../../../etc/passwd\n" + "s" * 5000})

    for what, build in (("1 MiB attributes", mebibyte), ("10,000 attributes", many), ("one key 50 times", twice), ("times at 0", ancient),
                        ("times at the end of 64 bits", future), ("ids of wrong lengths", long_ids), ("huge names, odd keys, a session like a path", names)):
        began = time.monotonic()
        t.trial(what, t.post(what, "traces", spans(build), allowed=(200, 400)))
        took = time.monotonic() - began
        if took > 2:
            figure(f"{what} took", round(took, 1), "s")
    figure("answers", json.dumps({what: sorted(map(str, statuses)) for what, statuses in t.statuses.items() if what.split()[0] in ("1", "10,000", "one", "times", "ids", "huge")}))


def starts(work):
    """Each: one clear line, the right exit code."""
    def config(name, change=None):
        folder = os.path.join(work, name)
        return Gateway(folder, {"debug": {}}, change=change)

    def run(gateway, env=None, text=None):
        if text is not None:
            with open(gateway.config_path, "w") as f:
                f.write(text)
        done = subprocess.run([BINARY, "run", "--config", gateway.config_path], capture_output=True, text=True, timeout=30, env=env, cwd=gateway.data)
        return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("error") or '"level":"ERROR"' in line], done.stderr

    def bad(what, gateway, code, *words, lines=1):
        got, errors, text = run(gateway)
        holds = got == code and len(errors) == lines and all(word in text for word in words) and "panicked" not in text
        check(f"start: {what}: exit {code} and one clear line", holds, f"exit {got}: {text[-600:]}")
        if holds:
            say(f"         {errors[0][:200]}")

    def set_in(*path):
        *way, key, value = path

        def change(c):
            for step in way:
                c = c[step]
            c[key] = value
        return change

    bad("unset variable", config("unset", set_in("exporters", "debug", "verbosity", "${env:TOLLGATE_TEST_NOT_SET}")), 78, "TOLLGATE_TEST_NOT_SET")
    bad("unknown key", config("unknown", set_in("processors", "vault", "recipient", "x")), 78, "recipient", "recipients")
    bad("missing key file", config("keyfile", set_in("spool", "keys", ["${file:/nowhere/spool.key}"])), 78, "/nowhere/spool.key")
    bad("missing configuration", missing_config(config("missing")), 78, "tollgate.yaml")
    busy = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{busy.getsockname()[1]}"
    bad("port in use", config("port", lambda c: c["receivers"]["otlp"]["protocols"]["grpc"].update(endpoint=address)), 1, address)
    bad("admin port in use", config("admin", set_in("extensions", "admin", "endpoint", address)), 1, address)
    busy.close()
    plain = os.path.join(work, "plain-file")
    open(plain, "w").close()
    bad("spool under a regular file", config("spool", set_in("spool", "directory", os.path.join(plain, "spool"))), 78, "plain-file")
    away = {"otlp": {"endpoint": "http://127.0.0.1:9"}}
    sealed = config("lost-key", lambda c: (c.update(exporters=away), [p.update(exporters=["otlp"]) for p in c["service"]["pipelines"].values()]))
    sealed.start()
    sealed.post("traces", request("traces", ["x"]).SerializeToString())
    sealed.stop()
    os.remove(os.path.join(sealed.data, "spool.key"))
    bad("the spool's key is lost", sealed, 78, "key")
    twice = config("twice").start()
    second = config("second", set_in("spool", "directory", twice.config["spool"]["directory"]))
    bad("a spool that another one uses", second, 1, "spool")
    twice.stop()
    dead = config("dead", lambda c: (c.update(exporters={"otlp": {"endpoint": "http://127.0.0.1:9"}, "otlp_http": {"endpoint": "http://no-such-host.invalid:4318"}}),
                                     [p.update(exporters=["otlp", "otlp_http"]) for p in c["service"]["pipelines"].values()]))
    dead.start()
    check("start: back ends down: starts, is ready, accepts", dead.post("traces", request("traces", ["x"]).SerializeToString())[0] == 200)
    check("start: back ends down: stops within its deadline", dead.stop(40) == 0)


def missing_config(gateway):
    os.remove(gateway.config_path)
    return gateway


def main():
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    say(f"  seed {seed}")
    rng = random.Random(seed)
    work = workdir("hostile")
    sink = Sink(os.path.join(work, "sink"))
    gateway = Gateway(os.path.join(work, "main"), outlets(sink)).start()
    t = Trial(gateway, sink)
    for part in (lambda: malformed(t, rng), lambda: json_trials(t), lambda: bombs(t), lambda: protocols(t), lambda: slow(t), lambda: large(t)):
        part()
    until("delivered", gateway.drained, 60)
    figure("memory at the end", round(gateway.metric("otelcol_process_memory_rss") / 2**20), "MiB")
    check("no panic was counted", gateway.metric("tollgate_panics_total") == 0)
    check("a clean end", gateway.stop() == 0)
    got = set(sink.ids())
    check("every neighbour arrived", set(t.neighbours) <= got, f"{len(set(t.neighbours) - got)} missing")
    figure("neighbours", len(t.neighbours))
    inside = Search([SECRET, "CANARY-x-0af7651916cd43dd"])
    inside.file(gateway.log_path)
    inside.tree(sink.dir)
    outside = {where for canary, where in inside.found if canary == SECRET}
    check("nothing private in the log or outbound", not outside, sorted(outside)[:5])
    check("nothing private in answers", not t.answers.found, sorted(t.answers.found)[:5])
    check("no panic in the log", "panick" not in gateway.log())
    starts(work)
    finish(work)


if __name__ == "__main__":
    say("hostile: bad input and bad starts")
    main()
