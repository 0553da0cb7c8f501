"""Agno under OpenInference."""
from base import MODEL, PLAN, burn, lookup, planned, providers

end = providers()
from openinference.instrumentation.agno import AgnoInstrumentor  # noqa: E402

AgnoInstrumentor().instrument()
from agno.agent import Agent  # noqa: E402
from agno.models.openai import OpenAIChat  # noqa: E402

agent = Agent(name="ledger-agent", model=OpenAIChat(id=MODEL, max_retries=0), instructions=PLAN["system"], description=PLAN["description"], tools=[lookup, burn],
              session_id=PLAN["session"], user_id=PLAN["user"], telemetry=False, retries=0)
agent.run(PLAN["prompt"])
for _ in agent.run(PLAN["stream_prompt"], stream=True):
    pass
planned(agent.run, PLAN["echo_prompt"])
end()
