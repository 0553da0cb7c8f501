#!/usr/bin/env python3
"""Sends gen_ai telemetry with the official Python SDK and says, per item, whether the receiver said OK.

    send.py --endpoint http://127.0.0.1:4318 --protocol http --count 100
    send.py --endpoint http://127.0.0.1:4317 --protocol grpc --count 100 --signals traces,logs,metrics

One JSON line per accepted item on stdout, as soon as its batch is answered: {"id", "signal", "trace_id", "span_id", "canary"};
the last line is {"done": true, "sent", "ok", "failed", "seconds"}. Exit 0 if all were accepted, 1 if not. The SDK's own retries stay
on; --timeout is the deadline of one export, retries included. Every item has the attribute `test.case.name` and a canary in its content.
"""
import argparse
import functools
import hashlib
import importlib
import json
import logging
import os
import sys
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


def attributes(test_id, n, prefix):
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
                                      "gen_ai.input.messages": messages("user", f"Ask {own}"),
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
        self.tracer, self.exporter = provider.get_tracer("peer", "1.0.0"), a.exporters["traces"]()

    def make(self, test_id, n, prefix):
        name, attrs, own = attributes(test_id, n, prefix)
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
        self.logger, self.exporter = provider.get_logger("peer", "1.0.0"), a.exporters["logs"]()

    def make(self, test_id, n, prefix):
        _, attrs, own = attributes(test_id, 0, prefix)
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


EXPORTERS = {"traces": ("trace_exporter", "OTLPSpanExporter"), "logs": ("_log_exporter", "OTLPLogExporter"), "metrics": ("metric_exporter", "OTLPMetricExporter")}


def exporters(a):
    """{signal: makes its exporter}, which reads the rest from its own variables."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = a.endpoint
    if a.compression != "none":
        os.environ["OTEL_EXPORTER_OTLP_COMPRESSION"] = a.compression
    package = f"opentelemetry.exporter.otlp.proto.{a.protocol}"
    return {signal: functools.partial(getattr(importlib.import_module(f"{package}.{module}"), name), timeout=a.timeout)
            for signal, (module, name) in EXPORTERS.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--endpoint", required=True)
    p.add_argument("--protocol", choices=("grpc", "http"), default="http")
    p.add_argument("--count", type=int, default=10, help="items per signal")
    p.add_argument("--batch", type=int, default=10)
    p.add_argument("--signals", default="traces")
    p.add_argument("--prefix", default="py", help="ids are PREFIX-SIGNAL-NNNNNN")
    p.add_argument("--timeout", type=float, default=10)
    p.add_argument("--compression", choices=("none", "gzip"), default="none")
    p.add_argument("--pause", type=float, default=0, help="seconds between batches")
    a = p.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)
    a.exporters = exporters(a)

    counts, began = {"sent": 0, "ok": 0, "failed": 0}, time.monotonic()
    for signal in a.signals.split(","):
        kind = KINDS[signal](a)
        for at in range(0, a.count, a.batch):
            lines = [kind.make(f"{a.prefix}-{signal}-{n:06}", n, a.prefix) for n in range(at, min(at + a.batch, a.count))]
            try:
                ok = kind.send().name == "SUCCESS"
            except Exception as e:  # an exporter that was shut down, a bad body: not OK, but the others go on
                print(f"{type(e).__name__}: {e}", file=sys.stderr)
                ok = False
            counts["sent"] += len(lines)
            counts["ok" if ok else "failed"] += len(lines)
            if ok:
                sys.stdout.write("".join(json.dumps(line) + "\n" for line in lines))
                sys.stdout.flush()
            time.sleep(a.pause)
    print(json.dumps({"done": True, **counts, "seconds": round(time.monotonic() - began, 3)}), flush=True)
    sys.exit(counts["failed"] > 0)


if __name__ == "__main__":
    main()
