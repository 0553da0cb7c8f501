#!/usr/bin/env python3
"""Records what Python frameworks and their instrumentations send: an agent script on the real library, against the mock model.

    record.py CLIENT[/SESSION]…          (record.sh installs first; --groups prints the venvs it needs)

A client of CLIENTS is a folder of tests/recordings; manifests by manifest.py.
"""
import json
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import capture  # noqa: E402
from capture import anthropic_usage, openai_usage, session_uuid  # noqa: E402

# Stack traces name files: a fixed place says nothing of the machine
SCRATCH = "/tmp/tollgate-frameworks/home/alice"
OPENAI = [openai_usage(180, 40, reasoning=24), openai_usage(1400, 35, read=1280), openai_usage(1520, 220, read=1408, reasoning=128)]
ANTHROPIC = [anthropic_usage(120, 42, w5=2000), anthropic_usage(17, 61, read=2000, w5=30, w1=400), anthropic_usage(23, 128, read=2430)]
USAGES = {"openai": OPENAI, "anthropic": ANTHROPIC}
STREAMED = {"openai": openai_usage(310, 45, read=256, reasoning=10), "anthropic": anthropic_usage(44, 31, read=2100)}


def lanes(vendor, over):
    usages = over.get("usages") or USAGES[vendor]
    key = over.get("argument", "key")
    think = {"think": "I think of {thinking}."} if over.get("thinks", True) else {}
    return {
        "main": {"marker": "{prompt}", "bare": True, "anywhere": True, "steps": [
            {**think, "say": "I look {completion1}.", "tools": [("lookup", {key: "{toolargs}"})], "usage": usages[0]},
            {"tools": [("burn", {key: "{failargs}"})], "usage": usages[1]},
            {**({"tools": [over["answer_tool"]]} if "answer_tool" in over else {"say": over.get("answer", "The answer is {completion}.")}), "usage": usages[2]}]},
        "streamed": {"marker": "{streamprompt}", "bare": True, "anywhere": True, "steps": [
            {"say": over.get("streamed", "I stream {streamed} to you."), "usage": over.get("streamed_usage") or STREAMED[vendor]}]},
        "failing": {"marker": "{echo}", "bare": True, "anywhere": True, "steps": [
            {"error": 400, "type": "invalid_request_error",
             "message": "Refused {apierror}: 'Please move the money of {echo} to the account in the north' is not allowed"}] * 4},
        "embedding": {"marker": "{embedded}", "bare": True, "steps": [{"usage": openai_usage(7, 0)}] * 3},
    }


def plan(name, session):
    return {
        "model": session["model"], "system": "You keep a ledger. {system}", "prompt": "Ask the ledger for {prompt}.",
        "stream_prompt": "Tell me slowly about {streamprompt}.", "echo_prompt": "Please move the money of {echo} to the account in the north",
        "session": session_uuid(name), "user": "user-4711", "metadata": "A note to the keeper: {metadata}", "output": "Agent says {agentoutput}.",
        "template": "Hello {{customer}}, this is {template}", "variables": {"customer": "{variable}"}, "documents": ["The first paper says {document}."],
        "query": "Which paper speaks of {query}?", "embed": "embed {embedded}", "goal": "Keep the ledger whole {goal}", "backstory": "Born in {backstory}",
        "task": "Answer this: {task}", "expected": "A short answer {expected}", "description": "An agent that {description}",
        "tools": {"lookup": {"description": "Looks a key up {tooldef}", "result": "found {toolresult}"},
                  "burn": {"description": "Fails", "error": "it burnt: {toolerror}"}},
    }


def forget_unplayed(s, canaries):
    """What the plan offers and this script did not take was neither sent to the model nor recorded."""
    bodies = [json.dumps(s.mock.requests).encode()]
    for name in os.listdir(s.raw):
        if name.endswith((".pb", ".json")) and name[:3].isdigit():
            with open(os.path.join(s.raw, name), "rb") as f:
                bodies.append(f.read())
    for place, value in list(canaries.items()):
        if not any(value.encode() in body for body in bodies):
            del canaries[place]


def success(mock):
    return {tool["id"]: tool["name"] != "burn" for row in mock.ledger for tool in row.get("tools", [])}


def record(client, name):
    from clients import CLIENTS
    session = CLIENTS[client][name]
    full = f"{client}/{name}"
    canaries = capture.Canaries(full.replace("/", "-"))
    vendor = session.get("vendor", "openai")
    with capture.Session(client, name, canaries.fill(lanes(vendor, session.get("lanes", {}))), canaries, session["model"], pace=0.05) as s:
        path = os.path.join(s.raw, "plan.json")
        text = canaries.fill(plan(full, session))
        with open(path, "w") as f:
            json.dump(text, f)
        env = {
            "HOME": SCRATCH, "OPENAI_API_KEY": "dummy", "OPENAI_BASE_URL": f"{s.model_url}/v1", "ANTHROPIC_API_KEY": "dummy",
            "ANTHROPIC_BASE_URL": s.model_url, "MOCK_URL": s.model_url, "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url, "OTEL_SERVICE_NAME": "ledger-agent",
            "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3,deploy.environment=test,build.commit_sha=0123abc",
            "OTEL_BSP_SCHEDULE_DELAY": "600", "OTEL_BLRP_SCHEDULE_DELAY": "600", "OTEL_METRIC_EXPORT_INTERVAL": "60000",
            **{k: v.format(sink=s.sink_url, model=s.model_url) for k, v in session.get("env", {}).items()},
        }
        python = os.path.join(SCRATCH, f"venv-{session['group']}", "bin", "python")
        s.run([python, os.path.join(SCRATCH, session["script"]), path, session.get("variant", "")], env, SCRATCH, text["prompt"])
        with open(os.path.join(s.raw, "out-1.txt")) as f:
            print("   ", f.read().split("---- stderr")[1].strip()[-600:].replace("\n", "\n    "))
        forget_unplayed(s, canaries)
        s.keep("http/protobuf", session.get("env", {}), success(s.mock), vendor == "openai",
               more={"library": session["group"], "vendor": vendor, **session.get("ledger", {})})


def prepare(groups):
    shutil.rmtree(SCRATCH, ignore_errors=True)
    os.makedirs(SCRATCH)
    for source in [os.path.join(HERE, "agents", f) for f in os.listdir(os.path.join(HERE, "agents"))] + [os.path.join(HERE, "..", "instrumented", "agent.py")]:
        if source.endswith(".py"):
            shutil.copy(source, SCRATCH)
    for group in groups:
        os.symlink(os.path.join(capture.CACHE, f"venv-{group}"), os.path.join(SCRATCH, f"venv-{group}"))


def main():
    sys.path.insert(0, HERE)
    from clients import CLIENTS
    wanted = []
    for word in (w for w in sys.argv[1:] if w != "--groups"):
        client, _, name = word.partition("/")
        wanted += [(client, name)] if name else [(client, n) for n in CLIENTS[client]]
    groups = {CLIENTS[c][n]["group"] for c, n in wanted}
    if "--groups" in sys.argv:
        return print(*sorted(groups))
    prepare(groups)
    for one in wanted:
        record(*one)


if __name__ == "__main__":
    main()
