#!/usr/bin/env python3
"""Records what the Gemini CLI sends over OTLP, against the mock of the Gemini API.

    record.py [session …]         (needs install.sh)

Writes tests/recordings/gemini-cli/<session>; the manifest is written by manifest.py.
"""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import CWD, HOME, Canaries, Session, fresh_home, installed, main, openai_usage as usage  # noqa: E402

GEMINI = os.path.join(installed("gemini_cli"), "node_modules", "@google", "gemini-cli", "bundle", "gemini.js")
MCP_SERVER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "claude_code", "mcp_server.py")
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
ECHO = "Invalid input: the text 'Look at the notes for {prompt} and tell me what they say' is not allowed here. {apierror}"
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
    "project/notes.txt": "first line\nthe notes say {toolresult}\n",
    "project/{filename}.txt": "alpha\n{fileread}\nomega\n",
    "project/fail.sh": 'echo "got $1" >&2\necho "{toolerror}" >&2\nexit 3\n',
    "project/GEMINI.md": "Project memory: {memory}\n",
    "system.md": "You keep a ledger. {system}\n",
}
PROMPT = "Look at the notes for {prompt} and tell me what they say."


def settings(session, canaries, sink):
    return {
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "general": {"disableAutoUpdate": True, "enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": True, "target": "local", "otlpEndpoint": sink, "otlpProtocol": "http", **session["telemetry"]},
        "mcpServers": {"vaultdb": {"command": "/usr/bin/env", "args": ["python3", f"{CWD}/mcp_server.py", canaries["mcpresult"], canaries["mcpdef"]], "trust": True,
                                   "env": {"PATH": f"{os.path.dirname(os.path.realpath(sys.executable))}:/usr/bin:/bin"}}},
    }


def tool_results(request):
    for content in request.get("contents", []):
        for part in content.get("parts", []):
            if answer := part.get("functionResponse"):
                text = json.dumps(answer["response"])
                yield answer.get("id"), "error" not in answer["response"] and "Exit Code: 3" not in text


def record(name):
    session = SESSIONS[name]
    canaries = Canaries(f"gemini-cli-{name}")
    lanes = canaries.fill({"main": {"marker": "{prompt}", "anywhere": True, "steps": session["steps"]}})
    with Session("gemini-cli", name, lanes, canaries, MODEL) as s:
        fresh_home(canaries.fill(FILES) | {".gemini/settings.json": json.dumps(settings(session, canaries, s.sink_url))})
        shutil.copy(MCP_SERVER, CWD)
        prompt = canaries.fill(PROMPT)
        env = {"HOME": HOME, "USER": "alice", "SHELL": "/bin/bash", "TERM": "dumb", "GEMINI_API_KEY": "dummy", "GOOGLE_GEMINI_BASE_URL": s.model_url,
               "GEMINI_SYSTEM_MD": f"{HOME}/system.md", "GEMINI_CLI_TRUST_WORKSPACE": "true"}
        s.run(["node", GEMINI, "-p", prompt, "--model", MODEL, "--approval-mode", "yolo"], env, CWD, prompt, expect=session.get("exits", (0,)))
    s.keep("http/json", session["telemetry"], s.outcomes(tool_results), True)


if __name__ == "__main__":
    main(record, SESSIONS)
