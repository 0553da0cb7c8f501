"""OpenAI Agents SDK. VARIANT: openinference | official | openllmetry."""
import asyncio

from base import MODEL, PLAN, VARIANT, burn, lookup, planned_later, providers

end = providers()
from agents import Agent, Runner, function_tool, set_trace_processors, trace  # noqa: E402

set_trace_processors([])  # its own sends to the vendor
if VARIANT == "openinference":
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
elif VARIANT == "official":
    from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor
else:
    from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor
OpenAIAgentsInstrumentor().instrument()

agent = Agent(name="ledger-agent", instructions=PLAN["system"], model=MODEL, tools=[function_tool(lookup), function_tool(burn)])
plain = Agent(name="teller", instructions=PLAN["goal"], model=MODEL, handoff_description=PLAN["description"])


async def main():
    with trace("ledger", group_id=PLAN["session"], metadata={"note": PLAN["metadata"], "user_id": PLAN["user"]}):
        await Runner.run(agent, PLAN["prompt"])
        async for _ in Runner.run_streamed(plain, PLAN["stream_prompt"]).stream_events():
            pass
        await planned_later(Runner.run(plain, PLAN["echo_prompt"]))


asyncio.run(main())
end()
