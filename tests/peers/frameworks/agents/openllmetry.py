"""OpenLLMetry (Traceloop) on a vendor's SDK. VARIANT: [legacy-]openai|responses|anthropic[-events]."""
import json

import agent
from base import PLAN, VARIANT, providers

vendor = VARIANT.removeprefix("legacy-").removesuffix("-events")
legacy = VARIANT.startswith("legacy-")
end = providers(traces=legacy)


def instrument():
    events = {"use_legacy_attributes": False} if VARIANT.endswith("-events") else {}
    if vendor == "anthropic":
        from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor as Instrumentor
    else:
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor as Instrumentor
    Instrumentor(**events).instrument()


def decorated():
    """Workflow, agent and tool by traceloop-sdk, as its guide says."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from traceloop.sdk import Traceloop
    from traceloop.sdk.decorators import agent as agent_, tool, workflow
    Traceloop.init(app_name="ledger-agent", exporter=OTLPSpanExporter(), telemetry_enabled=False, instruments=set())
    ends.append(trace.get_tracer_provider().force_flush)
    return workflow(name="ledger"), agent_(name="ledger-agent"), lambda name: tool(name=name)


plain = lambda f: f
ends = [end]
in_workflow, in_agent, in_tool = (plain, plain, lambda name: plain) if legacy else decorated()
instrument()
model = agent.VENDORS[vendor](PLAN)


def run_tool(name):
    @in_tool(name)
    def call(arguments):
        return agent.run_tool(PLAN, name)
    return call


@in_agent
def body(question):
    agent.turns(model, 3, vendor != "responses" and VARIANT != "legacy-anthropic", lambda call, name, arguments: run_tool(name)(json.loads(arguments)))
    return PLAN["output"]


@in_workflow
def everything(question):
    if not legacy:
        from traceloop.sdk import Traceloop
        Traceloop.set_association_properties({"session_id": PLAN["session"], "user_id": PLAN["user"], "tenant_id": "acme", "note": PLAN["metadata"]})
        from traceloop.sdk.tracing.tracing import set_external_prompt_tracing_context
        set_external_prompt_tracing_context(PLAN["template"], PLAN["variables"], 3)
    answer = body(question)
    agent.afterwards(model, PLAN)
    return answer


everything(PLAN["prompt"])
for end in ends:
    end()
