#!/usr/bin/env python3
"""Builds what the claude-otel-hooks of the articles send: spans with the Python SDK, one POST per hook, over OTLP/HTTP protobuf.

    build.py            (needs the venv of sdk/install.sh; run it with that Python)

No such package is in a registry, so this is BUILT, NOT RECORDED: names, keys, types, ids and batching follow what the articles and
the published sources say; the code is our own. Times are fixed, so building again gives the same bytes but for span ids.
"""
import hashlib
import json
import os
import shutil
import sys
import threading
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "claude_code")]
import sink as sink_module  # noqa: E402
from opentelemetry import trace  # noqa: E402
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: E402
from opentelemetry.sdk.resources import Resource  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: E402
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags  # noqa: E402
from scenarios import Canaries  # noqa: E402

OUT = os.path.join(REPO, "tests", "recordings", "claude-otel-hooks")
CACHE = os.environ.get("PEERS_CACHE") or os.path.join(REPO, "target", "peers")
START = 1_795_165_200_000_000_000  # 2026-11-20T09:00:00Z
SECOND = 1_000_000_000
CWD = "/home/alice/project"


class TurnIds(RandomIdGenerator):
    """A turn's trace id and root span id come from sha256 of `session:turn`."""

    def __init__(self, trace_id, span_id):
        self.trace_id, self.span_id = trace_id, span_id

    def generate_trace_id(self):
        return self.trace_id

    def generate_span_id(self):
        taken, self.span_id = self.span_id, None
        return taken or super().generate_span_id()


