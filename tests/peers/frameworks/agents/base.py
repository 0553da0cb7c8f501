"""What the agents of this folder share: the plan, the tools it tells of, OpenTelemetry's providers.

An agent script is run as `SCRIPT PLAN [VARIANT]`, everything else by OTEL_* and the vendors' own variables. It plays up to three runs:
the main one (`prompt`: a tool that works, one that fails, an answer), a streamed one (`stream_prompt`), a failing one (`echo_prompt`:
the vendor's error quotes it).
"""
import json
import sys

with open(sys.argv[1]) as f:
    PLAN = json.load(f)
VARIANT = sys.argv[2] if len(sys.argv) > 2 else ""
MODEL = PLAN["model"]
SCHEMA = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}


class ToolFailed(Exception):
    pass


def lookup(key: str) -> str:
    return PLAN["tools"]["lookup"]["result"]


def burn(key: str) -> str:
    raise ToolFailed(PLAN["tools"]["burn"]["error"])


def answer(name):
    """What a tool says to the model: its result, or that it failed."""
    tool = PLAN["tools"][name]
    return tool.get("result") or f"failed: {tool['error']}"


lookup.__doc__ = PLAN["tools"]["lookup"]["description"]
burn.__doc__ = PLAN["tools"]["burn"]["description"]


def providers(attributes=None, logs=True, traces=True):
    """Tracer, logger and meter providers that export by OTLP/HTTP; call what is returned at the end."""
    from opentelemetry import _logs, metrics, trace
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    resource = Resource.create(attributes or {})
    metering = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
    metrics.set_meter_provider(metering)
    everyone = [metering]
    if traces:
        tracing = TracerProvider(resource=resource)
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(tracing)
        everyone.append(tracing)
    if logs:
        logging = LoggerProvider(resource=resource)
        logging.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        _logs.set_logger_provider(logging)
        everyone.append(logging)

    def end():
        for provider in everyone:
            provider.force_flush()
            provider.shutdown()

    return end


def planned(body, *arguments, **named):
    """Runs what is to fail."""
    try:
        body(*arguments, **named)
    except Exception as e:
        print("as planned:", type(e).__name__, str(e)[:300], file=sys.stderr)
    else:
        print("did not fail", file=sys.stderr)


async def planned_later(awaitable):
    """The same of what is awaited."""
    try:
        await awaitable
    except Exception as e:
        print("as planned:", type(e).__name__, str(e)[:300], file=sys.stderr)
