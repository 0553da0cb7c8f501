#!/usr/bin/env python3
"""A small agent on a real vendor SDK under a real instrumentation; record.py runs it against the mock model.

    agent.py LIBRARY VENDOR PLAN          (everything else by OTEL_* and by the vendor's own variables)

LIBRARY: genai (opentelemetry-instrumentation-genai-*, opentelemetry-util-genai for agent and tool spans),
         openai-v2 (opentelemetry-instrumentation-openai-v2), openinference, native (what the vendor's SDK traces by itself).
VENDOR:  openai (chat completions) | responses | anthropic.
PLAN:    a JSON file: {model, system, prompt, session, user, stream, tools: {name: {result} or {error}}, embed?}.
"""
import json
import sys

from opentelemetry import _logs, metrics, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

TOOL_SCHEMA = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}


class ToolFailed(Exception):
    pass


def providers():
    tracing, logging, metering = TracerProvider(), LoggerProvider(), MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logging.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    trace.set_tracer_provider(tracing)
    _logs.set_logger_provider(logging)
    metrics.set_meter_provider(metering)
    return tracing, logging, metering


def instrument(library, vendor):
    if library == "native":
        return
    if library == "openinference":
        from openinference.instrumentation.anthropic import AnthropicInstrumentor
        from openinference.instrumentation.openai import OpenAIInstrumentor
    elif library == "openai-v2":
        from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
    else:
        from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    (AnthropicInstrumentor if vendor == "anthropic" else OpenAIInstrumentor)().instrument()


# ---- the vendors: one turn of the model, and how its answer and a tool's go into the history -------------------------

class Chat:
    def __init__(self, plan):
        import openai
        self.client, self.plan = openai.OpenAI(max_retries=0), plan
        self.history = [{"role": "system", "content": plan["system"]}, {"role": "user", "content": plan["prompt"]}]
        self.tools = [{"type": "function", "function": {"name": n, "description": t["description"], "parameters": TOOL_SCHEMA}}
                      for n, t in plan["tools"].items()]

    def turn(self, stream):
        more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        got = self.client.chat.completions.create(model=self.plan["model"], messages=self.history, tools=self.tools,
                                                  temperature=0.5, max_completion_tokens=512, **more)
        if stream:
            text = "".join(c.choices[0].delta.content or "" for c in got if c.choices)
            self.history.append({"role": "assistant", "content": text})
            return []
        message = got.choices[0].message
        self.history.append(message.model_dump(exclude_none=True))
        return [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []]

    def result(self, call, text):
        self.history.append({"role": "tool", "tool_call_id": call, "content": text})


class Responses:
    def __init__(self, plan):
        import openai
        self.client, self.plan = openai.OpenAI(max_retries=0), plan
        self.history = [{"role": "user", "content": plan["prompt"]}]
        self.tools = [{"type": "function", "name": n, "description": t["description"], "parameters": TOOL_SCHEMA, "strict": False}
                      for n, t in plan["tools"].items()]

    def turn(self, stream):
        got = self.client.responses.create(model=self.plan["model"], instructions=self.plan["system"], input=self.history, tools=self.tools)
        calls = [i for i in got.output if i.type == "function_call"]
        self.history += [{"type": "function_call", "call_id": c.call_id, "name": c.name, "arguments": c.arguments} for c in calls]
        return [(c.call_id, c.name, c.arguments) for c in calls]

    def result(self, call, text):
        self.history.append({"type": "function_call_output", "call_id": call, "output": text})


class Anthropic:
    def __init__(self, plan):
        import anthropic
        self.client, self.plan = anthropic.Anthropic(max_retries=0), plan
        self.history = [{"role": "user", "content": plan["prompt"]}]
        self.tools = [{"name": n, "description": t["description"], "input_schema": TOOL_SCHEMA} for n, t in plan["tools"].items()]
        self.system = [{"type": "text", "text": plan["system"], "cache_control": {"type": "ephemeral"}}]

    def turn(self, stream):
        # anthropic's streams set their own flag
        ask = dict(model=self.plan["model"], max_tokens=512, system=self.system, messages=self.history, tools=self.tools)
        if stream:
            with self.client.messages.stream(**ask) as got:
                message = got.get_final_message()
        else:
            message = self.client.messages.create(**ask)
        self.history.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in message.content]})
        return [(b.id, b.name, json.dumps(b.input)) for b in message.content if b.type == "tool_use"]

    def result(self, call, text):
        block = {"type": "tool_result", "tool_use_id": call, "content": text}
        if self.history[-1]["role"] == "user":
            self.history[-1]["content"].append(block)
        else:
            self.history.append({"role": "user", "content": [block]})


