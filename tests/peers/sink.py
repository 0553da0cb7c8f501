#!/usr/bin/env python3
"""An OTLP sink: takes what an exporter sends, keeps it, and can be told to misbehave.

    sink.py --dir OUT [--http 0] [--grpc 0] [--raw]

With --raw and HTTP alone the standard library is enough; else it needs the venv of sdk/install.sh. Port 0 lets the
system choose. The first line on stdout says where it listens:

    {"ready": true, "http": 40123, "grpc": 40124, "dir": "OUT"}

In OUT, written before the answer goes back:
    {n:03}-{traces|logs|metrics}.{pb|json}   the body of each request, decompressed, whatever the answer was
    {n:03}-other.bin                         a POST to any other path
    requests.jsonl                           one line a request: n, t (s since start), file, transport, path, headers, bytes, status
    ids.jsonl                                one line an item of an ACCEPTED request: n, signal, transport, name, trace_id, span_id, test_id

`test_id` is the attribute `test.case.name` of the span, log record or data point (sdk/*).

Control (HTTP port, GET or POST), applies to both transports until it is changed or `count` requests were answered so:
    /control?status=503 | status=429&retry_after=2 | status=400 | delay_ms=500 | partial=3
             | reset=1 (hang up, nothing taken) | reset=after (taken, then hang up: the client never learns)
             &count=N (default: for ever)  &signal=traces|logs|metrics (default: all)  &keep=0 (do not keep refused bodies)
    /control?ok=1      back to normal            /control  what is set now
"""
import argparse
import gzip
import json
import os
import socket
import struct
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATHS = {"/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics"}
METHODS = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "metrics",
}
MAX_BODY = 256 << 20


def ids(signal, body, encoding):
    """An item's name, ids and `test.case.name`."""
    import decode
    for x in decode.leaves(signal, decode.parse(signal, body, encoding)):
        points = getattr(x, x.WhichOneof("data")).data_points if signal == "metrics" else [x]
        trace, span = ("", "") if signal == "metrics" else (x.trace_id.hex(), x.span_id.hex())
        for point in points:
            test_id = next((pair.value.string_value for pair in point.attributes if pair.key == "test.case.name"), None)
            yield {"name": x.event_name if signal == "logs" else x.name, "trace_id": trace, "span_id": span, "test_id": test_id}


# ---- the store and what it was told to answer ---------------------------------------------------------------------

class Sink:
    def __init__(self, directory, raw=False):
        self.dir, self.raw = directory, raw
        os.makedirs(directory, exist_ok=True)
        self.lock = threading.Lock()
        self.start = time.monotonic()
        self.n = 0
        self.told = {}
        self.requests = open(os.path.join(directory, "requests.jsonl"), "a", buffering=1)
        self.ids = open(os.path.join(directory, "ids.jsonl"), "a", buffering=1)

    def tell(self, query):
        wanted = {k: v[-1] for k, v in urllib.parse.parse_qs(query).items()}
        with self.lock:
            if wanted:
                self.told = {} if wanted.get("ok") else wanted
            return dict(self.told)

    def next_answer(self, signal):
        """What the next request of this signal gets; uses up one of `count`."""
        told = self.told
        if not told or told.get("signal", signal) != signal:
            return {}
        if "count" in told:
            left = int(told["count"])
            if left <= 0:
                self.told = {}
                return {}
            told["count"] = str(left - 1)
        return dict(told)

    def take(self, signal, body, encoding, about):
        """Keeps one request and says how to answer it."""
        with self.lock:
            answer = self.next_answer(signal)
            status = int(answer.get("status", 200))
            bad = None
            items = []
            refused = status != 200 or answer.get("reset") == "1"
            if signal != "other" and not refused and not self.raw:
                try:
                    items = list(ids(signal, body, encoding))
                except Exception as e:  # each form has errors of its own
                    status, refused, bad = 400, True, f"cannot read the body: {e}"
            self.n += 1
            n = self.n
            name = f"{n:03}-{signal}.{ {'json': 'json', 'pb': 'pb'}.get(encoding, 'bin') }"
            if not refused or answer.get("keep") != "0":
                with open(os.path.join(self.dir, name), "wb") as f:
                    f.write(body)
            else:
                name = None
            for item in items:
                self.ids.write(json.dumps({"n": n, "signal": signal, "transport": about["transport"], **item}) + "\n")
            line = {"n": n, "t": round(time.monotonic() - self.start, 4), "file": name, "signal": signal, **about,
                    "bytes": len(body), "status": "reset" if answer.get("reset") else status, "items": len(items)}
            self.requests.write(json.dumps(line) + "\n")
        if answer.get("delay_ms"):
            time.sleep(int(answer["delay_ms"]) / 1000)
        return status, answer, bad


# ---- HTTP -----------------------------------------------------------------------------------------------------------

def inflate(body, coding):
    if coding in ("", "identity"):
        return body
    if coding == "gzip":
        return gzip.decompress(body)
    if coding == "zstd":
        import zstandard
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    raise ValueError(f"content-encoding {coding}")


def status_json(message):
    return json.dumps({"code": 3, "message": message}).encode()


def status_protobuf(message):
    """google.rpc.Status{code: INVALID_ARGUMENT, message}; short messages only."""
    raw = message.encode()[:100]
    return b"\x08\x03\x12" + bytes([len(raw)]) + raw


