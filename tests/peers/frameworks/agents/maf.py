"""Microsoft Agent Framework, its own telemetry."""
import asyncio
import os

from base import MODEL, PLAN, burn, lookup, planned_later, providers

end = providers()
from agent_framework import Agent, tool  # noqa: E402
from agent_framework.observability import enable_instrumentation  # noqa: E402
from agent_framework.openai import OpenAIChatCompletionClient  # noqa: E402

enable_instrumentation(enable_sensitive_data=True)


async def main():
    client = OpenAIChatCompletionClient(model=MODEL, api_key="dummy", base_url=os.environ["OPENAI_BASE_URL"])
    agent = Agent(client, PLAN["system"], name="ledger-agent", description=PLAN["description"], tools=[tool(lookup), tool(burn)])
    await agent.run(PLAN["prompt"])
    async for _ in Agent(client, PLAN["goal"], name="teller").run(PLAN["stream_prompt"], stream=True):
        pass
    await planned_later(agent.run(PLAN["echo_prompt"]))


asyncio.run(main())
end()
