#!/usr/bin/env python3
"""Records what the Codex CLI sends over OTLP, against the mock of the responses API.

    record.py [session …]         (needs install.sh)

Writes tests/recordings/codex/<session>; the manifest is written by manifest.py.
"""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from capture import CWD, HOME, Canaries, Session, fresh_home, installed, main, openai_usage as usage  # noqa: E402

CODEX = os.path.join(installed("codex"), "node_modules", "@openai", "codex", "vendor", "x86_64-unknown-linux-musl", "bin", "codex")
MCP_SERVER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "claude_code", "mcp_server.py")
MODEL = "gpt-5.5"


def shell(command):
    return ("exec_command", {"cmd": command})


STEPS = [
    {"think": "I reason about {thinking} before anything else.", "say": "I will look, says {completion1}.",
     "tools": [shell("echo {toolargs} && cat notes.txt")], "usage": usage(6200, 142, read=0, reasoning=64)},
    {"tools": [shell("sh fail.sh {failargs}")], "usage": usage(6480, 61, read=6144)},
    {"say": "All done: {completion}.", "usage": usage(6610, 128, read=6400, reasoning=32)},
]
ECHO = "Invalid input: the text 'Look at the notes for {prompt} and tell me what they say' is not allowed here. {apierror}"
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
FILES = {
    "project/notes.txt": "first line\nthe notes say {toolresult}\n",
    "project/fail.sh": 'echo "got $1" >&2\necho "{toolerror}" >&2\nexit 3\n',
    "project/AGENTS.md": "Project memory: {memory}\n",
}
PROMPT = "Look at the notes for {prompt} and tell me what they say."


def config(session, canaries, sink, model):
    def exporter(signal):
        if signal not in session["signals"]:
            return '"none"'
        return f'{{ otlp-http = {{ endpoint = "{sink}/v1/{signal}", protocol = "{session.get("protocol", "binary")}" }} }}'
    mcp = f'''
[mcp_servers.vaultdb]
command = "/usr/bin/env"
args = ["python3", "{CWD}/mcp_server.py", "{canaries["mcpresult"]}", "{canaries["mcpdef"]}"]
env = {{ PATH = "{os.path.dirname(os.path.realpath(sys.executable))}:/usr/bin:/bin" }}
''' if session.get("mcp") else ""
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


def tool_results(request):
    for item in request.get("input", []):
        if item.get("type") == "function_call_output":
            text = item["output"] if isinstance(item["output"], str) else json.dumps(item["output"])
            # a tool of an MCP server has no exit code, and none of these fails
            yield item["call_id"], "exited with code" not in text or "exited with code 0" in text


def record(name):
    session = SESSIONS[name]
    canaries = Canaries(f"codex-{name}")
    lanes = canaries.fill({"main": {"marker": "{prompt}", "anywhere": True, "steps": session["steps"]}})
    with Session("codex", name, lanes, canaries, MODEL) as s:
        fresh_home({**canaries.fill(FILES), ".codex/config.toml": config(session, canaries, s.sink_url, s.model_url)})
        if session.get("mcp"):
            shutil.copy(MCP_SERVER, CWD)
        prompt = canaries.fill(PROMPT)
        env = {"HOME": HOME, "USER": "alice", "SHELL": "/bin/bash", "TERM": "dumb", "MOCK_KEY": "sk-dummy-not-a-key",
               "OTEL_BLRP_SCHEDULE_DELAY": "200", "OTEL_BSP_SCHEDULE_DELAY": "200"}
        s.run([CODEX, "exec", "--skip-git-repo-check", prompt], env, CWD, prompt, expect=session.get("exits", (0,)))
    s.keep("http/json" if "protocol" in session else "http/protobuf", {"log_user_prompt": session["log_user_prompt"], "signals": session["signals"]},
           s.outcomes(tool_results), True)


if __name__ == "__main__":
    main(record, SESSIONS)