def handler(sink):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def body(self):
            if "chunked" in self.headers.get("transfer-encoding", "").lower():
                out = bytearray()
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    out += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return bytes(out)
            size = int(self.headers.get("content-length") or 0)
            if size > MAX_BODY:
                raise ValueError("body too large")
            return self.rfile.read(size)

        def reply(self, status, body=b"", kind="application/json", extra=()):
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            for name, value in extra:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def control(self, parts):
            if parts.path != "/control":
                return False
            self.reply(200, json.dumps(sink.tell(parts.query)).encode())
            return True

        def do_GET(self):
            if not self.control(urllib.parse.urlsplit(self.path)):
                self.reply(404, b"{}")

        def do_POST(self):
            parts = urllib.parse.urlsplit(self.path)
            raw = self.body()
            if self.control(parts):
                return
            kind = self.headers.get("content-type", "").split(";")[0].strip()
            signal = PATHS.get("/v1/" + parts.path.rsplit("/", 1)[-1], "other") if "/v1/" in parts.path else "other"
            encoding = {"application/json": "json", "application/x-protobuf": "pb"}.get(kind, "bin")
            about = {"transport": "http", "path": self.path, "wire_bytes": len(raw),
                     "headers": {k.lower(): v for k, v in self.headers.items()}}
            try:
                body = inflate(raw, self.headers.get("content-encoding", "").lower())
            except Exception as e:
                return self.reply(400, status_json(str(e)))
            status, answer, bad = sink.take(signal, body, encoding, about)
            if answer.get("reset"):
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return self.connection.close()
            extra = [("retry-after", answer["retry_after"])] if "retry_after" in answer else []
            partial = int(answer.get("partial", 0)) if status == 200 else 0
            if encoding == "json":
                field = {"traces": "rejectedSpans", "logs": "rejectedLogRecords"}.get(signal, "rejectedDataPoints")
                ok = json.dumps({"partialSuccess": {field: str(partial), "errorMessage": "told to"}} if partial else {}).encode()
                return self.reply(status, ok if status == 200 else status_json(bad or "told to"), kind, extra)
            ok = partial_protobuf(partial)
            self.reply(status, ok if status == 200 else status_protobuf(bad or "told to"),
                       kind or "application/octet-stream", extra)

    return Handler


def partial_protobuf(rejected):
    if not rejected:
        return b""
    inner = b"\x08" + bytes([min(rejected, 127)]) + b"\x12\x07told to"
    return b"\x0a" + bytes([len(inner)]) + inner


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


# ---- gRPC -----------------------------------------------------------------------------------------------------------

def grpc_server(sink, port):
    import grpc
    from concurrent import futures

    codes = {429: grpc.StatusCode.RESOURCE_EXHAUSTED, 400: grpc.StatusCode.INVALID_ARGUMENT,
             401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED,
             404: grpc.StatusCode.UNIMPLEMENTED, 500: grpc.StatusCode.INTERNAL}

    def retry_info(code, seconds):
        """grpc-status-details-bin: google.rpc.Status{code, details: [RetryInfo{retry_delay: {seconds}}]}"""
        delay = b"\x0a\x02\x08" + bytes([min(int(seconds), 127)])
        url = b"type.googleapis.com/google.rpc.RetryInfo"
        packed = b"\x0a" + bytes([len(url)]) + url + b"\x12" + bytes([len(delay)]) + delay
        return b"\x08" + bytes([code.value[0]]) + b"\x1a" + bytes([len(packed)]) + packed

    class Generic(grpc.GenericRpcHandler):
        def service(self, details):
            signal = METHODS.get(details.method)
            if signal is None:
                return None
            headers = {m.key: m.value if isinstance(m.value, str) else m.value.hex() for m in details.invocation_metadata}

            def export(body, context):
                about = {"transport": "grpc", "path": details.method, "wire_bytes": None, "headers": headers}
                status, answer, bad = sink.take(signal, body, "pb", about)
                if answer.get("reset"):
                    context.abort(grpc.StatusCode.UNAVAILABLE, "told to hang up")
                if status != 200:
                    code = codes.get(status, grpc.StatusCode.UNAVAILABLE)
                    if "retry_after" in answer:
                        context.set_trailing_metadata((("grpc-status-details-bin", retry_info(code, answer["retry_after"])),))
                    context.abort(code, bad or "told to")
                return partial_protobuf(int(answer.get("partial", 0)))

            return grpc.unary_unary_rpc_method_handler(export)  # no (de)serialiser: bytes in, bytes out

    server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[Generic()],
                         options=[("grpc.max_receive_message_length", MAX_BODY), ("grpc.so_reuseport", 0)])
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dir", required=True)
    p.add_argument("--http", type=int, default=0, metavar="PORT")
    p.add_argument("--grpc", type=int, metavar="PORT", help="0: any; without it no gRPC")
    p.add_argument("--raw", action="store_true", help="answers at once: bodies are kept, items are not looked for (ids.jsonl stays empty)")
    p.add_argument("--exit-with-stdin", action="store_true", help="end when stdin closes, so that no sink outlives its test")
    a = p.parse_args()

    sink = Sink(a.dir, a.raw)
    server = Server(("127.0.0.1", a.http), handler(sink))
    ready = {"ready": True, "http": server.server_address[1], "grpc": None, "dir": a.dir}
    rpc = None
    if a.grpc is not None:
        rpc, ready["grpc"] = grpc_server(sink, a.grpc)
    print(json.dumps(ready), flush=True)
    if a.exit_with_stdin:
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
    if rpc:
        rpc.stop(0).wait()


if __name__ == "__main__":
    main()
