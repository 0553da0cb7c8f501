#!/usr/bin/env python3
"""Records what the Codex CLI sends over OTLP, against the mock of the responses API.

    record.py [session …]         (needs npm_install.sh codex)

Writes tests/recordings/codex/<session>; the manifest is written by manifest.py.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import ECHO, installed, main, mcp_server, openai_usage as usage, play  # noqa: E402

CODEX = os.path.join(installed("codex"), "node_modules", "@openai", "codex", "vendor", "x86_64-unknown-linux-musl", "bin", "codex")
MODEL = "gpt-5.5"


def shell(command):
    return ("exec_command", {"cmd": command})


STEPS = [
    {"think": "I reason about {thinking} before anything else.", "say": "I will look, says {completion1}.",
     "tools": [shell("echo {toolargs} && cat notes.txt")], "usage": usage(6200, 142, read=0, reasoning=64)},
    {"tools": [shell("sh fail.sh {failargs}")], "usage": usage(6480, 61, read=6144)},
    {"say": "All done: {completion}.", "usage": usage(6610, 128, read=6400, reasoning=32)},
]
# One call of the model makes a hundred spans and more, one session as many data points: not every session sends every signal
SESSIONS = {
    # tools that work (one of an MCP server), one that fails, an answer; content on
    "exec": {"log_user_prompt": True, "signals": ("logs", "traces"), "mcp": True, "steps": [
        {**STEPS[0], "tools": STEPS[0]["tools"] + [("mcp__vaultdb::lookup", {"key": "{mcpargs}"})] + STEPS[1]["tools"]},
        {**STEPS[2], "usage": usage(6480, 128, read=6144, reasoning=32)}]},
    # the first attempt is refused, the second breaks off with an error that quotes the prompt, the third works
    "retried": {"log_user_prompt": True, "signals": ("logs",), "protocol": "json", "steps": [
        {"error": 500, "type": "server_error", "message": ECHO}, {"error": 200, "type": "server_error", "message": ECHO}, STEPS[0], STEPS[2]]},
    # no switch
    "quiet": {"log_user_prompt": False, "signals": ("logs", "metrics"), "steps": STEPS},
}


def config(session, canaries, sink, model):
    def exporter(signal):
        if signal not in session["signals"]:
            return '"none"'
        return f'{{ otlp-http = {{ endpoint = "{sink}/v1/{signal}", protocol = "{session.get("protocol", "binary")}" }} }}'
    mcp = ""
    if session.get("mcp"):
        arguments, env = mcp_server(canaries)
        mcp = f'''[mcp_servers.vaultdb]
command = "/usr/bin/env"
args = {json.dumps(arguments)}
env = {{ PATH = {json.dumps(env["PATH"])} }}
'''
    return f'''
model = "{MODEL}"
model_provider = "mock"
approval_policy = "never"
sandbox_mode = "danger-full-access"
developer_instructions = "You keep a ledger. {canaries["system"]}"
[model_providers.mock]
name = "Mock"
base_url = "{model}/v1"
env_key = "MOCK_KEY"
wire_api = "responses"
request_max_retries = 2
stream_max_retries = 2
[otel]
environment = "test"
log_user_prompt = {str(session["log_user_prompt"]).lower()}
exporter = {exporter("logs")}
trace_exporter = {exporter("traces")}
metrics_exporter = {exporter("metrics")}
{mcp}'''


def result_texts(request):
    for item in request.get("input", []):
        if item.get("type") == "function_call_output":
            yield item["call_id"], item["output"] if isinstance(item["output"], str) else json.dumps(item["output"])


def tool_results(request):
    for call, text in result_texts(request):
        # a tool of an MCP server has no exit code, and none of these fails
        yield call, "exited with code" not in text or "exited with code 0" in text


def command(prompt, *more):
    return [CODEX, "exec", "--skip-git-repo-check", *more, prompt]


def environment(_model):
    return {"MOCK_KEY": "sk-dummy-not-a-key", "OTEL_BLRP_SCHEDULE_DELAY": "200", "OTEL_BSP_SCHEDULE_DELAY": "200"}


def record(name):
    session = SESSIONS[name]
    s = play("codex", name, session, MODEL,
             lambda s, canaries: {"project/AGENTS.md": canaries.fill("Project memory: {memory}\n"), ".codex/config.toml": config(session, canaries, s.sink_url, s.model_url)},
             command, lambda s: environment(s.model_url))
    s.keep("http/json" if "protocol" in session else "http/protobuf", {"log_user_prompt": session["log_user_prompt"], "signals": session["signals"]},
           s.outcomes(tool_results), True)


if __name__ == "__main__":
    main(record, SESSIONS)
