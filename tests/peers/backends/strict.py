"""A sink that refuses what a vendor's published limits do not allow: an entry of config/backends.yaml, over HTTP.

A limit that the entry does not name is not enforced. Logs and metrics are held against the size of a request alone.
"""
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import decode  # noqa: E402
from sink import inflate  # noqa: E402

OWN = ("tollgate.", "gen_ai.payload.", "gen_ai.usage.")


def size(any_value):
    """Bytes of a value: of its text, or of an encoded array or map as a whole."""
    return len(any_value.string_value.encode()) if any_value.HasField("string_value") else any_value.ByteSize()


def measured(request):
    """{limit: the most that a request of traces has of it}, and {attribute: kinds of its values}."""
    most, kinds = {}, {}

    def note(limit, value):
        most[limit] = max(most.get(limit, 0), value)

    def pairs(owner):
        for pair in owner.attributes:
            note("key_bytes", len(pair.key.encode()))
            note("value_bytes", size(pair.value))
            kinds.setdefault(pair.key, set()).add(pair.value.WhichOneof("value"))
            if pair.key.startswith(OWN) or pair.key.endswith("_ref"):
                note("cut_bytes", size(pair.value))
        return len(owner.attributes)

    count = 0
    for top in request.resource_spans:
        below, scopes = pairs(top.resource), 0
        for scope in top.scope_spans:
            below += pairs(scope.scope)
            scopes = max(scopes, scope.scope.ByteSize())
            for span in scope.spans:
                count += 1
                note("span_bytes", span.ByteSize())
                note("name_bytes", len(span.name.encode()))
                note("events", len(span.events))
                note("links", len(span.links))
                own = pairs(span)
                note("attributes", own)
                below += own + sum(pairs(one) for one in [*span.events, *span.links])
                note("age_days", (time.time_ns() - span.start_time_unix_nano) / 86_400e9)
                if len(span.trace_id) != 16 or len(span.span_id) != 8 or not any(span.trace_id) or not any(span.span_id):
                    note("bad_ids", 1)
        note("resource_attributes", below)
        note("resource_bytes", top.resource.ByteSize() + scopes)
    note("spans", count)
    note("request_bytes", request.ByteSize())
    return most, kinds


def excess(entry, request):
    """What a request of traces has too much of, by the entry's limits; empty if it keeps them."""
    most, kinds = measured(request)
    limits = entry["limits"] if isinstance(entry["limits"], dict) else {}
    limits = {**limits, "bad_ids": 0, **({"cut_bytes": entry["cut_bytes"]} if "cut_bytes" in entry else {})}
    out = [f"{limit} is {most[limit]}, at most {bound}" for limit, bound in limits.items() if most.get(limit, 0) > bound]
    for names, wanted in ((entry["tokens"], {"int_value"}), (entry["cost"], {"double_value"})):
        out += [f"{name} is {kinds[name]}" for name in (names if isinstance(names, list) else []) if name in kinds and kinds[name] != wanted]
    return out


class StrictSink:
    """Serves one entry. `taken`: [(signal, request)]; `count`: items in them; `refused`: why; `keys`: names of span attributes so far."""

    def __init__(self, entry):
        self.taken, self.refused, self.keys, self.lock = [], [], set(), threading.Lock()
        self.count = 0
        by_path = {path: signal for signal, path in entry["paths"].items()}
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                status, why = self.judge(self.rfile.read(int(self.headers.get("content-length") or 0)))
                if why:
                    with sink.lock:
                        sink.refused.append(f"{status} {self.path}: {why}")
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def judge(self, raw):
                signal = by_path.get(self.path)
                if signal is None:
                    return 404, "not one of its paths"
                # of `Bearer TOKEN`, the token
                missing = [name for name in entry["headers"] if not (self.headers.get(name) or "").split(" ")[-1]]
                if missing:
                    return 401, f"without {missing}"
                if self.headers.get("content-type") != "application/x-protobuf":
                    return 415, f"content type {self.headers.get('content-type')}"
                coding = self.headers.get("content-encoding", "")
                if coding and coding not in entry.get("compression", ["gzip"]):
                    return 415, f"encoding {coding}"
                request = decode.REQUESTS[signal]()
                request.ParseFromString(inflate(raw, coding))
                if signal == "traces":
                    wrong = excess(entry, request)
                    if wrong:
                        return 400, wrong
                    with sink.lock:
                        sink.keys |= set(measured(request)[1])
                elif isinstance(entry["limits"], dict) and request.ByteSize() > entry["limits"].get("request_bytes", 1 << 40):
                    return 413, f"{request.ByteSize()} bytes"
                with sink.lock:
                    sink.taken.append((signal, request))
                    sink.count += sum(1 for _ in decode.items(signal, request))
                return 200, None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
