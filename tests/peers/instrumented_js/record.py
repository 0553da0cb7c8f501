#!/usr/bin/env python3
"""Records what JavaScript instrumentations of the OpenAI and Anthropic SDKs send: agent.cjs against the mock model.

    record.py [session …]         (needs install.sh)

A session is named CLIENT/NAME and written to tests/recordings/CLIENT/NAME; the manifests are written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import HOME, Canaries, Session, anthropic_usage, fresh_home, installed, main, openai_usage, session_uuid  # noqa: E402

AGENT = os.path.join(installed("instrumented_js"), "agent.cjs")
OPENAI = [openai_usage(180, 40, reasoning=24), openai_usage(1400, 35, read=1280), openai_usage(1520, 220, read=1408, reasoning=128)]
ANTHROPIC = [anthropic_usage(120, 42, w5=2000), anthropic_usage(17, 61, read=2000, w5=30, w1=400), anthropic_usage(23, 128, read=2430)]
ECHO = "Invalid input: the text 'Ask the ledger for {prompt} and be quick about it' is not allowed here. {apierror}"
SPAN_AND_EVENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true", "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
CHAT = {"vendor": "openai", "model": "gpt-5-mini", "embed": "embed {embedded}"}
RESPONSES = {"vendor": "responses", "model": "gpt-5-mini"}
CLAUDE = {"vendor": "anthropic", "model": "claude-sonnet-4-5"}
ESTIMATED = "cached tokens are not told, a stream's tokens are the client's estimate, embeddings have no span"
SESSIONS = {
    "openinference-js/openai": {"library": "openinference", **CHAT, "untold": "the streamed call and the embeddings have spans without tokens"},
    "openinference-js/openai-responses": {"library": "openinference", **RESPONSES},
    "openinference-js/anthropic": {"library": "openinference", **CLAUDE},
    "openinference-js/quiet": {"library": "openinference", **CHAT, "content": False, "untold": "the streamed call and the embeddings have spans without tokens"},
    "openllmetry-js/openai": {"library": "openllmetry", **CHAT, "untold": ESTIMATED},
    "openllmetry-js/openai-responses": {"library": "openllmetry", **RESPONSES, "untold": "cached tokens are not told, the streamed call has no span"},
    "openllmetry-js/anthropic": {"library": "openllmetry", **CLAUDE, "untold": "the split of 5 m and 1 h is not told"},
    "openllmetry-js/quiet": {"library": "openllmetry", **CHAT, "content": False, "env": {"TRACELOOP_TRACE_CONTENT": "false"}, "untold": ESTIMATED},
    "semconv-js/openai": {"library": "official", **CHAT, "env": SPAN_AND_EVENT, "untold": "cached tokens are not told"},
    "semconv-js/anthropic-native": {"library": "native", **CLAUDE, "env": {**SPAN_AND_EVENT, "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content"}},
    "semconv-js/quiet": {"library": "official", **CHAT, "content": False, "untold": "cached tokens are not told"},
}


def lanes(session):
    u = ANTHROPIC if session["vendor"] == "anthropic" else OPENAI
    fails = {"error": 400, "type": "invalid_request_error", "message": ECHO}
    return {
        "main": {"marker": "{prompt}", "steps": [
            {"think": "I think of {thinking} for a while.", "say": "I look {completion1}.", "tools": [("lookup", {"key": "{toolargs}"})], "usage": u[0]},
            {"tools": [("burn", {"key": "{failargs}"})], "usage": u[1]},
            {"say": "The answer is {completion}.", "usage": u[2]}, fails]},
        "embedding": {"marker": "{embedded}", "bare": True, "steps": [{"usage": openai_usage(7, 0)}]},
    }


def plan_of(name, session):
    return {"system": "You keep a ledger. {system}", "prompt": "Ask the ledger for {prompt} and be quick about it.", "content": True, "stream": True, "turns": 3,
            "session": session_uuid(name), "user": "user-4711", "metadata": "a note {metadata}", "variable": "{variable}", "output": "Agent says {agentoutput}.",
            "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                      "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}}, **{k: v for k, v in session.items() if k not in ("env", "untold")}}


def record(name):
    session = SESSIONS[name]
    canaries = Canaries(name.replace("/", "-"))
    client, short = name.split("/")
    with Session(client, short, canaries.fill(lanes(session)), canaries, session["model"]) as s:
        plan = canaries.fill(plan_of(name, session))
        fresh_home({"plan.json": json.dumps(plan)})
        switches = {**session.get("env", {}), "content": plan["content"]}
        env = {"HOME": HOME, "OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{s.model_url}/v1", "ANTHROPIC_API_KEY": "dummy", "ANTHROPIC_BASE_URL": s.model_url,
               "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url, "OTEL_SERVICE_NAME": "ledger-agent", "TRACELOOP_TELEMETRY": "false", "TRACELOOP_SYNC_ENABLED": "false",
               "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deploy.environment=test", "OTEL_NODE_RESOURCE_DETECTORS": "env",
               "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_BLRP_SCHEDULE_DELAY": "500", **session.get("env", {})}
        printed = s.run(["node", AGENT, session["library"], session["vendor"], f"{HOME}/plan.json"], env, HOME, plan["prompt"])
    s.keep("http/protobuf", switches, json.loads(printed.strip().splitlines()[-1]), session["vendor"] != "anthropic",
           more={k: session[k] for k in ("library", "vendor", "untold") if k in session})


if __name__ == "__main__":
    main(record, SESSIONS)
