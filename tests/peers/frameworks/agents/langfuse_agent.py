"""Langfuse's SDK: observe, its OpenAI wrapper, scores, sent to an OTLP endpoint."""
import agent
from base import PLAN
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
        agent.turns(model, 3, True, lambda call, name, arguments: {"lookup": lookup, "burn": burn}[name](agent.json.loads(arguments)["key"]))
    agent.afterwards(model, PLAN)
    return PLAN["output"]


ledger(PLAN["prompt"])
from langfuse import get_client  # noqa: E402

get_client().flush()