class Hooks:
    """The hook scripts of one session; `linked` is the later form, where a turn is a trace."""

    def __init__(self, name, endpoint, linked):
        self.session = str(uuid.uuid5(uuid.NAMESPACE_URL, f"tollgate/recordings/claude-otel-hooks/{name}"))
        self.endpoint, self.linked, self.turn, self.n, self.now = endpoint, linked, "", 0, START
        self.calls, self.prompts = [], []

    def post(self, *spans):
        """One process of a hook: its spans, (name, attributes, start, end, error, role), each in a request of its own."""
        resource = {"service.name": "claude-code" if self.linked else "claude-code-interactive", "gen_ai.system": "anthropic"}
        ids, parent = None, None
        if self.linked:
            resource["gen_ai.provider.name"] = "anthropic"
        if self.linked and self.turn:
            digest = hashlib.sha256(f"{self.session}:{self.turn}".encode()).digest()
            trace_id, root = int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big")
            parent = trace.set_span_in_context(NonRecordingSpan(SpanContext(trace_id, root, True, TraceFlags(1))))
            if any(s[5] == "root" for s in spans):
                ids = TurnIds(trace_id, root)
        provider = TracerProvider(resource=Resource.create(resource), **({"id_generator": ids} if ids else {}))
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{self.endpoint}/v1/traces")))
        tracer = provider.get_tracer("claude_code_hooks", "1.0.0")
        for name, attributes, start, end, error, role in spans:
            attributes = {"git.origin": "git@git.example.com:acme/ledger.git", "git.repo": "ledger",
                          "session.id": self.session, "cwd": CWD, **attributes}
            if self.linked:
                attributes["gen_ai.conversation.id"] = self.session
                if "gen_ai.operation.name" in attributes:
                    attributes.setdefault("gen_ai.provider.name", "anthropic")
                    attributes.setdefault("gen_ai.agent.name", "Claude Code")
            span = tracer.start_span(name, context=parent if role == "child" else None, kind=SpanKind.INTERNAL,
                                     start_time=start, attributes=attributes)
            if error is None:
                span.set_status(StatusCode.OK)
            else:
                kind, message = error
                span.set_status(StatusCode.ERROR, message)
                if self.linked:
                    span.add_event("exception", {"exception.type": kind, "exception.message": message}, timestamp=end)
            span.end(end_time=end)
        provider.force_flush()
        provider.shutdown()

    def at(self, name, attributes, seconds=0.0, error=None, role="child"):
        start = self.now
        self.now += int(seconds * SECOND)
        self.post((name, attributes, start, self.now, error, role))
        self.now += SECOND // 10

    def begin(self):
        self.at("claude_code.session.start", {"session.trigger": "startup"}, role="alone")

    def end(self):
        self.at("claude_code.session.end", {"session.end_reason": "prompt_input_exit", "gen_ai.operation.name": "session_end",
                                            "session.duration_ms": (self.now - START) // 1_000_000}, role="alone")

    def prompt(self, text, content):
        self.n += 1
        self.turn = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.session}/{self.n}"))
        self.turn_start, self.turn_calls = self.now, []
        self.prompts.append({"prompt": text, "turn_id": self.turn})
        self.at("claude_code.user_prompt", {"turn.id": self.turn, "prompt.char_length": len(text), "prompt.word_count": len(text.split()),
                                            **({"gen_ai.prompt": text[:2000]} if content else {})})

    def tool(self, call, name, arguments, result=None, error=None, seconds=0.2, content=False, more=None):
        mcp = name.split("__") if name.startswith("mcp__") else None
        attributes = {
            "turn.id": self.turn, "gen_ai.operation.name": "tool_call", "gen_ai.tool.name": name,
            "gen_ai.tool.type": "extension" if mcp else "function", "gen_ai.tool.success": error is None,
            "tool_use_id": call, "tool.duration_ms": int(seconds * 1000),
            **({"gen_ai.tool.mcp_server": mcp[1], "gen_ai.tool.mcp_action": mcp[2]} if mcp else {}), **(more or {}),
            **({"gen_ai.tool.input": json.dumps(arguments)[:2000]} if content else {}),
            **({"gen_ai.tool.output": str(result)[:2000]} if content and error is None else {}),
            **({"error.message": error[1][:500], "error.type": error[0]} if error else {}),
        }
        self.at("claude_code.tool", attributes, seconds, error)
        self.calls[-1]["tools"].append({"id": call, "name": name, "input": arguments, "success": error is None})

    def call(self, model, usage, stop="tool_use", messages=None):
        """A call of the model; it is told only at the end of the turn."""
        self.now += SECOND
        row = {"n": len(self.calls) + 1, "lane": "main", "request_id": None, "message_id": f"msg_{hashlib.sha256(f'{self.session}{len(self.calls)}'.encode()).hexdigest()[:20]}",
               "model": model, "usage": usage, "stop_reason": stop, "tools": []}
        self.calls.append(row)
        self.turn_calls.append({"row": row, "start": self.now - SECOND, "end": self.now, "messages": messages})

    def stop(self, reason=None):
        """The Stop hook. Earlier form: the last call's usage; later form: the sum, and a span per call."""
        last = self.turn_calls[-1]["row"]
        reason = reason or last["stop_reason"]
        counted = [c["row"]["usage"] for c in (self.turn_calls if self.linked else self.turn_calls[-1:])]
        total = {k: sum(u[k] for u in counted) for k in counted[0]}
        told = total["cache_read_tokens"] + total["input_tokens"]
        attributes = {"turn.id": self.turn, "gen_ai.operation.name": "chat", "gen_ai.request.model": last["model"], "agent.stop_reason": reason,
                      **usage_keys(total), "gen_ai.usage.cache_hit_ratio": round(total["cache_read_tokens"] / told, 4) if told else 0.0}
        if self.linked:
            attributes["turn.llm_calls"] = len(self.turn_calls)
        failed = ("stop_reason", reason) if reason in ("error", "max_turns") else None
        spans = [("claude_code.turn.stop", attributes, self.turn_start if self.linked else self.now, self.now, failed, "root")]
        for c in self.turn_calls if self.linked else []:
            messages = c["messages"] or {}
            spans.append(("claude_code.llm_call", {
                "turn.id": self.turn, "gen_ai.operation.name": "chat", "gen_ai.request.model": c["row"]["model"],
                "gen_ai.response.id": c["row"]["message_id"], "agent.stop_reason": c["row"]["stop_reason"], **usage_keys(c["row"]["usage"]),
                **{f"gen_ai.{k}.messages": json.dumps(v) for k, v in messages.items()}}, c["start"], c["end"], None, "child"))
        self.post(*spans)
        self.turn = ""


def usage(i, out, read, write):
    return {"input_tokens": i, "output_tokens": out, "cache_read_tokens": read, "cache_creation_tokens": write}


def usage_keys(u):
    return {f"gen_ai.usage.{k}": v for k, v in u.items()}


def text(role, content, **more):
    return {"role": role, "parts": [{"type": "text", "content": content}], **more}


# ---- the sessions -----------------------------------------------------------------------------------------------------

def articles(h, c):
    """As the articles tell it: every span a root of its own, no content, one call a turn, two models."""
    h.begin()
    h.prompt(f"Mend the ledger {c['prompt']}", content=False)
    h.call("claude-opus-4-8", usage(10, 200, 9000, 500))
    h.tool("toolu_a1", "Bash", {"command": f"make {c['toolargs']}"}, "ok", seconds=0.8)
    h.tool("toolu_a2", "mcp__vaultdb__lookup", {"key": c["mcpargs"]}, "ok", seconds=0.05)
    h.tool("toolu_a3", "Edit", {"old_string": c["toolargs"], "new_string": "x"}, "ok", seconds=0.02, more={"edit.lines_added": 12, "edit.lines_removed": 3})
    h.calls[-1]["stop_reason"] = h.turn_calls[-1]["row"]["stop_reason"] = "end_turn"
    h.stop()
    h.prompt(f"And now sum up {c['prompt2']}", content=False)
    h.call("claude-haiku-4-5", usage(310, 40, 0, 1200), stop="end_turn")
    h.stop()
    h.end()


def turns(h, c):
    """The later form with every content switch: a turn is a trace, a span per call, messages and tool texts in the attributes."""
    h.begin()
    h.prompt(f"Mend the ledger {c['prompt']}", content=True)
    h.call("claude-sonnet-4-5", usage(10, 200, 9000, 500), messages={
        "input": [text("user", f"Mend the ledger {c['prompt']}")],
        "output": [{"role": "assistant", "parts": [{"type": "text", "content": f"I look {c['completion1']}"}, {
            "type": "tool_call", "id": "toolu_b1", "name": "Bash", "arguments": {"command": f"cat {c['toolargs']}"}}], "finish_reason": "tool_use"}]})
    h.tool("toolu_b1", "Bash", {"command": f"cat {c['toolargs']}"}, {"stdout": c["toolresult"], "stderr": ""}, content=True)
    h.tool("toolu_b2", "mcp__vaultdb__lookup", {"key": c["mcpargs"]}, error=("ToolError", f"no key {c['toolerror']}"), content=True)
    h.at("claude_code.subagent", {"gen_ai.operation.name": "subagent", "agent.id": "a029be7d72ff9e927", "agent.type": "Explore",
                                  "agent.duration_ms": 1500}, 1.5)
    h.at("claude_code.notification", {"turn.id": h.turn, "notification.message": f"Claude waits {c['notification']}"})
    h.call("claude-haiku-4-5", usage(10, 200, 9000, 500), stop="end_turn", messages={
        # the key of a tool's answer is `result` here
        "input": [{"role": "tool", "parts": [{"type": "tool_call_response", "id": "toolu_b1", "result": c["toolresult"]}]}],
        "output": [text("assistant", f"Done {c['completion']}", finish_reason="end_turn")]})
    h.stop()
    h.at("claude_code.context.compact", {"gen_ai.operation.name": "compact", "compaction.trigger": "auto", "context.tokens_before": 180000,
                                         "context.tokens_after": 40000, "context.tokens_saved": 140000, "compaction.duration_ms": 900}, 0.9, role="alone")
    h.end()


def failures(h, c):
    """What must be seen: a failed tool, a denied one, a turn that ran out of turns, one that broke."""
    h.begin()
    h.prompt(f"Break it {c['prompt']}", content=False)
    h.call("claude-sonnet-4-5", usage(50, 7, 0, 10))
    h.tool("toolu_c1", "Bash", {"command": c["toolargs"]}, error=("unknown", f"exit 3: {c['toolerror']} " + "x" * 600))
    h.at("claude_code.permission.request", {"gen_ai.tool.name": "Bash", "tool_use_id": "toolu_c2"})
    h.at("claude_code.permission.denied", {"gen_ai.tool.name": "Bash", "tool_use_id": "toolu_c2", "permission.denied": True,
                                           "permission.deny_reason": f"not allowed {c['denyreason']}", "permission.decision_ms": 12},
         0.012, ("PermissionDenied", "permission denied"))
    h.stop("max_turns")
    h.prompt(f"Again {c['prompt2']}", content=False)
    h.at("claude_code.turn.stop_failure", {"turn.id": h.turn, "error.type": "rate_limit"}, error=("rate_limit", "rate_limit"), role="root")
    h.end()


SESSIONS = {"articles": (articles, False, "claude_code.turn.stop"), "turns": (turns, True, "claude_code.llm_call"),
            "failures": (failures, False, "claude_code.turn.stop")}


def build(name):
    play, linked, bills = SESSIONS[name]
    raw, target = os.path.join(CACHE, "hooks-raw", name), os.path.join(OUT, name)
    for folder in (raw, target):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
    server = sink_module.Server(("127.0.0.1", 0), sink_module.handler(sink_module.Sink(raw)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    canaries = Canaries(f"hooks-{name}")
    hooks = Hooks(name, f"http://127.0.0.1:{server.server_address[1]}", linked)
    play(hooks, canaries)
    server.shutdown()
    files = []
    for row in (json.loads(line) for line in open(os.path.join(raw, "requests.jsonl"))):
        shutil.copy(os.path.join(raw, row["file"]), os.path.join(target, row["file"]))
        files.append({"file": row["file"], "signal": row["signal"], "offset_s": row["t"], "bytes": row["bytes"], "path": row["path"],
                      "headers": {k: v for k, v in row["headers"].items() if k in ("content-type", "content-encoding", "user-agent")}})
    ledger = {"session": name, "session_id": hooks.session, "model": hooks.calls[0]["model"], "protocol": "http/protobuf", "switches": {},
              "call_records": [bills], "runs": hooks.prompts, "canaries": dict(sorted(canaries.items())), "calls": hooks.calls, "files": files}
    with open(os.path.join(target, "ledger.json"), "w") as f:
        json.dump(ledger, f, indent=1)
        f.write("\n")
    print(f"{name}: {len(files)} files")


if __name__ == "__main__":
    # the caller's own OTEL_* must not show in the spans
    for key in [k for k in os.environ if k.startswith("OTEL_")]:
        del os.environ[key]
    for session in sys.argv[1:] or SESSIONS:
        build(session)
