"""Bad input over sockets: a clear refusal or correct handling; the process lives, neighbours arrive, nothing is quoted."""
import gzip
import http.client
import os
import random
import socket
import struct
import sys

import zstandard

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, PEERS)
from harness import RECORDINGS, Gateway, Sink, check, figure, finish, outlets, say, until, workdir  # noqa: E402
from leaks import Search  # noqa: E402
from load import request  # noqa: E402

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


def raw(port, data):
    """Sends bytes and nothing more; what came back, or None for a hang."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        out = b""
        try:
            s.sendall(data)
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


def mutated(t, rng):
    """Cut and flipped requests of a real client: refused or, where they are still OTLP, taken."""
    pb, text = recorded()

    def flipped(body):
        body = bytearray(body)
        for _ in range(rng.randrange(1, 6)):
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        return bytes(body)

    for what, make, kind, allowed, count in (
            ("truncated protobuf", lambda: pb[:rng.randrange(1, len(pb))], PB, (400, 200), 150),
            ("bit-flipped protobuf", lambda: flipped(pb), PB, (400, 200), 300),
            ("random bytes", lambda: rng.randbytes(rng.randrange(1, 4000)), PB, (400, 200), 60),
            ("truncated JSON", lambda: text[:rng.randrange(1, len(text) - 1)], JSON, (400,), 100),
            ("bit-flipped JSON", lambda: flipped(text), JSON, (400, 200), 200)):
        t.trial(what, all([t.post(what, ("traces", "logs", "metrics")[n % 3 if what == "random bytes" else 0], make(), kind, allowed) for n in range(count)]))


def attribute(value):
    return (f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331",'
            f'"name":"n","attributes":[{{"key":"k","value":{value}}}]}}]}}]}}]}}').encode()


def crafted(t):
    """Single requests that are made to hurt."""
    pb, text = recorded()
    zeros, deep = bytes(1 << 20), '{"arrayValue":{"values":['
    bomb = gzip.compress(zeros * 200, 9)
    huge = struct.pack("<I", 0xFD2FB528) + b"\xe0" + struct.pack("<Q", 1 << 40) + b"\x01\x00\x00"
    before = t.gateway.metric("otelcol_process_memory_rss")
    for what, body, kind, encoding, allowed in (
            ("JSON 100,000 deep", b"[" * 100_000, JSON, None, (400,)),
            ("AnyValue 10,000 deep", attribute(deep * 10_000 + f'{{"stringValue":"{SECRET}"}}' + "]}}" * 10_000), JSON, None, (400,)),
            ("JSON with a 20 MB text", attribute('{"stringValue":"' + "x" * 20_000_000 + '"}'), JSON, None, (200, 413)),
            ("duplicate JSON keys", attribute(f'{{"stringValue":"a","stringValue":"{SECRET}"}}'), JSON, None, (400, 200)),
            ("invalid UTF-8", attribute('{"stringValue":"X"}').replace(b"X", b"\xff\xfe" + SECRET.encode()), JSON, None, (400,)),
            ("JSON said to be protobuf", text, PB, None, (400,)),
            ("protobuf said to be JSON", pb, JSON, None, (400,)),
            ("gzip bomb of 200 MiB", bomb, PB, "gzip", REFUSED),
            ("gzip in gzip", gzip.compress(bomb), PB, "gzip", REFUSED),
            ("zstd bomb of 1 GiB", zstandard.ZstdCompressor(level=19).compress(zeros * 1024), PB, "zstd", REFUSED),
            ("zstd frame that says 1 TiB", huge, PB, "zstd", REFUSED),
            ("cut gzip", bomb[:1000], PB, "gzip", REFUSED),
            ("unknown encoding", b"x", PB, "br", REFUSED)):
        t.trial(what, t.post(what, "traces", body, kind, allowed, **({"content_encoding": encoding} if encoding else {})))
    figure("memory before and after", f"{before / 2**20:.0f}, {t.gateway.metric('otelcol_process_memory_rss') / 2**20:.0f}", "MiB")


def sockets(t):
    """Bytes that are no request of the port."""
    g = t.gateway
    for what, data in (("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"),
                       ("HTTP/1.1", b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"),
                       ("a TLS hello", bytes.fromhex("16030100c8010000c40303") + os.urandom(190)), ("noise", os.urandom(3000))):
        t.trial(f"{what} to both ports", all(raw(port, data) is not None for port in (g.http, g.grpc)))
    for what, head in (("no length", b""), ("a length that is no number", b"content-length: ten\r\n"),
                       ("two lengths", b"content-length: 5\r\ncontent-length: 6\r\n"),
                       ("a length of 8 EiB", b"content-length: 9223372036854775807\r\n"), ("100 KiB of headers", b"x: " + b"y" * 100_000 + b"\r\n")):
        out = raw(g.http, b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n" + head + b"\r\n")
        code = int(out.split()[1]) if out and out.startswith(b"HTTP/1.1 ") else None
        t.statuses[f"HTTP: {what}"] = {code}
        t.trial(f"HTTP: {what}", out is not None and code in (None, *REFUSED, *((200,) if what in ("no length", "100 KiB of headers") else ())))
    head = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100000\r\n\r\n"
    for n in range(200):
        with socket.create_connection(("127.0.0.1", g.http if n % 2 else g.grpc)) as s:
            s.sendall(head + b"\x0a" * (n * 100))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    t.trial("200 disconnects in the middle of a body", True)
    until("room given back", lambda: g.metric("tollgate_in_flight_bytes") == 0, 20)


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
    call("gRPC: 65 MiB", export, bytes(65 << 20), too_large)
    call("gRPC: a gzip bomb", export, bytes(200 << 20), too_large, compression=grpc.Compression.Gzip)
    channel.close()


def main():
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    say(f"  seed {seed}")
    rng = random.Random(seed)
    work = workdir("hostile")
    sink = Sink(os.path.join(work, "sink"))
    gateway = Gateway(os.path.join(work, "main"), outlets(sink)).start()
    t = Trial(gateway, sink)
    mutated(t, rng)
    for part in (crafted, sockets, grpc_trials):
        part(t)
    until("delivered", gateway.drained, 60)
    figure("memory at the end", round(gateway.metric("otelcol_process_memory_rss") / 2**20), "MiB")
    check("no panic was counted", gateway.metric("tollgate_panics_total") == 0)
    check("a clean end", gateway.stop() == 0)
    got = set(sink.ids())
    check("every neighbour arrived", set(t.neighbours) <= got, f"{len(set(t.neighbours) - got)} missing")
    figure("neighbours", len(t.neighbours))
    inside = Search([SECRET])
    inside.file(gateway.log_path)
    check("nothing private in the log", not inside.found, sorted(inside.found)[:5])
    check("nothing private in answers", not t.answers.found, sorted(t.answers.found)[:5])
    check("no panic in the log", "panick" not in gateway.log())
    finish(work)


if __name__ == "__main__":
    say("hostile: bad input")
    main()
