"""Semantic Kernel, its own telemetry: spans and, by Python logging, events."""
import asyncio
import logging
import os

from base import MODEL, PLAN, burn, lookup, planned_later, providers

end = providers()
from opentelemetry._logs import get_logger_provider  # noqa: E402
from opentelemetry.sdk._logs import LoggingHandler  # noqa: E402

# as its guide says: the events are Python log records
handler = LoggingHandler(logger_provider=get_logger_provider())
handler.addFilter(logging.Filter("semantic_kernel"))
logging.getLogger().addHandler(handler)
logging.getLogger().setLevel(logging.INFO)

from openai import AsyncOpenAI  # noqa: E402
from semantic_kernel.agents import ChatCompletionAgent  # noqa: E402
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion  # noqa: E402
from semantic_kernel.functions import kernel_function  # noqa: E402


class Tools:
    @kernel_function(description=lookup.__doc__)
    def lookup(self, key: str) -> str:
        return lookup(key)

    @kernel_function(description=burn.__doc__)
    def burn(self, key: str) -> str:
        return burn(key)


async def main():
    service = OpenAIChatCompletion(ai_model_id=MODEL, async_client=AsyncOpenAI(api_key="dummy", base_url=os.environ["OPENAI_BASE_URL"], max_retries=0))
    agent = ChatCompletionAgent(service=service, name="ledger_agent", instructions=PLAN["system"], description=PLAN["description"], plugins=[Tools()])
    await agent.get_response(PLAN["prompt"])
    async for _ in agent.invoke_stream(PLAN["stream_prompt"]):
        pass
    await planned_later(agent.get_response(PLAN["echo_prompt"]))


asyncio.run(main())
end()
