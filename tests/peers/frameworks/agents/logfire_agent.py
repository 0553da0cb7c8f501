"""Logfire's SDK with its own integrations: OpenAI's client, template arguments, instrumented functions, logging."""
import logging

import agent
import logfire
from base import PLAN

logfire.configure(send_to_logfire=False, console=False, service_name="ledger-agent")
logfire.instrument_openai()
logging.basicConfig(handlers=[logfire.LogfireLoggingHandler()], level=logging.INFO)


@logfire.instrument("Looking {key=} up", extract_args=True, record_return=True)
def lookup(key):
    return PLAN["tools"]["lookup"]["result"]


@logfire.instrument("Burning {key}")
def burn(key):
    raise agent.ToolFailed(PLAN["tools"]["burn"]["error"])


model = agent.Chat(PLAN)
with logfire.set_baggage(session_id=PLAN["session"]), logfire.span("Agent asks {question}", question=PLAN["prompt"], user_id=PLAN["user"],
                                                                      settings={"note": PLAN["metadata"]}) as span:
    agent.turns(model, 3, True, lambda call, name, arguments: {"lookup": lookup, "burn": burn}[name](agent.json.loads(arguments)["key"]))
    logfire.info("Hello {customer}, the paper says {paper!r}", customer=PLAN["variables"]["customer"], paper=PLAN["documents"][0])
    logging.getLogger("ledger").warning("The customer wrote %s", PLAN["task"])
    span.set_attribute("answer", PLAN["output"])
    agent.afterwards(model, PLAN)
logfire.shutdown()
