#!/usr/bin/env python3
"""Records what JavaScript clients send: the agent of a folder against the mock model.

    record_js.py FOLDER [CLIENT/SESSION …]         (needs npm_install.sh FOLDER)

FOLDER/sessions.json has what is played: lanes of the mock by vendor, the agent's plan, its environment and the sessions. Writes
tests/recordings/CLIENT/SESSION; manifest.py writes the manifest.
"""
import json
import os
import sys

from capture import HERE, HOME, Canaries, Session, fresh_home, installed, session_uuid

DEFAULTS = {"HOME": HOME, "OTEL_EXPORTER_OTLP_ENDPOINT": "{sink}"}


def tool_outcome(printed, tool):
    """Whether a tool call worked: the agent prints it by the call's id or the tool's name. A hand-off is a tool to the model alone."""
    return printed.get(tool["id"], printed.get(tool["name"], True if tool["name"].startswith("transfer_to") else None))


def prepare(folder, name):
    """(session, canaries, lanes, plan) of a session, with the canaries filled in."""
    with open(os.path.join(HERE, folder, "sessions.json")) as f:
        data = json.load(f)
    session = {"vendor": "openai", "plan": {}, "env": {}, "more": {}, "switches": {}, **data["sessions"][name]}
    session["env"] = {**DEFAULTS, **data["env"], **session["env"]}
    canaries = Canaries(name.replace("/", "-"))
    lanes = canaries.fill(data["lanes"][session["vendor"]])
    plan = canaries.fill({**data["plan"], "session": session_uuid(name), **session["plan"]})
    return session, canaries, lanes, plan


def record(folder, name):
    session, canaries, lanes, plan = prepare(folder, name)
    files = [name for name in os.listdir(os.path.join(HERE, folder)) if name.startswith("agent.")]
    client, short = name.split("/")
    with Session(client, short, lanes, canaries, session["model"]) as s:
        fresh_home({"plan.json": json.dumps(plan)})
        env = {key: value.replace("{sink}", s.sink_url).replace("{model}", s.model_url) for key, value in session["env"].items()}
        command = ["node", os.path.join(installed(folder), files[0]), *session.get("arguments", []), f"{HOME}/plan.json"]
        printed = json.loads(s.run(command, env, HOME, session["prompt"].format(**canaries)).strip().splitlines()[-1])
    outcomes = {tool["id"]: tool_outcome(printed, tool) for row in s.mock.ledger for tool in row.get("tools", [])}
    s.keep("http/protobuf", session["switches"], outcomes, session["vendor"] != "anthropic", more=session["more"])


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    with open(os.path.join(HERE, folder, "sessions.json")) as f:
        for name in names or json.load(f)["sessions"]:
            record(folder, name)
