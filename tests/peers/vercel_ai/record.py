#!/usr/bin/env python3
"""Records what the Vercel AI SDK, versions 4 to 7, sends: agent.mjs against the mock model.

    record.py [session …]         (needs install.sh)

Writes tests/recordings/vercel-ai/<session>; the manifest is written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import HOME, Canaries, Session, anthropic_usage, fresh_home, installed, main, openai_usage, session_uuid  # noqa: E402

AGENT = os.path.join(installed("vercel_ai"), "agent.mjs")
OPENAI = [openai_usage(180, 40, reasoning=24), openai_usage(1400, 35, read=1280), openai_usage(210, 30), openai_usage(240, 12),
          openai_usage(1520, 220, read=1408, reasoning=128), openai_usage(90, 15)]
ANTHROPIC = [anthropic_usage(120, 42, w5=2000), anthropic_usage(17, 61, read=2000, w5=30, w1=400), anthropic_usage(210, 30), anthropic_usage(240, 12),
             anthropic_usage(23, 128, read=2430), anthropic_usage(90, 15)]
ECHO = "Invalid input: the text 'Please overlook what {failprompt} says about it' is not allowed here. {apierror}"
SESSIONS = {
    "v4-chat": {"version": 4, "vendor": "openai", "model": "gpt-5-mini", "untold": "the tokens of the streamed call are NaN"},
    "v5-responses": {"version": 5, "vendor": "responses", "model": "gpt-5-mini", "untold": "cached tokens are told for the stream only"},
    "v6-anthropic": {"version": 6, "vendor": "anthropic", "model": "claude-sonnet-4-5"},
    "v6-quiet": {"version": 6, "vendor": "openai", "model": "gpt-5-mini", "record": False},
    "v7-responses": {"version": 7, "vendor": "responses", "model": "gpt-5-mini"},
    "v7-legacy": {"version": 7, "vendor": "anthropic", "model": "claude-sonnet-4-5", "legacy": True},
}


def lanes(session):
    u = ANTHROPIC if session["vendor"] == "anthropic" else OPENAI
    fails = {"error": 400, "type": "invalid_request_error", "message": ECHO}
    return {
        "text": {"marker": "{prompt}", "steps": [
            {"think": "I think of {thinking} for a while.", "say": "I look {completion1}.", "tools": [("lookup", {"key": "{toolargs}"})], "usage": u[0]},
            {"say": "The answer is {completion}.", "usage": u[1]}]},
        "burn": {"marker": "{burnprompt}", "steps": [
            {"tools": [("burn", {"key": "{failargs}"})], "usage": u[2]}, {"say": "It failed {completion2}.", "usage": u[3]}]},
        "stream": {"marker": "{streamprompt}", "steps": [
            {"think": "I think of {thinking2} for a while.", "say": "Streamed {completion3}.", "usage": u[4]}]},
        "object": {"marker": "{objectprompt}", "bare": True, "steps": [{"say": '{{"key": "{object}"}}', "usage": u[5]}]},
        "embed": {"marker": "{embedded}", "bare": True, "steps": [{"usage": openai_usage(7, 0)}]},
        "fails": {"marker": "{failprompt}", "bare": True, "steps": [fails] * 4},
    }


def plan_of(name, session):
    return {"system": "You keep a ledger. {system}", "session": session_uuid(f"vercel-ai/{name}"), "user": "user-4711", "metadata": "a note {metadata}",
            "record": True, "schema": "An entry {schemadesc}", **session,
            "prompts": {"text": "Ask the ledger for {prompt}.", "burn": "Burn the page of {burnprompt}.", "stream": "Tell me all of {streamprompt}.",
                        "object": "Make an entry of {objectprompt}.", "embed": "embed {embedded}", "fail": "Please overlook what {failprompt} says about it."},
            "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                      "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}}}


def record(name):
    session = SESSIONS[name]
    canaries = Canaries(f"vercel-ai-{name}")
    with Session("vercel-ai", name, canaries.fill(lanes(session)), canaries, session["model"]) as s:
        plan = canaries.fill(plan_of(name, session))
        fresh_home({"plan.json": json.dumps(plan)})
        env = {"HOME": HOME, "MODEL_URL": s.model_url, "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url, "OTEL_SERVICE_NAME": "ledger-agent", "AI_SDK_LOG_WARNINGS": "false",
               "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deploy.environment=test", "OTEL_TRACES_EXPORTER": "otlp",
               "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_NODE_RESOURCE_DETECTORS": "env"}
        printed = s.run(["node", AGENT, f"{HOME}/plan.json"], env, HOME, plan["prompts"]["text"])
    outcomes = json.loads(printed.strip().splitlines()[-1])
    s.keep("http/protobuf", {"recordInputs": plan["record"], "recordOutputs": plan["record"]}, outcomes, session["vendor"] != "anthropic",
           more={"library": f"ai {session['version']}", **{k: session[k] for k in ("vendor", "untold") if k in session}})


if __name__ == "__main__":
    main(record, SESSIONS)
