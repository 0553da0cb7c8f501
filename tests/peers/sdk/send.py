#!/usr/bin/env python3
"""Sends gen_ai telemetry with the official Python SDK and says, per item, whether the receiver said OK.

    send.py --endpoint http://127.0.0.1:4318 --protocol http --count 100
    send.py --endpoint http://127.0.0.1:4317 --protocol grpc --count 100 --signals traces,logs,metrics

One JSON line per accepted item on stdout, as soon as its batch is answered: {"id", "signal", "trace_id", "span_id", "canary"};
the last line is {"done": true, "sent", "ok", "failed", "seconds"}. Exit 0 if all were accepted, 1 if not. The SDK's own retries stay
on; --timeout is the deadline of one export, retries included. Every item has the attribute `test.case.name` and a canary in its content.
"""
import argparse
import hashlib
import json
import logging
import sys
import threading
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

RESOURCE = Resource.create({"service.name": "peer-python", "service.version": "1.0.0", "deploy.environment": "test", "tenant.id": "acme"})
SESSIONS = 4


def canary(test_id, place):
    return f"CANARY-{place}-{hashlib.sha256(f'{test_id}/{place}'.encode()).hexdigest()[:16]}"


def messages(role, content):
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": content}]}])


def attributes(test_id, n, prefix, fill):
    """A chat span of semconv form; every fourth is a tool span. Returns (name, attributes, canary)."""
    own = canary(test_id, "toolargs" if n % 4 == 3 else "prompt")
    base = {"test.case.name": test_id, "gen_ai.conversation.id": f"{prefix}-session-{n % SESSIONS}", "tenant.id": "acme"}
    if n % 4 == 3:
        return "execute_tool lookup", {**base, "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup",
                                       "gen_ai.tool.call.id": f"call_{test_id}", "gen_ai.tool.type": "function",
                                       "gen_ai.tool.call.arguments": json.dumps({"key": own}),
                                       "gen_ai.tool.call.result": "found " + canary(test_id, "toolresult")}, own
    return "chat claude-sonnet-4-5", {**base, "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
                                      "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.response.model": "claude-sonnet-4-5",
                                      "gen_ai.response.id": f"msg_{test_id}", "gen_ai.usage.input_tokens": 100 + n % 7,
                                      "gen_ai.usage.output_tokens": 20 + n % 5, "gen_ai.response.finish_reasons": ["end_turn"],
                                      "gen_ai.input.messages": messages("user", f"Ask {own} {'x' * fill}"),
                                      "gen_ai.output.messages": messages("assistant", "Answer " + canary(test_id, "completion"))}, own


class Keep(SpanProcessor, LogRecordProcessor):
    """Holds what ended, so that a batch can be given to the exporter by hand and its answer read."""

    def __init__(self):
        self.items = []

    def on_end(self, span):
        self.items.append(span)

    def on_emit(self, log_record):
        self.items.append(log_record)

    def force_flush(self, timeout_millis=30000):
        return True

    def shutdown(self):
        pass

    def take(self):
        items, self.items = self.items, []
        return items


class Traces:
    def __init__(self, a):
        self.keep, provider = Keep(), TracerProvider(resource=RESOURCE)
        provider.add_span_processor(self.keep)
        self.tracer, self.exporter, self.fill = provider.get_tracer("peer", "1.0.0"), a.exporters["traces"](), a.fill

    def make(self, test_id, n, prefix):
        name, attrs, own = attributes(test_id, n, prefix, self.fill)
        with self.tracer.start_as_current_span(name, attributes=attrs) as span:
            span.add_event("gen_ai.request.attempt", {"attempt": 1})
        c = span.get_span_context()
        return {"id": test_id, "signal": "traces", "trace_id": f"{c.trace_id:032x}", "span_id": f"{c.span_id:016x}", "canary": own}

    def send(self):
        return self.exporter.export(self.keep.take())


class Logs:
    def __init__(self, a):
        self.keep, provider = Keep(), LoggerProvider(resource=RESOURCE)
        provider.add_log_record_processor(self.keep)
        self.logger, self.exporter, self.fill = provider.get_logger("peer", "1.0.0"), a.exporters["logs"](), a.fill

    def make(self, test_id, n, prefix):
        _, attrs, own = attributes(test_id, 0, prefix, self.fill)
        attrs["gen_ai.conversation.id"] = f"{prefix}-session-{n % SESSIONS}"
        self.logger.emit(LogRecord(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body={"content": own},
                                   event_name="gen_ai.client.inference.operation.details", attributes=attrs))
        return {"id": test_id, "signal": "logs", "trace_id": "", "span_id": "", "canary": own}

    def send(self):
        return self.exporter.export(self.keep.take())


