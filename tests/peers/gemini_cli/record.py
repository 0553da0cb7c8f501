#!/usr/bin/env python3
"""Records what the Gemini CLI sends over OTLP, against the mock of the Gemini API.

    record.py [session …]         (needs npm_install.sh gemini_cli)

Writes tests/recordings/gemini-cli/<session>; the manifest is written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import ECHO, HOME, installed, main, mcp_server, openai_usage as usage, play  # noqa: E402

GEMINI = os.path.join(installed("gemini_cli"), "node_modules", "@google", "gemini-cli", "bundle", "gemini.js")
MODEL = "gemini-2.5-pro"


def shell(command, why):
    return ("run_shell_command", {"command": command, "description": why})


STEPS = [
    {"think": "I reason about {thinking} before anything else.", "say": "I will look, says {completion1}.",
     "tools": [shell("echo {toolargs} && cat notes.txt", "Show the notes {tooldesc}"), ("mcp_vaultdb_lookup", {"key": "{mcpargs}"})],
     "usage": usage(6200, 142, reasoning=64)},
    {"tools": [("read_file", {"file_path": "{filename}.txt"}), shell("sh fail.sh {failargs}", "Fail on purpose")], "usage": usage(6480, 61, read=6144)},
    {"say": "All done: {completion}.", "usage": usage(6610, 128, read=6400, reasoning=32)},
]
SESSIONS = {
    # tools that work (one of an MCP server), one that fails, a file, an answer; logPrompts and traces on
    "prompt": {"telemetry": {"logPrompts": True, "traces": True}, "steps": STEPS},
    # the model refuses, and its error quotes the prompt
    "failing": {"telemetry": {"logPrompts": True, "traces": True}, "exits": (0, 1, 41, 44, 52, 130),
                "steps": [{"error": 400, "type": "INVALID_ARGUMENT", "message": ECHO}] * 12},
    # logPrompts off, no traces
    "quiet": {"telemetry": {"logPrompts": False, "traces": False}, "steps": [STEPS[0], STEPS[2]]},
}
FILES = {
    "project/{filename}.txt": "alpha\n{fileread}\nomega\n",
    "project/GEMINI.md": "Project memory: {memory}\n",
    "system.md": "You keep a ledger. {system}\n",
}


def settings(session, canaries, sink):
    arguments, env = mcp_server(canaries)
    return {
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "general": {"disableAutoUpdate": True, "enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": True, "target": "local", "otlpEndpoint": sink, "otlpProtocol": "http", **session["telemetry"]},
        "mcpServers": {"vaultdb": {"command": "/usr/bin/env", "args": arguments, "trust": True, "env": env}},
    }


def answers(request):
    for content in request.get("contents", []):
        for part in content.get("parts", []):
            if answer := part.get("functionResponse"):
                yield answer.get("id"), answer["response"]


def tool_results(request):
    for call, response in answers(request):
        yield call, "error" not in response and "Exit Code: 3" not in json.dumps(response)


def command(prompt, *more):
    return ["node", GEMINI, "-p", prompt, "--model", MODEL, *(more or ("--approval-mode", "yolo"))]


def environment(model):
    return {"GEMINI_API_KEY": "dummy", "GOOGLE_GEMINI_BASE_URL": model, "GEMINI_SYSTEM_MD": f"{HOME}/system.md", "GEMINI_CLI_TRUST_WORKSPACE": "true"}


def record(name):
    session = SESSIONS[name]
    s = play("gemini-cli", name, session, MODEL,
             lambda s, canaries: {**canaries.fill(FILES), ".gemini/settings.json": json.dumps(settings(session, canaries, s.sink_url))},
             command, lambda s: environment(s.model_url))
    s.keep("http/json", session["telemetry"], s.outcomes(tool_results), True)


if __name__ == "__main__":
    main(record, SESSIONS)