VENDORS = {"openai": Chat, "responses": Responses, "anthropic": Anthropic}


# ---- the libraries: what stands around the model's calls ---------------------------------------------------------------

def run_tool(plan, name):
    tool = plan["tools"][name]
    if "error" in tool:
        raise ToolFailed(tool["error"])
    return tool["result"]


def turns(model, count, stream, tool):
    """So many turns of the model, the last one perhaps streamed; `tool` runs what it asks for: (call, name, arguments) to a text."""
    for n in range(count):
        for call, name, arguments in model.turn(stream=stream and n == count - 1):
            try:
                text = tool(call, name, arguments)
            except ToolFailed as e:
                text = f"failed: {e}"
            model.result(call, text)


def afterwards(model, plan):
    """Embeddings, and a call that is refused with an error that quotes its prompt."""
    if plan.get("embed") and isinstance(model, Chat):
        model.client.embeddings.create(model="text-embedding-3-small", input=plan["embed"])
    model.history = [m for m in model.history if m.get("role") == "system"] + [{"role": "user", "content": plan["echo_prompt"]}]
    try:
        model.turn(stream=False)
    except Exception as e:
        print("as planned:", type(e).__name__, str(e)[:300], file=sys.stderr)


class GenAi:
    """Agent and tool spans by opentelemetry-util-genai, the library that the official instrumentations use."""

    def __init__(self, plan):
        from opentelemetry.util.genai.handler import get_telemetry_handler
        self.plan, self.handler = plan, get_telemetry_handler()

    def agent(self, body):
        with self.handler.invoke_local_agent(request_model=self.plan["model"], agent_name="ledger-agent",
                                             conversation_id=self.plan["session"]) as run:
            run.attributes.update({"tenant.id": "acme", "enduser.id": self.plan["user"]})
            body()

    def tool(self, call, name, arguments):
        with self.handler.tool(name, tool_type="function", agent_name="ledger-agent") as tool:
            tool.tool_call_id, tool.arguments = call, json.loads(arguments)
            tool.tool_result = run_tool(self.plan, name)
            return tool.tool_result


class OpenInference:
    def __init__(self, plan):
        from openinference.instrumentation import OITracer, TraceConfig
        self.plan, self.tracer = plan, OITracer(trace.get_tracer("agent"), TraceConfig())

    def agent(self, body):
        from openinference.instrumentation import using_attributes
        with using_attributes(session_id=self.plan["session"], user_id=self.plan["user"], metadata={"note": self.plan["metadata"]},
                              tags=["nightly"]):
            with self.tracer.start_as_current_span("ledger-agent", openinference_span_kind="agent") as span:
                span.set_input(self.plan["prompt"])
                span.set_attribute("tenant.id", "acme")
                span.set_output(body())

    def tool(self, call, name, arguments):
        with self.tracer.start_as_current_span(name, openinference_span_kind="tool") as span:
            span.set_input(arguments)
            span.set_tool(name=name, description=self.plan["tools"][name]["description"], parameters=TOOL_SCHEMA)
            span.set_attribute("tool.id", call)
            span.set_output(result := run_tool(self.plan, name))
            return result


class Bare(GenAi):
    """openai-v2 as it is: it knows the model's calls only; the agent has plain spans of its own."""

    def agent(self, body):
        with trace.get_tracer("agent").start_as_current_span("agent.run", attributes={"session.id": self.plan["session"], "tenant.id": "acme"}):
            body()

    def tool(self, call, name, arguments):
        return run_tool(self.plan, name)


LIBRARIES = {"genai": GenAi, "native": GenAi, "openai-v2": Bare, "openinference": OpenInference}


def main():
    library, vendor, path = sys.argv[1:]
    with open(path) as f:
        plan = json.load(f)
    all_providers = providers()
    instrument(library, vendor)
    model, around = VENDORS[vendor](plan), LIBRARIES[library](plan)
    outcomes = {}

    def tool(call, name, arguments):
        outcomes[call] = False
        text = around.tool(call, name, arguments)
        outcomes[call] = True
        return text

    def body():
        turns(model, plan["turns"], plan["stream"], tool)
        if plan.get("embed"):
            model.client.embeddings.create(model="text-embedding-3-small", input=plan["embed"])
        if plan.get("then_fails"):
            try:
                model.turn(stream=False)
            except Exception as e:
                print("as planned:", type(e).__name__, file=sys.stderr)
        return plan.get("output", "")

    around.agent(body)
    for provider in all_providers:
        provider.force_flush()
        provider.shutdown()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
