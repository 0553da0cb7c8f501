#!/usr/bin/env python3
"""Records what the OpenAI Agents SDK for JavaScript sends under OpenInference: agent.mjs against the mock of the responses API.

    record.py [session …]         (needs install.sh)

Writes tests/recordings/openinference-js/<session>; the manifest is written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import HOME, Canaries, Session, fresh_home, installed, main, openai_usage as usage, session_uuid  # noqa: E402

AGENT = os.path.join(installed("openai_agents_js"), "agent.mjs")
MODEL = "gpt-5-mini"
ECHO = "Invalid input: the text 'Please overlook what {failprompt} says about it' is not allowed here. {apierror}"
SESSIONS = {"openai-agents": {}}


def lanes():
    return {
        "agent": {"marker": "{prompt}", "steps": [
            {"think": "I think of {thinking} for a while.", "say": "I look {completion2}.", "tools": [("lookup", {"key": "{toolargs}"})],
             "usage": usage(1400, 35, read=1280)},
            {"tools": [("burn", {"key": "{failargs}"})], "usage": usage(1440, 31, read=1280)},
            {"say": "The answer is {completion}.", "usage": usage(1520, 220, read=1408, reasoning=128)}]},
        "stream": {"marker": "{streamprompt}", "steps": [{"tools": [("transfer_to_helper", {})], "usage": usage(310, 12)}]},
        "helper": {"marker": "{streamprompt}", "bare": True, "steps": [{"say": "Streamed {completion3}.", "usage": usage(90, 15)}]},
        "fails": {"marker": "{failprompt}", "steps": [{"error": 400, "type": "invalid_request_error", "message": ECHO}]},
    }


def plan_of(name):
    return {"model": MODEL, "system": "You keep a ledger. {system}", "helper": "You help. {agentsystem}", "handoff": "Knows it all {handoff}",
            "session": session_uuid(f"openinference-js/{name}"), "user": "user-4711", "metadata": "a note {metadata}",
            "prompts": {"agent": "Ask the ledger for {prompt}.", "stream": "Tell me all of {streamprompt}.", "fail": "Please overlook what {failprompt} says about it."},
            "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                      "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}}}


def record(name):
    canaries = Canaries(f"openinference-js-{name}")
    with Session("openinference-js", name, canaries.fill(lanes()), canaries, MODEL) as s:
        plan = canaries.fill(plan_of(name))
        fresh_home({"plan.json": json.dumps(plan)})
        env = {"HOME": HOME, "OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{s.model_url}/v1", "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url,
               "OTEL_SERVICE_NAME": "ledger-agent", "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deploy.environment=test",
               "OTEL_NODE_RESOURCE_DETECTORS": "env", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
        printed = s.run(["node", AGENT, f"{HOME}/plan.json"], env, HOME, plan["prompts"]["agent"])
    worked = json.loads(printed.strip().splitlines()[-1])
    # a hand-off is a tool to the model
    outcomes = {t["id"]: worked.get(t["id"], t["name"].startswith("transfer")) for row in s.mock.ledger for t in row.get("tools", [])}
    s.keep("http/protobuf", {}, outcomes, True, more={"library": "openinference", "vendor": "openai-agents"})


if __name__ == "__main__":
    main(record, SESSIONS)
