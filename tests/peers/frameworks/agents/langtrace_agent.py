"""Langtrace on OpenAI's SDK."""
from base import PLAN, planned
from langtrace_python_sdk import inject_additional_attributes, langtrace, with_langtrace_root_span  # must come before the vendors' SDKs
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

langtrace.init(custom_remote_exporter=OTLPSpanExporter(), batch=True, disable_logging=False, api_key="dummy")
import agent  # noqa: E402

model = agent.Chat(PLAN)


@with_langtrace_root_span("ledger")
def everything():
    for n in range(3):
        for call, name, arguments in inject_additional_attributes(lambda: model.turn(stream=n == 2), {"user.id": PLAN["user"], "note": PLAN["metadata"]}):
            try:
                text = agent.run_tool(PLAN, name)
            except agent.ToolFailed as e:
                text = f"failed: {e}"
            model.result(call, text)
    model.client.embeddings.create(model="text-embedding-3-small", input=PLAN["embed"])
    model.history = model.history[:1] + [{"role": "user", "content": PLAN["echo_prompt"]}]
    planned(model.turn, stream=False)


everything()
trace.get_tracer_provider().force_flush()
