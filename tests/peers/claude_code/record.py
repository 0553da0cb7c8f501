#!/usr/bin/env python3
"""Records what Claude Code sends over OTLP: plays scenarios.py against the mock model and keeps every request.

    record.py [session …]         (needs npm_install.sh claude_code)

Everything stays on loopback; Claude Code sees a fixed environment and a scratch home under SCRATCH, nothing of the caller's.
Writes tests/recordings/claude-code/<session>, with its hooks if it has any; the manifest is written by manifest.py.
"""
import json
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import capture  # noqa: E402
import scenarios  # noqa: E402

CACHE = capture.CACHE
CLAUDE = os.path.join(CACHE, "claude_code", "node_modules", "@anthropic-ai", "claude-code-linux-x64", "claude")
# A fixed place, so that paths in a recording say nothing of the machine; a home, so that redaction has a user to find.
SCRATCH = "/tmp/tollgate-peers"
HOME = f"{SCRATCH}/home/alice"
CWD = f"{HOME}/project"


def settings(canaries, sink_url, hooks):
    out = {"permissions": {"allow": ["Bash(echo:*)", "Bash(cat:*)", "Bash(sh fail.sh:*)", "Read", "Edit", "Write", "Agent", "Task",
                                     "mcp__vaultdb__lookup"], "deny": ["Bash(curl:*)"]}}
    if hooks:
        hook = [{"hooks": [{"type": "http", "url": f"{sink_url}/hooks/claude-code"}]}]
        tools = [{"matcher": "*", **hook[0]}]
        out["hooks"] = {**{e: hook for e in ("SessionStart", "UserPromptSubmit", "Stop", "SubagentStop", "SessionEnd")},
                        **{e: tools for e in ("PreToolUse", "PostToolUse", "PostToolUseFailure", "PermissionDenied")}}
    return out


def prepare(name, session, canaries, sink_url):
    shutil.rmtree(SCRATCH, ignore_errors=True)
    os.makedirs(f"{HOME}/.claude/agents")
    os.makedirs(CWD)
    for path, content in canaries.fill(scenarios.FILES).items():
        with open(os.path.join(CWD, path), "w") as f:
            f.write(content)
    with open(f"{HOME}/.claude/settings.json", "w") as f:
        json.dump(settings(canaries, sink_url, session.get("hooks")), f)
    if agent := session.get("agent"):
        agent = canaries.fill(agent)
        with open(f"{HOME}/.claude/agents/{agent['name']}.md", "w") as f:
            f.write(f"---\nname: {agent['name']}\ndescription: {agent['description']}\nmodel: {agent['model']}\n"
                    f"tools: Bash, Read\n---\n{agent['prompt']}\n")
    if session.get("mcp"):
        shutil.copy(os.path.join(HERE, "mcp_server.py"), CWD)
        server = {"command": "/usr/bin/env", "args": ["python3", f"{CWD}/mcp_server.py", canaries["mcpresult"]]}
        with open(f"{HOME}/mcp.json", "w") as f:
            json.dump({"mcpServers": {"vaultdb": server}}, f)


def environment(session, sink_url, mock_url):
    # python3 may be a pyenv shim: let the MCP server find the one that runs this
    path = f"{os.path.dirname(os.path.realpath(sys.executable))}:/usr/local/bin:/usr/bin:/bin"
    env = {
        "HOME": HOME, "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb", "SHELL": "/bin/bash", "USER": "alice",
        "ANTHROPIC_BASE_URL": mock_url, "ANTHROPIC_API_KEY": "sk-ant-dummy-not-a-key",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1", "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
        "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp", "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": session.get("protocol", "http/protobuf"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink_url,
        "OTEL_METRIC_EXPORT_INTERVAL": "2000", "OTEL_LOGS_EXPORT_INTERVAL": "500", "OTEL_TRACES_EXPORT_INTERVAL": "500",
        "OTEL_RESOURCE_ATTRIBUTES": "deploy.environment=test,tenant.id=acme,work_tracker.issue_id=TOLL-42",
    }
    env.update({k: v.replace("{{sink}}", sink_url) for k, v in session["env"].items()})
    return env


def lanes_of(session, canaries):
    return json.loads(json.dumps(canaries.fill(session["lanes"])).replace("{cwd}", CWD))


def commands(name, session, canaries):
    """(prompt, command) for each prompt of a session."""
    uuid = capture.session_uuid(f"claude-code/{name}")
    for i, prompt in enumerate(canaries.fill(session["prompts"])):
        mcp = ["--mcp-config", f"{HOME}/mcp.json", "--strict-mcp-config"] if session.get("mcp") else []
        yield prompt, [CLAUDE, "-p", prompt, "--model", session["model"], "--max-turns", "12", "--output-format", "json",
                       "--append-system-prompt", canaries.fill(scenarios.SYSTEM), "--resume" if i else "--session-id", uuid,
                       *mcp, *canaries.fill(session.get("arguments", []))]


def record(name):
    session, canaries = scenarios.SESSIONS[name], scenarios.Canaries(name)
    with capture.Session("claude-code", name, lanes_of(session, canaries), canaries, session["model"], pace=0.8) as s:
        prepare(name, session, canaries, s.sink_url)
        for prompt, command in commands(name, session, canaries):
            result = json.loads(s.run(command, environment(session, s.sink_url, s.model_url), CWD, prompt, expect=(0, 1)) or "{}")
            s.runs[-1]["reported"] = {k: result.get(k) for k in ("session_id", "subtype", "is_error", "num_turns", "total_cost_usd", "modelUsage",
                                                                 "permission_denials")}
    s.keep(session.get("protocol", "http/protobuf"), session["env"], s.outcomes(capture.anthropic_results), False)


if __name__ == "__main__":
    if not os.path.exists(CLAUDE):
        sys.exit(f"no {CLAUDE}: run npm_install.sh claude_code first")
    capture.main(record, scenarios.SESSIONS)
