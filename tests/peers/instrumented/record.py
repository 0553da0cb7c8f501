#!/usr/bin/env python3
"""Records what official Python instrumentations send: agent.py on a real vendor SDK, against the mock model.

    record.py [session …]         (needs pip_install.sh venv-instrumented instrumented/requirements.txt, and venv-openai-v2 of the other file,
                                  because opentelemetry-instrumentation-openai-v2 stopped before opentelemetry-util-genai 1.0)

Writes tests/recordings/semconv/<session> and tests/recordings/openinference/<session>; manifests by manifest.py.
"""
import json
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from capture import CACHE, Canaries, Session, anthropic_usage, main, openai_usage, session_uuid  # noqa: E402

# Stack traces name files: a fixed place says nothing of the machine
SCRATCH = "/tmp/tollgate-peers/home/alice"
PYTHONS = {library: os.path.join(SCRATCH, venv, "bin", "python") for library, venv in
           (("genai", "venv-instrumented"), ("native", "venv-instrumented"), ("openinference", "venv-instrumented"), ("openai-v2", "venv-openai-v2"))}

SPAN_AND_EVENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_and_event", "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "true",
                  "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}


def steps(usages):
    """Two tools, one of which fails, then the answer."""
    return [
        {"think": "I think of {thinking}.", "say": "I look {completion1}.", "tools": [("lookup", {"key": "{toolargs}"})], "usage": usages[0]},
        {"tools": [("burn", {"key": "{failargs}"})], "usage": usages[1]},
        {"say": "The answer is {completion}.", "usage": usages[2]},
    ]


OPENAI = [openai_usage(180, 40, reasoning=24), openai_usage(1400, 35, read=1280), openai_usage(1520, 220, read=1408, reasoning=128)]
ANTHROPIC = [anthropic_usage(120, 42, w5=2000), anthropic_usage(17, 61, read=2000, w5=30, w1=400), anthropic_usage(23, 128, read=2430)]
FAILS = {"error": 429, "type": "rate_limit_error", "message": "Slow down {apierror}", "headers": [("retry-after", "1")]}

SESSIONS = {
    "semconv/openai": {"library": "genai", "vendor": "openai", "model": "gpt-5-mini", "usage": OPENAI, "env": SPAN_AND_EVENT,
                       "plan": {"stream": True, "embed": "embed {embedded}", "then_fails": True}},
    "semconv/openai-responses": {"library": "genai", "vendor": "responses", "model": "gpt-5-mini", "usage": OPENAI, "env": SPAN_AND_EVENT,
                                 "plan": {"stream": False}},
    "semconv/anthropic": {"library": "genai", "vendor": "anthropic", "model": "claude-sonnet-4-5", "usage": ANTHROPIC, "env": SPAN_AND_EVENT,
                          "plan": {"stream": True, "then_fails": True}},
    "semconv/anthropic-native": {"library": "native", "vendor": "anthropic", "model": "claude-sonnet-4-5", "usage": ANTHROPIC,
                                 "env": {**SPAN_AND_EVENT, "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content"},
                                 "plan": {"stream": True, "then_fails": True}},
    "semconv/openai-v2-events": {"library": "openai-v2", "vendor": "openai", "model": "gpt-4.1", "usage": OPENAI,
                                 "env": {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}, "plan": {"stream": True, "then_fails": True}},
    "semconv/quiet": {"library": "genai", "vendor": "openai", "model": "gpt-5-mini", "usage": OPENAI, "env": {}, "plan": {"stream": True}},
    "openinference/openai": {"library": "openinference", "vendor": "openai", "model": "gpt-5-mini", "usage": OPENAI, "env": {},
                             "plan": {"stream": True, "embed": "embed {embedded}", "then_fails": True}},
    "openinference/openai-responses": {"library": "openinference", "vendor": "responses", "model": "gpt-5-mini", "usage": OPENAI, "env": {},
                                       "plan": {"stream": False}},
    "openinference/anthropic": {"library": "openinference", "vendor": "anthropic", "model": "claude-sonnet-4-5", "usage": ANTHROPIC, "env": {},
                                "plan": {"stream": True, "then_fails": True}},
    "openinference/quiet": {"library": "openinference", "vendor": "openai", "model": "gpt-5-mini", "usage": OPENAI,
                            "env": {"OPENINFERENCE_HIDE_INPUTS": "true", "OPENINFERENCE_HIDE_OUTPUTS": "true"}, "plan": {"stream": True}},
}


def plan_of(name, session, canaries):
    plan = {"model": session["model"], "system": "You keep a ledger. {system}", "prompt": "Ask the ledger for {prompt}.",
            "session": session_uuid(name), "user": "user-4711", "metadata": "{metadata}",
            "output": "Agent says {agentoutput}.", "turns": 3,
            "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                      "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}}, **session["plan"]}
    return canaries.fill(plan)


def record(name):
    session, (client, short) = SESSIONS[name], name.split("/")
    canaries = Canaries(name.replace("/", "-"))
    lanes = {"main": {"marker": "{prompt}", "steps": steps(session["usage"]) + [FAILS]}}
    if "embed" in session["plan"]:
        lanes["embedding"] = {"marker": "{embedded}", "bare": True, "steps": [{"usage": openai_usage(7, 0)}]}
    with Session(client, short, canaries.fill(lanes), canaries, session["model"], pace=0.4) as s:
        path, plan = os.path.join(s.raw, "plan.json"), plan_of(name, session, canaries)
        with open(path, "w") as f:
            json.dump(plan, f)
        env = {
            "HOME": SCRATCH, "OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{s.model_url}/v1", "ANTHROPIC_API_KEY": "dummy",
            "ANTHROPIC_BASE_URL": s.model_url, "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url, "OTEL_SERVICE_NAME": "ledger-agent",
            "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deploy.environment=test,build.commit_sha=0123abc",
            "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_BLRP_SCHEDULE_DELAY": "500", "OTEL_METRIC_EXPORT_INTERVAL": "1000", **session["env"],
        }
        said = s.run([PYTHONS[session["library"]], f"{SCRATCH}/agent.py", session["library"], session["vendor"], path], env, SCRATCH, plan["prompt"])
    s.keep("http/protobuf", session["env"], json.loads(said.strip().splitlines()[-1]), session["vendor"] != "anthropic",
           more={"session_id": plan["session"], "library": session["library"], "vendor": session["vendor"]})


if __name__ == "__main__":
    shutil.rmtree(SCRATCH, ignore_errors=True)
    os.makedirs(SCRATCH)
    shutil.copy(os.path.join(HERE, "agent.py"), SCRATCH)
    for venv in ("venv-instrumented", "venv-openai-v2"):
        os.symlink(os.path.abspath(os.path.join(CACHE, venv)), os.path.join(SCRATCH, venv))
    if missing := [p for p in PYTHONS.values() if not os.path.exists(p)]:
        sys.exit(f"no {missing[0]}: run pip_install.sh first")
    main(record, SESSIONS)
