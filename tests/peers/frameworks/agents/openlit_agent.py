"""OpenLIT on OpenAI's SDK."""
import os

import agent
import openlit
from base import PLAN
from opentelemetry import _logs, metrics, trace

openlit.init(otlp_endpoint=os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"], application_name="ledger-agent", environment="test")
model = agent.Chat(PLAN)


@openlit.trace
def tools(name):
    return agent.run_tool(PLAN, name)


with openlit.start_trace(name="ledger") as around:
    agent.turns(model, 3, True, lambda call, name, arguments: tools(name))
    around.set_result(PLAN["output"])
    around.set_metadata({"note": PLAN["metadata"]})
agent.afterwards(model, PLAN)
for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
    if hasattr(provider, "force_flush"):
        provider.force_flush()
