"""Haystack, its tracing with content, by its OpenTelemetry integration."""
from base import MODEL, PLAN, SCHEMA, burn, lookup, planned, providers

end = providers()
from haystack import Document, Pipeline, tracing  # noqa: E402
from haystack.components.agents import Agent  # noqa: E402
from haystack.components.builders import ChatPromptBuilder  # noqa: E402
from haystack.components.generators.chat import OpenAIChatGenerator  # noqa: E402
from haystack.dataclasses import ChatMessage  # noqa: E402
from haystack.tools import Tool  # noqa: E402
from haystack_integrations.tracing.opentelemetry import OpenTelemetryTracer  # noqa: E402
from opentelemetry import trace  # noqa: E402

tracing.tracer.is_content_tracing_enabled = True
tracing.enable_tracing(OpenTelemetryTracer(trace.get_tracer("haystack")))
tools = [Tool(name=f.__name__, description=f.__doc__, parameters=SCHEMA, function=f) for f in (lookup, burn)]
agent = Agent(chat_generator=OpenAIChatGenerator(model=MODEL, max_retries=0), tools=tools, system_prompt=PLAN["system"])
agent.run(messages=[ChatMessage.from_user(PLAN["prompt"])])
pipeline = Pipeline()
pipeline.add_component("builder", ChatPromptBuilder(template=[ChatMessage.from_user("{% for d in documents %}{{ d.content }}{% endfor %} {{ customer }} {{ question }}")]))
pipeline.add_component("llm", OpenAIChatGenerator(model=MODEL, max_retries=0))
pipeline.connect("builder.prompt", "llm.messages")
pipeline.run({"builder": {"documents": [Document(content=t) for t in PLAN["documents"]], "question": PLAN["stream_prompt"], **PLAN["variables"]}})
planned(agent.run, messages=[ChatMessage.from_user(PLAN["echo_prompt"])])
end()
