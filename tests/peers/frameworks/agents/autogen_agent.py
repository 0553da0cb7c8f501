"""AutoGen, its own telemetry, and its event log bridged to OTLP."""
import asyncio
import logging
import os

from base import MODEL, PLAN, burn, lookup, planned_later, providers

end = providers()
from autogen_agentchat.agents import AssistantAgent  # noqa: E402
from autogen_agentchat.teams import RoundRobinGroupChat  # noqa: E402
from autogen_agentchat.conditions import MaxMessageTermination  # noqa: E402
from autogen_core import EVENT_LOGGER_NAME  # noqa: E402
from autogen_core.models import ModelInfo  # noqa: E402
from autogen_ext.models.openai import OpenAIChatCompletionClient  # noqa: E402
from opentelemetry._logs import get_logger_provider  # noqa: E402
from opentelemetry.sdk._logs import LoggingHandler  # noqa: E402

logger = logging.getLogger(EVENT_LOGGER_NAME)
logger.addHandler(LoggingHandler(logger_provider=get_logger_provider()))
logger.setLevel(logging.INFO)


async def main():
    client = OpenAIChatCompletionClient(model=MODEL, api_key="dummy", base_url=os.environ["OPENAI_BASE_URL"], max_retries=0,
                                        model_info=ModelInfo(vision=False, function_calling=True, json_output=True, family="unknown", structured_output=False))
    agent = AssistantAgent("ledger_agent", client, tools=[lookup, burn], system_message=PLAN["system"], description=PLAN["description"], max_tool_iterations=4)
    await RoundRobinGroupChat([agent], termination_condition=MaxMessageTermination(2)).run(task=PLAN["prompt"])
    await planned_later(agent.run(task=PLAN["echo_prompt"]))


asyncio.run(main())
end()
