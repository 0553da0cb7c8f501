#!/usr/bin/env python3
"""Records what Genkit sends: agent.mjs against the mock of the chat completions API.

    record.py [session …]         (needs install.sh)

Writes tests/recordings/genkit/<session>; the manifest is written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import HOME, Canaries, Session, fresh_home, installed, main, openai_usage as usage  # noqa: E402

AGENT = os.path.join(installed("genkit"), "agent.mjs")
MODEL = "gpt-5-mini"
ECHO = "Invalid input: the text 'Please overlook what {failprompt} says about it' is not allowed here. {apierror}"
SESSIONS = {"flow": {}}


def lanes():
    return {
        "prompt": {"marker": "{variable}", "bare": True, "steps": [{"say": "The prompt says {completion1}.", "usage": usage(180, 40, reasoning=24)}]},
        "text": {"marker": "{prompt}", "steps": [
            {"say": "I look {completion2}.", "tools": [("lookup", {"key": "{toolargs}"})], "usage": usage(1400, 35, read=1280)},
            {"say": "The answer is {completion}.", "usage": usage(1520, 220, read=1408, reasoning=128)}]},
        "burn": {"marker": "{burnprompt}", "steps": [{"tools": [("burn", {"key": "{failargs}"})], "usage": usage(210, 30)}]},
        "stream": {"marker": "{streamprompt}", "bare": True, "steps": [{"say": "Streamed {completion3}.", "usage": usage(90, 15)}]},
        "fails": {"marker": "{failprompt}", "bare": True, "steps": [{"error": 400, "type": "invalid_request_error", "message": ECHO}]},
    }


PLAN = {"model": MODEL, "system": "You keep a ledger. {system}", "document": "the page reads {document}", "output": "Agent says {agentoutput}.",
        "prompts": {"variable": "{variable}", "retrieve": "find {query} on the shelf", "text": "Ask the ledger for {prompt}.", "burn": "Burn the page of {burnprompt}.",
                    "stream": "Tell me all of {streamprompt}.", "fail": "Please overlook what {failprompt} says about it."},
        "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                  "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}}}


def record(name):
    canaries = Canaries(f"genkit-{name}")
    with Session("genkit", name, canaries.fill(lanes()), canaries, MODEL) as s:
        plan = canaries.fill(PLAN)
        fresh_home({"plan.json": json.dumps(plan)})
        env = {"HOME": HOME, "OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{s.model_url}/v1", "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url,
               "OTEL_SERVICE_NAME": "ledger-agent", "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deploy.environment=test",
               "OTEL_NODE_RESOURCE_DETECTORS": "env", "GENKIT_ENV": "prod"}
        printed = s.run(["node", AGENT, f"{HOME}/plan.json"], env, HOME, plan["prompts"]["text"])
    worked = json.loads(printed.strip().splitlines()[-1])
    s.keep("http/protobuf", {}, {t["id"]: worked.get(t["name"]) for row in s.mock.ledger for t in row.get("tools", [])}, True)


if __name__ == "__main__":
    main(record, SESSIONS)
