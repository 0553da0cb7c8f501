#!/usr/bin/env python3
"""Records what Claude Code sends over OTLP: plays scenarios.py against the mock model and keeps every request.

    record.py [--out DIR] [session …]

Everything stays on loopback; Claude Code sees a fixed environment and a scratch home under SCRATCH, nothing of the caller's.
Per session: OUT/<session>/{n:03}-{signal}.{pb|json}, ledger.json (what the mock answered: the hand count), hooks/ (if any).
The manifest is written by manifest.py from these.
"""
import argparse
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
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import mock_model  # noqa: E402
import scenarios  # noqa: E402
import sink as sink_module  # noqa: E402

CACHE = os.environ.get("PEERS_CACHE") or os.path.join(REPO, "target", "peers")
CLAUDE = os.path.join(CACHE, "claude_code", "node_modules", "@anthropic-ai", "claude-code-linux-x64", "claude")
# A fixed place, so that paths in a recording say nothing of the machine; a home, so that redaction has a user to find.
SCRATCH = "/tmp/tollgate-peers"
HOME = f"{SCRATCH}/home/alice"
CWD = f"{HOME}/project"


def session_uuid(name):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tollgate/recordings/claude-code/{name}"))


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


def mark_outcomes(mock):
    """Whether each tool call worked, as the client told the model afterwards."""
    results = {block["tool_use_id"]: not block.get("is_error", False)
               for request in mock.requests for message in request["messages"] if isinstance(message["content"], list)
               for block in message["content"] if block.get("type") == "tool_result"}
    for row in mock.ledger:
        for tool in row.get("tools", []):
            tool["success"] = results.get(tool["id"])


def record(name, out):
    session = scenarios.SESSIONS[name]
    canaries = scenarios.Canaries(name)
    target = os.path.join(out, name)
    shutil.rmtree(target, ignore_errors=True)
    raw = os.path.join(CACHE, "claude_code", "raw", name)
    shutil.rmtree(raw, ignore_errors=True)

    store = sink_module.Sink(raw)
    server = sink_module.Server(("127.0.0.1", 0), sink_module.handler(store))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sink_url = f"http://127.0.0.1:{server.server_address[1]}"
    lanes = canaries.fill(session["lanes"])
    lanes = json.loads(json.dumps(lanes).replace("{cwd}", CWD))
    mock = mock_model.Mock(name, lanes, pace=0.8)
    model = mock_model.serve(mock)
    prepare(name, session, canaries, sink_url)
    env = environment(session, sink_url, f"http://127.0.0.1:{model.server_address[1]}")

    runs = []
    for i, prompt in enumerate(canaries.fill(session["prompts"])):
        command = [CLAUDE, "-p", prompt, "--model", session["model"], "--max-turns", "12", "--output-format", "json",
                   "--append-system-prompt", canaries.fill(scenarios.SYSTEM)]
        command += ["--resume", session_uuid(name)] if i else ["--session-id", session_uuid(name)]
        if session.get("mcp"):
            command += ["--mcp-config", f"{HOME}/mcp.json", "--strict-mcp-config"]
        command += canaries.fill(session.get("arguments", []))
        began = time.monotonic()
        done = subprocess.run(command, env=env, cwd=CWD, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
        runs.append({"prompt": prompt, "exit": done.returncode, "seconds": round(time.monotonic() - began, 2)})
        try:
            result = json.loads(done.stdout)
            runs[-1]["reported"] = {k: result.get(k) for k in ("session_id", "subtype", "is_error", "num_turns",
                                                               "total_cost_usd", "modelUsage", "permission_denials")}
        except ValueError:
            print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    server.shutdown()
    model.shutdown()

    os.makedirs(target)
    index = [json.loads(line) for line in open(os.path.join(raw, "requests.jsonl"))]
    files, hooks = [], []
    for row in index:
        if row["signal"] == "other":
            os.makedirs(os.path.join(target, "hooks"), exist_ok=True)
            body = json.load(open(os.path.join(raw, row["file"])))
            file = f"hooks/{len(hooks) + 1:03}-{body['hook_event_name']}.json"
            shutil.copy(os.path.join(raw, row["file"]), os.path.join(target, file))
            hooks.append({"file": file, "event": body["hook_event_name"], "offset_s": row["t"]})
            continue
        file = f"{len(files) + 1:03}-{row['signal']}.{row['file'].rsplit('.', 1)[1]}"
        shutil.copy(os.path.join(raw, row["file"]), os.path.join(target, file))
        headers = {k: v for k, v in row["headers"].items() if k in ("content-type", "content-encoding", "transfer-encoding", "user-agent")}
        files.append({"file": file, "signal": row["signal"], "offset_s": row["t"], "bytes": row["bytes"],
                      "wire_bytes": row["wire_bytes"], "path": row["path"], "headers": headers})
    mark_outcomes(mock)
    ledger = {"session": name, "session_id": session_uuid(name), "model": session["model"],
              "protocol": session.get("protocol", "http/protobuf"), "switches": session["env"], "runs": runs,
              "canaries": dict(sorted(canaries.items())), "calls": mock.ledger, "files": files, "hooks": hooks}
    with open(os.path.join(target, "ledger.json"), "w") as f:
        json.dump(ledger, f, indent=1)
        f.write("\n")
    with open(os.path.join(raw, "model-requests.json"), "w") as f:
        json.dump(mock.requests, f, indent=1)
    print(f"{name}: {[r['exit'] for r in runs]} {len(mock.ledger)} calls, {len(files)} files, {sum(r['seconds'] for r in runs):.1f} s")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(REPO, "tests", "recordings", "claude-code"))
    p.add_argument("sessions", nargs="*", default=list(scenarios.SESSIONS), metavar="session")
    a = p.parse_args()
    if not os.path.exists(CLAUDE):
        sys.exit(f"no {CLAUDE}: run install.sh first")
    for name in a.sessions or list(scenarios.SESSIONS):
        record(name, a.out)


if __name__ == "__main__":
    main()
