"""Pydantic AI. VARIANT: the version of its format, `1-logs`, `2`…`6`, or `logfire` (Logfire's own set-up), `openinference`."""
import asyncio

from base import MODEL, PLAN, VARIANT, burn, lookup, planned_later, providers

if VARIANT == "logfire":
    import logfire
    logfire.configure(send_to_logfire=False, console=False, service_name="ledger-agent")
    logfire.instrument_pydantic_ai()
    end = logfire.shutdown
else:
    end = providers()

from pydantic_ai import Agent, ModelRetry  # noqa: E402

options = {}
if VARIANT == "1-logs":
    from pydantic_ai.models.instrumented import InstrumentationSettings
    options["instrument"] = InstrumentationSettings(version=1, event_mode="logs")
elif VARIANT.isdigit():
    from pydantic_ai.models.instrumented import InstrumentationSettings
    Agent.instrument_all(InstrumentationSettings(version=int(VARIANT)))
elif VARIANT == "quiet":
    from pydantic_ai.models.instrumented import InstrumentationSettings
    Agent.instrument_all(InstrumentationSettings(include_content=False))
elif VARIANT == "openinference":
    from openinference.instrumentation.pydantic_ai import OpenInferenceSpanProcessor
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    provider = TracerProvider()
    provider.add_span_processor(OpenInferenceSpanProcessor())
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    from pydantic_ai.models.instrumented import InstrumentationSettings
    Agent.instrument_all(InstrumentationSettings(tracer_provider=provider, version=2))

if MODEL.startswith("claude"):
    from pydantic_ai.models.anthropic import AnthropicModel as Model
else:
    from pydantic_ai.models.openai import OpenAIChatModel as Model

agent = Agent(Model(MODEL), instructions=PLAN["system"], name="ledger_agent", retries=2, **options)


def retried(key: str) -> str:
    raise ModelRetry(PLAN["tools"]["burn"]["error"])


retried.__doc__, retried.__name__ = burn.__doc__, "burn"
agent.tool_plain(lookup)
agent.tool_plain(retried)


async def main():
    """One event loop, as the HTTP client wants it."""
    try:
        about = {"metadata": {"note": PLAN["metadata"]}, "conversation_id": PLAN["session"]}
        await agent.run(PLAN["prompt"], **about)
    except TypeError:  # older
        await agent.run(PLAN["prompt"])
    async with agent.run_stream(PLAN["stream_prompt"]) as got:
        async for _ in got.stream_text():
            pass
    await planned_later(agent.run(PLAN["echo_prompt"]))


asyncio.run(main())
end()
