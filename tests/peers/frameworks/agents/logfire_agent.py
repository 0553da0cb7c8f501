"""Logfire's SDK with its own integrations: OpenAI's client, template arguments, instrumented functions, logging."""
import logging

import agent
import logfire
from base import PLAN, planned

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
    for n in range(3):
        for call, name, arguments in model.turn(stream=n == 2):
            key = agent.json.loads(arguments)["key"]
            try:
                text = {"lookup": lookup, "burn": burn}[name](key)
            except agent.ToolFailed as e:
                text = f"failed: {e}"
            model.result(call, text)
    logfire.info("Hello {customer}, the paper says {paper!r}", customer=PLAN["variables"]["customer"], paper=PLAN["documents"][0])
    logging.getLogger("ledger").warning("The customer wrote %s", PLAN["task"])
    model.client.embeddings.create(model="text-embedding-3-small", input=PLAN["embed"])
    span.set_attribute("answer", PLAN["output"])
    model.history = model.history[:1] + [{"role": "user", "content": PLAN["echo_prompt"]}]
    planned(model.turn, stream=False)
logfire.shutdown()
