#!/usr/bin/env python3
"""A mock of the Anthropic Messages API that plays a written scenario. Standard library only.

A scenario is a set of lanes (main agent, sub-agent); each request takes the next step of the first lane whose `marker`
stands in the request's first user message (and whose `model`, if it has one, is the request's). What was answered is kept in `ledger`: the hand count of a recording.

A step:
    {"say": text?, "think": text?, "tools": [(name, input)…], "usage": {in, out, read, w5, w1}, "stop": …}
    {"error": 529, "type": "overloaded_error", "message": …}
"""
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Anything no lane wants (a title, a topic check) gets this, and is counted like any call.
FALLBACK = {"say": "ok", "usage": {"in": 11, "out": 3, "read": 0, "w5": 0, "w1": 0}}


def text_of(content):
    if isinstance(content, str):
        return content
    return "\n".join(b.get("text", "") for b in content if isinstance(b, dict))


class Mock:
    def __init__(self, name, lanes, pace=0.0):
        self.name = name
        self.pace = pace
        self.lanes = [{"name": n, **lane, "steps": list(lane["steps"])} for n, lane in lanes.items()]
        self.lock = threading.Lock()
        self.ledger = []
        self.requests = []

    def step(self, request):
        users = [m for m in request.get("messages", []) if m.get("role") == "user"]
        first = text_of(users[0]["content"]) if users else ""
        with self.lock:
            lane = next((l for l in self.lanes if l["marker"] in first and request.get("tools")
                         and l.get("model") in (None, request.get("model"))), None)
            step = lane["steps"].pop(0) if lane and lane["steps"] else FALLBACK
            n = len(self.requests) + 1
            self.requests.append(request)
            tag = hashlib.sha256(f"{self.name}/{n}".encode()).hexdigest()[:20]
            row = {"n": n, "lane": lane["name"] if lane else None, "request_id": f"req_{tag}", "message_id": f"msg_{tag}",
                   "model": request.get("model"), "stream": bool(request.get("stream"))}
            if "error" in step:
                row["error"] = step["error"]
            else:
                u = step["usage"]
                row["usage"] = {"input_tokens": u["in"], "output_tokens": u["out"], "cache_read_tokens": u["read"],
                                "cache_creation_tokens": u["w5"] + u["w1"], "cache_creation_5m_tokens": u["w5"],
                                "cache_creation_1h_tokens": u["w1"]}
                row["stop_reason"] = stop_reason(step)
                row["tools"] = []
                for i, (tool, arguments) in enumerate(step.get("tools", [])):
                    row["tools"].append({"id": f"toolu_{tag}{i}", "name": tool, "input": arguments})
            self.ledger.append(row)
        return step, row


def stop_reason(step):
    return step.get("stop") or ("tool_use" if step.get("tools") else "end_turn")


def usage_of(row, output):
    u = row["usage"]
    return {"input_tokens": u["input_tokens"], "cache_creation_input_tokens": u["cache_creation_tokens"],
            "cache_read_input_tokens": u["cache_read_tokens"],
            "cache_creation": {"ephemeral_5m_input_tokens": u["cache_creation_5m_tokens"],
                               "ephemeral_1h_input_tokens": u["cache_creation_1h_tokens"]},
            "output_tokens": output, "service_tier": "standard"}


def blocks_of(step, row):
    if step.get("think"):
        yield {"type": "thinking", "thinking": step["think"], "signature": "bW9jaw=="}
    if step.get("say"):
        yield {"type": "text", "text": step["say"]}
    for tool in row["tools"]:
        yield {"type": "tool_use", "id": tool["id"], "name": tool["name"], "input": tool["input"]}


def sse(step, row):
    """The server-sent events of one message; text goes out in three pieces, as a real server sends it."""
    def event(kind, **body):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **body})}\n\n".encode()

    yield event("message_start", message={
        "id": row["message_id"], "type": "message", "role": "assistant", "model": row["model"], "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage_of(row, 1)})
    for i, block in enumerate(blocks_of(step, row)):
        kind = block["type"]
        if kind == "text":
            empty, whole, delta = {"type": "text", "text": ""}, block["text"], lambda s: {"type": "text_delta", "text": s}
        elif kind == "thinking":
            empty, whole = {"type": "thinking", "thinking": "", "signature": ""}, block["thinking"]
            delta = lambda s: {"type": "thinking_delta", "thinking": s}
        else:
            empty, whole = {**block, "input": {}}, json.dumps(block["input"])
            delta = lambda s: {"type": "input_json_delta", "partial_json": s}
        yield event("content_block_start", index=i, content_block=empty)
        third = max(1, -(-len(whole) // 3))
        for at in range(0, len(whole), third):
            yield event("content_block_delta", index=i, delta=delta(whole[at:at + third]))
        if kind == "thinking":
            yield event("content_block_delta", index=i, delta={"type": "signature_delta", "signature": block["signature"]})
        yield event("content_block_stop", index=i)
    yield event("message_delta", delta={"stop_reason": row["stop_reason"], "stop_sequence": None},
                usage=usage_of(row, row["usage"]["output_tokens"]))
    yield event("message_stop")


def handler(mock):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, body, row=None, kind="application/json", extra=()):
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            if row:
                self.send_header("request-id", row["request_id"])
            for name, value in extra:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self):
            self.reply(200, b"")

        def do_GET(self):
            self.reply(404, b'{"type":"error","error":{"type":"not_found_error","message":"mock"}}')

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self.path.split("?")[0]
            if path == "/v1/messages/count_tokens":
                return self.reply(200, b'{"input_tokens": 100}')
            if path != "/v1/messages":
                return self.do_GET()
            step, row = mock.step(json.loads(body))
            time.sleep(mock.pace)
            if "error" in step:
                error = {"type": "error", "error": {"type": step["type"], "message": step["message"]},
                         "request_id": row["request_id"]}
                return self.reply(step["error"], json.dumps(error).encode(), row, extra=step.get("headers", ()))
            if row["stream"]:
                return self.reply(200, b"".join(sse(step, row)), row, "text/event-stream; charset=utf-8")
            message = {"id": row["message_id"], "type": "message", "role": "assistant", "model": row["model"],
                       "content": list(blocks_of(step, row)), "stop_reason": row["stop_reason"], "stop_sequence": None,
                       "usage": usage_of(row, row["usage"]["output_tokens"])}
            self.reply(200, json.dumps(message).encode(), row)

    return Handler


def serve(mock, port=0):
    """Starts the mock in a thread; returns the server (its port is server_address[1])."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler(mock))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
