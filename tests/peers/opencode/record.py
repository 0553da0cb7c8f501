#!/usr/bin/env python3
"""Records what OpenCode sends over OTLP, against the mock of the chat completions API.

    record.py [session …]         (needs npm_install.sh opencode)

Writes tests/recordings/opencode/<session>; the manifest is written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import ECHO, installed, main, mcp_server, openai_usage as usage, play  # noqa: E402

OPENCODE = os.path.join(installed("opencode"), "node_modules", "opencode-linux-x64", "bin", "opencode")
MODEL = "gpt-5-mini"
STEPS = [
    {"reasons": "I reason about {thinking} before anything else.", "say": "I will look, says {completion1}.", "tools": [
        ("bash", {"command": "echo {toolargs} && cat notes.txt", "description": "Show the notes {tooldesc}"}), ("vaultdb_lookup", {"key": "{mcpargs}"}),
        ("read", {"filePath": "{{cwd}}/{filename}.txt"}), ("bash", {"command": "sh fail.sh {failargs}", "description": "Fail on purpose"})],
     "usage": usage(6200, 142, reasoning=64)},
    {"say": "All done: {completion}.", "usage": usage(6610, 128, read=6400, reasoning=32)},
]
FAILS = {"error": 503, "type": "server_error", "message": ECHO, "headers": [("retry-after", "0")]}
SESSIONS = {
    # the first attempt is refused with an error that quotes the prompt; tools that work (one of an MCP server), one that fails, a file, an answer
    "run": {"experimental": {"openTelemetry": True}, "steps": [FAILS, *STEPS], "signals": ("traces", "logs")},
    # without the experimental switch; of its own tracing (hundreds of spans of its database) the logs are kept
    "quiet": {"experimental": {}, "steps": STEPS, "signals": ("logs",)},
}


def worth(session, folder):
    """Which requests to keep: hundreds of spans tell of the client's database and files; of those with none of a model's call none is kept."""
    def choose(row):
        with open(os.path.join(folder, row["file"])) as f:
            return row["signal"] in session["signals"] and (row["signal"] != "traces" or '"name":"ai.' in f.read())
    return choose


FILES = {
    "project/{filename}.txt": "alpha\n{fileread}\nomega\n",
    "project/AGENTS.md": "Project memory: {memory}\n",
}


def config(session, canaries, model):
    return {
        "$schema": "https://opencode.ai/config.json", "autoupdate": False, "share": "disabled", "model": f"mock/{MODEL}", "small_model": f"mock/{MODEL}",
        "provider": {"mock": {"npm": "@ai-sdk/openai-compatible", "name": "Mock", "options": {"baseURL": f"{model}/v1", "apiKey": "dummy"},
                              "models": {MODEL: {"name": MODEL, "reasoning": True, "tool_call": True, "limit": {"context": 200000, "output": 32000}}}}},
        "agent": {"build": {"prompt": f"You keep a ledger. {canaries['system']}"}},
        "permission": {"bash": "allow", "edit": "allow"},
        "mcp": {"vaultdb": {"type": "local", "enabled": True, "command": [os.path.realpath(sys.executable), *mcp_server(canaries)[0][1:]]}},
        "experimental": session["experimental"],
    }


def tool_results(request):
    for message in request.get("messages", []):
        if message["role"] == "tool":
            text = json.dumps(message["content"])
            yield message["tool_call_id"], "got CANARY" not in text


def record(name):
    session = SESSIONS[name]
    # it sends every 5 s and not at its end: what its last seconds held is lost
    s = play("opencode", name, session, MODEL,
             lambda s, canaries: {**canaries.fill(FILES), "project/opencode.json": json.dumps(config(session, canaries, s.model_url))},
             lambda prompt: [OPENCODE, "run", prompt],
             lambda s: {**{f"OPENCODE_DISABLE_{what}": "1" for what in ("MODELS_FETCH", "AUTOUPDATE", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")},
                        "OTEL_EXPORTER_OTLP_ENDPOINT": s.sink_url, "OTEL_RESOURCE_ATTRIBUTES": "deploy.environment=test"},
             pace=6.0 if "traces" in session["signals"] else 0.2)
    s.keep("http/json", {"experimental.openTelemetry": bool(session["experimental"])}, s.outcomes(tool_results), True,
           choose=worth(session, s.raw), more={"untold": "spans are sent every 5 s and not at the end: the last call's are lost; without the switch no call has one"})


if __name__ == "__main__":
    main(record, SESSIONS)
