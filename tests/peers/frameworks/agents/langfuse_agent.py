"""Langfuse's SDK: observe, its OpenAI wrapper, scores, sent to an OTLP endpoint."""
import agent
from base import PLAN, planned
from langfuse import Langfuse, observe, propagate_attributes

langfuse = Langfuse(public_key="pk-lf-dummy", secret_key="sk-lf-dummy")
import langfuse.openai  # noqa: E402

model = agent.Chat(PLAN)
model.client = langfuse.openai.OpenAI(max_retries=0)


@observe(as_type="tool")
def lookup(key):
    return PLAN["tools"]["lookup"]["result"]


@observe(as_type="tool")
def burn(key):
    raise agent.ToolFailed(PLAN["tools"]["burn"]["error"])


@observe(as_type="agent")
def ledger(question):
    with propagate_attributes(session_id=PLAN["session"], user_id=PLAN["user"], metadata={"note": PLAN["metadata"]}, tags=["nightly"]):
        for n in range(3):
            for call, name, arguments in model.turn(stream=n == 2):
                try:
                    text = {"lookup": lookup, "burn": burn}[name](agent.json.loads(arguments)["key"])
                except agent.ToolFailed as e:
                    text = f"failed: {e}"
                model.result(call, text)
    model.client.embeddings.create(model="text-embedding-3-small", input=PLAN["embed"])
    model.history = model.history[:1] + [{"role": "user", "content": PLAN["echo_prompt"]}]
    planned(model.turn, stream=False)
    return PLAN["output"]


ledger(PLAN["prompt"])
from langfuse import get_client  # noqa: E402

get_client().flush()
