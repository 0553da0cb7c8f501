#!/usr/bin/env python3
"""Records what LangChain and LangGraph for JavaScript send under OpenInference and OpenLLMetry: agent.cjs against the mock model.

    record.py [session …]         (needs install.sh)

A session is named CLIENT/NAME and written to tests/recordings/CLIENT/NAME; the manifests are written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import HOME, Canaries, Session, fresh_home, installed, main, openai_usage as usage, session_uuid  # noqa: E402

AGENT = os.path.join(installed("langchain_js"), "agent.cjs")
MODEL = "gpt-5-mini"
ECHO = "Invalid input: the text 'Please overlook what {failprompt} says about it' is not allowed here. {apierror}"
SESSIONS = {
    "openinference-js/langchain": {"library": "openinference"},
    "openinference-js/langchain-responses": {"library": "openinference", "api": "responses"},
    "openllmetry-js/langchain": {"library": "openllmetry", "untold": "cached tokens are not told"},
}


def lanes():
    return {
        "chain": {"marker": "{variable}", "bare": True, "steps": [{"say": "The chain says {completion1}.", "usage": usage(180, 40, reasoning=24)}]},
        "agent": {"marker": "{prompt}", "steps": [
            {"think": "I think of {thinking} for a while.", "say": "I look {completion2}.", "tools": [("lookup", {"key": "{toolargs}"})],
             "usage": usage(1400, 35, read=1280)},
            {"tools": [("burn", {"key": "{failargs}"})], "usage": usage(1440, 31, read=1280)},
            {"say": "The answer is {completion}.", "usage": usage(1520, 220, read=1408, reasoning=128)}]},
        "graph": {"marker": "{graphprompt}", "bare": True, "steps": [{"say": "Streamed {completion3}.", "usage": usage(90, 15)}]},
        "fails": {"marker": "{failprompt}", "bare": True, "steps": [{"error": 400, "type": "invalid_request_error", "message": ECHO}]},
    }


def plan_of(name, session):
    return {"model": MODEL, "system": "You keep a ledger. {system}", "content": True, "session": session_uuid(name), "user": "user-4711",
            "metadata": "a note {metadata}", "document": "the page reads {document}", "output": "Agent says {agentoutput}.",
            "prompts": {"chain": "{variable}", "retrieve": "find {query} on the shelf", "agent": "Ask the ledger for {prompt}.", "graph": "Write about {graphprompt}",
                        "fail": "Please overlook what {failprompt} says about it."},
            "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                      "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}}, **session}


def record(name):
    session = SESSIONS[name]
    canaries = Canaries(name.replace("/", "-"))
    client, short = name.split("/")
    with Session(client, short, canaries.fill(lanes()), canaries, MODEL) as s:
        plan = canaries.fill(plan_of(name, session))
        fresh_home({"plan.json": json.dumps(plan)})
        env = {"HOME": HOME, "OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{s.model_url}/v1", "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url,
               "OTEL_SERVICE_NAME": "ledger-agent", "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deploy.environment=test",
               "OTEL_NODE_RESOURCE_DETECTORS": "env", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "500",
               "TRACELOOP_TELEMETRY": "false", "TRACELOOP_SYNC_ENABLED": "false", "LANGCHAIN_TRACING_V2": "false"}
        printed = s.run(["node", AGENT, session["library"], f"{HOME}/plan.json"], env, HOME, plan["prompts"]["agent"])
    s.keep("http/protobuf", {}, json.loads(printed.strip().splitlines()[-1]), True, more={"vendor": "langchain", **{k: session[k] for k in ("library", "untold") if k in session}})


if __name__ == "__main__":
    main(record, SESSIONS)
