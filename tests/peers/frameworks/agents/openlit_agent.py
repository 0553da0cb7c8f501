"""OpenLIT on OpenAI's SDK."""
import os

import agent
import openlit
from base import PLAN, planned
from opentelemetry import _logs, metrics, trace

openlit.init(otlp_endpoint=os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"], application_name="ledger-agent", environment="test")
model = agent.Chat(PLAN)


@openlit.trace
def tools(name):
    return agent.run_tool(PLAN, name)


with openlit.start_trace(name="ledger") as around:
    for n in range(3):
        for call, name, arguments in model.turn(stream=n == 2):
            try:
                text = tools(name)
            except agent.ToolFailed as e:
                text = f"failed: {e}"
            model.result(call, text)
    around.set_result(PLAN["output"])
    around.set_metadata({"note": PLAN["metadata"]})
model.client.embeddings.create(model="text-embedding-3-small", input=PLAN["embed"])
model.history = model.history[:1] + [{"role": "user", "content": PLAN["echo_prompt"]}]
planned(model.turn, stream=False)
for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
    if hasattr(provider, "force_flush"):
        provider.force_flush()