class Metrics:
    def __init__(self, a):
        self.reader = InMemoryMetricReader(preferred_temporality={Counter: AggregationTemporality.DELTA})
        meter = MeterProvider([self.reader], resource=RESOURCE).get_meter("peer", "1.0.0")
        self.counter, self.exporter = meter.create_counter("gen_ai.client.calls", unit="{call}"), a.exporters["metrics"]()

    def make(self, test_id, n, prefix):
        own = canary(test_id, "metric")
        self.counter.add(1, {"test.case.name": test_id, "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.prompt": own})
        return {"id": test_id, "signal": "metrics", "trace_id": "", "span_id": "", "canary": own}

    def send(self):
        return self.exporter.export(self.reader.get_metrics_data())


KINDS = {"traces": Traces, "logs": Logs, "metrics": Metrics}


def exporters(a):
    headers = dict(h.split("=", 1) for h in a.header)
    if a.protocol == "grpc":
        import grpc
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        compression = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}[a.compression]
        secure = a.endpoint.startswith("https")
        options = {"endpoint": a.endpoint, "insecure": not secure, "headers": tuple(headers.items()), "timeout": a.timeout, "compression": compression}
        if a.ca:
            options["credentials"] = grpc.ssl_channel_credentials(open(a.ca, "rb").read())
        path = lambda _: {}
    else:
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        compression = {"none": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}[a.compression]
        options = {"headers": headers, "timeout": a.timeout, "compression": compression}
        if a.ca:
            options["certificate_file"] = a.ca
        path = lambda signal: {"endpoint": f"{a.endpoint.rstrip('/')}/v1/{signal}"}
    made = {"traces": OTLPSpanExporter, "logs": OTLPLogExporter, "metrics": OTLPMetricExporter}
    return {signal: (lambda signal=signal: made[signal](**options, **path(signal))) for signal in made}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--endpoint", required=True)
    p.add_argument("--protocol", choices=("grpc", "http"), default="http")
    p.add_argument("--count", type=int, default=10, help="items per signal")
    p.add_argument("--batch", type=int, default=10)
    p.add_argument("--signals", default="traces")
    p.add_argument("--prefix", default="py", help="ids are PREFIX-SIGNAL-NNNNNN")
    p.add_argument("--timeout", type=float, default=10)
    p.add_argument("--compression", choices=("none", "gzip", "deflate"), default="none")
    p.add_argument("--header", action="append", default=[], metavar="K=V")
    p.add_argument("--ca", help="PEM of the receiver's authority (https endpoints)")
    p.add_argument("--threads", type=int, default=1, help="each with an exporter of its own")
    p.add_argument("--pause", type=float, default=0, help="seconds between batches")
    p.add_argument("--fill", type=int, default=0, help="more bytes of prompt per item")
    p.add_argument("--verbose", action="store_true", help="let the SDK speak on stderr")
    a = p.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if a.verbose else logging.CRITICAL)
    a.exporters = exporters(a)

    lock, counts, began = threading.Lock(), {"ok": 0, "failed": 0}, time.monotonic()
    work = [(signal, list(range(at, min(at + a.batch, a.count)))) for signal in a.signals.split(",") for at in range(0, a.count, a.batch)]

    def run(share):
        kinds = {}
        for signal, numbers in share:
            kind = kinds.setdefault(signal, None) or KINDS[signal](a)
            kinds[signal] = kind
            lines = [kind.make(f"{a.prefix}-{signal}-{n:06}", n, a.prefix) for n in numbers]
            try:
                ok = kind.send().name == "SUCCESS"
            except Exception as e:  # an exporter that was shut down, a bad body: not OK, but the others go on
                print(f"{type(e).__name__}: {e}", file=sys.stderr)
                ok = False
            with lock:
                counts["ok" if ok else "failed"] += len(lines)
                if ok:
                    sys.stdout.write("".join(json.dumps(line) + "\n" for line in lines))
                    sys.stdout.flush()
            time.sleep(a.pause)

    threads = [threading.Thread(target=run, args=(work[i::a.threads],)) for i in range(a.threads)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(json.dumps({"done": True, "sent": sum(len(n) for _, n in work), **counts, "seconds": round(time.monotonic() - began, 3)}), flush=True)
    sys.exit(counts["failed"] > 0)


if __name__ == "__main__":
    main()
