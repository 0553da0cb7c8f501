"""smolagents under OpenInference."""
import os

from base import MODEL, PLAN, burn, lookup, planned, providers

end = providers()
from openinference.instrumentation.smolagents import SmolagentsInstrumentor  # noqa: E402

SmolagentsInstrumentor().instrument()
from smolagents import OpenAIServerModel, Tool, ToolCallingAgent  # noqa: E402


def made(f, about):
    class Made(Tool):
        name, description, inputs, output_type = f.__name__, about, {"key": {"type": "string", "description": "the key"}}, "string"

        def forward(self, key: str) -> str:
            return f(key)

    return Made()


model = OpenAIServerModel(model_id=MODEL, api_base=os.environ["OPENAI_BASE_URL"], api_key="dummy", client_kwargs={"max_retries": 0})
agent = ToolCallingAgent(tools=[made(lookup, lookup.__doc__), made(burn, burn.__doc__)], model=model, instructions=PLAN["system"], max_steps=3, verbosity_level=0,
                         name="ledger_agent", description=PLAN["description"])
agent.run(PLAN["prompt"], additional_args=PLAN["variables"])
planned(agent.run, PLAN["echo_prompt"])
end()
