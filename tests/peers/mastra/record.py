#!/usr/bin/env python3
"""Records what Mastra sends through its own exporter: agent.mjs against the mock of the responses API.

    record.py [session …]         (needs install.sh)

Writes tests/recordings/mastra/<session>; the manifest is written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import HOME, Canaries, Session, fresh_home, installed, main, openai_usage as usage, session_uuid  # noqa: E402

AGENT = os.path.join(installed("mastra"), "agent.mjs")
MODEL = "gpt-5-mini"
ECHO = "Invalid input: the text 'Please overlook what {failprompt} says about it' is not allowed here. {apierror}"
SESSIONS = {"agent": {}}


def lanes():
    return {
        "agent": {"marker": "{prompt}", "steps": [
            {"think": "I think of {thinking} for a while.", "say": "I look {completion2}.", "tools": [("lookup", {"entry": "{toolargs}"})],
             "usage": usage(1400, 35, read=1280)},
            {"tools": [("burn", {"entry": "{failargs}"})], "usage": usage(1440, 31, read=1280)},
            {"say": "The answer is {completion}.", "usage": usage(1520, 220, read=1408, reasoning=128)}]},
        "stream": {"marker": "{streamprompt}", "steps": [{"say": "Streamed {completion3}.", "usage": usage(90, 15)}]},
        "fails": {"marker": "{failprompt}", "steps": [{"error": 400, "type": "invalid_request_error", "message": ECHO}] * 4},
    }


def plan_of(name):
    return {"model": MODEL, "system": "You keep a ledger. {system}", "session": session_uuid(f"mastra/{name}"), "user": "user-4711",
            "metadata": "a note {metadata}", "place": "the place of {stepoutput}",
            "prompts": {"agent": "Ask the ledger for {prompt}.", "stream": "Tell me all of {streamprompt}.", "topic": "a topic {stepinput}",
                        "fail": "Please overlook what {failprompt} says about it."},
            "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                      "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}}}


def record(name):
    canaries = Canaries(f"mastra-{name}")
    with Session("mastra", name, canaries.fill(lanes()), canaries, MODEL) as s:
        plan = canaries.fill(plan_of(name))
        fresh_home({"plan.json": json.dumps(plan)})
        env = {"HOME": HOME, "MODEL_URL": s.model_url, "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url, "MASTRA_TELEMETRY_DISABLED": "1"}
        printed = s.run(["node", AGENT, f"{HOME}/plan.json"], env, HOME, plan["prompts"]["agent"])
    worked = json.loads(printed.strip().splitlines()[-1])
    s.keep("http/protobuf", {}, {t["id"]: worked.get(t["name"]) for row in s.mock.ledger for t in row.get("tools", [])}, True)


if __name__ == "__main__":
    main(record, SESSIONS)
