"""CrewAI. VARIANT: openinference | openllmetry | native."""
from base import MODEL, PLAN, VARIANT, burn, lookup, planned, providers

end = providers()
if VARIANT == "openinference":
    from openinference.instrumentation.crewai import CrewAIInstrumentor
    CrewAIInstrumentor().instrument(skip_dep_check=True)
elif VARIANT == "openllmetry":
    from opentelemetry.instrumentation.crewai import CrewAIInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor
    CrewAIInstrumentor().instrument()
    OpenAIInstrumentor().instrument()

from crewai import LLM, Agent, Crew, Task  # noqa: E402
from crewai.tools import tool  # noqa: E402

llm = LLM(model=MODEL)
agent = Agent(role="Keeper of the ledger", goal=PLAN["goal"], backstory=PLAN["backstory"], tools=[tool("lookup")(lookup), tool("burn")(burn)], llm=llm, max_iter=6)


def crew(description):
    task = Task(description=description + " for {customer}", expected_output=PLAN["expected"], agent=agent)
    return Crew(agents=[agent], tasks=[task], name="ledger").kickoff(inputs=PLAN["variables"])


def everything():
    crew(PLAN["prompt"] + " " + PLAN["task"])
    planned(crew, PLAN["echo_prompt"])


if VARIANT == "native":
    import os

    from crewai.telemetry.tracing import telemetry_session
    from crewai.telemetry.tracing.session import otlp_exporter
    to = otlp_exporter(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/v1/traces")
    with telemetry_session(PLAN["session"], "ledger", [to], attributes={"gen_ai.conversation.id": PLAN["session"]},
                           principal={"type": "user", "id": PLAN["user"]}):
        everything()
else:
    everything()
end()
