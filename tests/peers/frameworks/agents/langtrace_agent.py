"""Langtrace on OpenAI's SDK."""
from base import PLAN
from langtrace_python_sdk import inject_additional_attributes, langtrace, with_langtrace_root_span  # must come before the vendors' SDKs
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

langtrace.init(custom_remote_exporter=OTLPSpanExporter(), batch=True, disable_logging=False, api_key="dummy")
import agent  # noqa: E402

model = agent.Chat(PLAN)


@with_langtrace_root_span("ledger")
def everything():
    def told(stream):
        return inject_additional_attributes(lambda: turn(stream=stream), {"user.id": PLAN["user"], "note": PLAN["metadata"]})

    turn, model.turn = model.turn, told
    agent.turns(model, 3, True, lambda call, name, arguments: agent.run_tool(PLAN, name))
    model.turn = turn
    agent.afterwards(model, PLAN)


everything()
trace.get_tracer_provider().force_flush()
