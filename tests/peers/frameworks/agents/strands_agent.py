"""Strands Agents, its own telemetry."""
import os

from base import MODEL, PLAN, burn, lookup, planned, providers

end = providers()
from strands import Agent, tool  # noqa: E402
from strands.models.openai import OpenAIModel  # noqa: E402

model = OpenAIModel(client_args={"api_key": "dummy", "base_url": os.environ["OPENAI_BASE_URL"], "max_retries": 0}, model_id=MODEL)
about = {"model": model, "name": "ledger-agent", "callback_handler": None, "trace_attributes": {"session.id": PLAN["session"], "user.id": PLAN["user"], "note": PLAN["metadata"]}}
Agent(system_prompt=PLAN["system"], tools=[tool(lookup), tool(burn)], **about)(PLAN["prompt"])
planned(Agent(**about), PLAN["echo_prompt"])
end()
