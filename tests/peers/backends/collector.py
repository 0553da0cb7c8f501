"""The OpenTelemetry Collector, built from its Go modules."""
import os

from backends.common import INSTALLED, Fed, answers, as_got, ask, bodies, operator, same_items, server
from harness import SIGNALS, Sink, check, free_port, until, write_json


def collector(work):
    """The OpenTelemetry Collector behind tollgate, by gRPC: its own counters, and what it sends on."""
    behind = Sink(os.path.join(work, "behind"))
    grpc, metrics = free_port(), free_port()
    path = os.path.join(work, "collector.yaml")
    write_json(path, {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{grpc}"}}}},
        "exporters": {"otlp_http": {"endpoint": f"http://127.0.0.1:{behind.http}"}},
        "service": {
            "telemetry": {"metrics": {"level": "normal", "readers": [{"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": metrics}}}}]}},
            "pipelines": {signal: {"receivers": ["otlp"], "exporters": ["otlp_http"]} for signal in SIGNALS},
        },
    })
    server(work, "collector", os.path.join(INSTALLED, "collector"), "--config", path)
    answers(f"http://127.0.0.1:{metrics}/metrics")
    fed = Fed(work, {"kind": "otlp", "endpoint": f"http://127.0.0.1:{grpc}"})
    until("the Collector has sent everything on", lambda: len(behind.rows()) >= len(fed.sink.rows()), 60, 0.1)
    items = same_items(fed, behind)
    own = ask(f"http://127.0.0.1:{metrics}/metrics").decode()
    for signal, noun, count in (("traces", "spans", len(fed.of("traces"))), ("logs", "log_records", len(fed.of("logs"))),
                                ("metrics", "metric_points", len(fed.of("metrics")))):
        accepted, refused = (sum(float(line.rpartition(" ")[2]) for line in own.splitlines() if line.startswith(f"otelcol_receiver_{verb}_{noun}"))
                             for verb in ("accepted", "refused"))
        check(f"its own counter says {count} {noun} accepted, none refused", (accepted, refused) == (count, 0), (accepted, refused))
    operator(fed, as_got(items), own.encode() + b"".join(bodies(behind)))
