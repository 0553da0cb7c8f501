#!/usr/bin/env python3
"""Records what official Python instrumentations send: agent.py on a real vendor SDK, against the mock model.

    record.py [session …]         (needs install.sh)

Writes tests/recordings/semconv/<session> and tests/recordings/openinference/<session>; manifests by manifest.py.
"""
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "claude_code")]
import mock_model  # noqa: E402
import sink as sink_module  # noqa: E402
from scenarios import Canaries  # noqa: E402

CACHE = os.environ.get("PEERS_CACHE") or os.path.join(REPO, "target", "peers")
# Stack traces name files: a fixed place says nothing of the machine
SCRATCH = "/tmp/tollgate-peers/home/alice"
PYTHONS = {library: os.path.join(SCRATCH, venv, "bin", "python") for library, venv in
           (("genai", "venv-instrumented"), ("native", "venv-instrumented"), ("openinference", "venv-instrumented"), ("openai-v2", "venv-openai-v2"))}

SPAN_AND_EVENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_and_event", "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "true",
                  "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}


def openai_usage(i, out, read=0, reasoning=0):
    return {"in": i, "out": out, "read": read, "w5": 0, "w1": 0, "reasoning": reasoning}


def anthropic_usage(i, out, read=0, w5=0, w1=0):
    return {"in": i, "out": out, "read": read, "w5": w5, "w1": w1}


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
            "session": str(uuid.uuid5(uuid.NAMESPACE_URL, f"tollgate/recordings/{name}")), "user": "user-4711", "metadata": "{metadata}",
            "output": "Agent says {agentoutput}.", "turns": 3,
            "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                      "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}}, **session["plan"]}
    return canaries.fill(plan)


def record(name):
    session = SESSIONS[name]
    canaries = Canaries(name.replace("/", "-"))
    target = os.path.join(REPO, "tests", "recordings", name)
    raw = os.path.join(CACHE, "instrumented-raw", name)
    for folder in (target, raw):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
    store = sink_module.Sink(raw)
    server = sink_module.Server(("127.0.0.1", 0), sink_module.handler(store))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lanes = {"main": {"marker": "{prompt}", "steps": steps(session["usage"]) + [FAILS]}}
    if "embed" in session["plan"]:
        lanes["embedding"] = {"marker": "{embedded}", "bare": True, "steps": [{"usage": openai_usage(7, 0)}]}
    mock = mock_model.Mock(name, canaries.fill(lanes), pace=0.4)
    model = mock_model.serve(mock)
    url = f"http://127.0.0.1:{model.server_address[1]}"
    plan = plan_of(name, session, canaries)
    with open(os.path.join(raw, "plan.json"), "w") as f:
        json.dump(plan, f)
    env = {
        "PATH": "/usr/bin:/bin", "HOME": SCRATCH, "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1",
        "OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{url}/v1", "ANTHROPIC_API_KEY": "dummy", "ANTHROPIC_BASE_URL": url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "OTEL_SERVICE_NAME": "ledger-agent",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deploy.environment=test,build.commit_sha=0123abc",
        "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_BLRP_SCHEDULE_DELAY": "500", "OTEL_METRIC_EXPORT_INTERVAL": "1000", **session["env"],
    }
    began = time.monotonic()
    done = subprocess.run([PYTHONS[session["library"]], f"{SCRATCH}/agent.py", session["library"], session["vendor"], os.path.join(raw, "plan.json")],
                          env=env, capture_output=True, text=True, timeout=120)
    run = {"prompt": plan["prompt"], "exit": done.returncode, "seconds": round(time.monotonic() - began, 2)}
    server.shutdown()
    model.shutdown()
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-3000:]}")
    outcomes = json.loads(done.stdout.strip().splitlines()[-1])
    for row in mock.ledger:
        for tool in row.get("tools", []):
            tool["success"] = outcomes.get(tool["id"])
    files = []
    for row in (json.loads(line) for line in open(os.path.join(raw, "requests.jsonl"))):
        file = f"{len(files) + 1:03}-{row['signal']}.pb"
        shutil.copy(os.path.join(raw, row["file"]), os.path.join(target, file))
        headers = {k: v for k, v in row["headers"].items() if k in ("content-type", "content-encoding", "user-agent")}
        files.append({"file": file, "signal": row["signal"], "offset_s": row["t"], "bytes": row["bytes"], "path": row["path"], "headers": headers})
    ledger = {"session": name, "session_id": plan["session"], "model": session["model"], "protocol": "http/protobuf", "switches": session["env"],
              "library": session["library"], "vendor": session["vendor"], "input_includes_cached": session["vendor"] != "anthropic",
              "runs": [run], "canaries": dict(sorted(canaries.items())), "calls": mock.ledger, "files": files}
    with open(os.path.join(target, "ledger.json"), "w") as f:
        json.dump(ledger, f, indent=1)
        f.write("\n")
    print(f"{name}: {len(mock.ledger)} calls, {len(files)} files, {run['seconds']} s {done.stderr[-300:].strip()}")


def main():
    shutil.rmtree(SCRATCH, ignore_errors=True)
    os.makedirs(SCRATCH)
    shutil.copy(os.path.join(HERE, "agent.py"), SCRATCH)
    for venv in ("venv-instrumented", "venv-openai-v2"):
        os.symlink(os.path.abspath(os.path.join(CACHE, venv)), os.path.join(SCRATCH, venv))
    if missing := [p for p in PYTHONS.values() if not os.path.exists(p)]:
        sys.exit(f"no {missing[0]}: run install.sh first")
    for name in sys.argv[1:] or SESSIONS:
        record(name)


if __name__ == "__main__":
    main()
