#!/usr/bin/env python3
"""A mock of the Anthropic, OpenAI and Gemini model APIs (more in mock_vendors.py) that plays a written scenario. Standard library only.

A scenario is a set of lanes (main agent, sub-agent); each request takes the next step of the first lane whose `marker`
stands in the request's first user message (in any user message, if the lane says `anywhere`: some clients put a preamble first) and whose
`model`, if it has one, is the request's. A request without tools counts only for a lane that is `bare`. What was answered is kept in `ledger`: the hand count of a recording.

A step:
    {"say": text?, "think": text?, "tools": [(name, input)…], "usage": {in, out, read, w5, w1}, "stop": …}
    {"error": 529, "type": "overloaded_error", "message": …}
    {"error": 200, …}                     a responses stream that begins and then fails
`think` is Anthropic's, the responses API's and Gemini's; `reasons` is the chat completions' `reasoning_content` of DeepSeek and others.
`usage` is what this vendor would report: Anthropic's `in` excludes the cached tokens, OpenAI's and Gemini's include them. `reasoning` is part
of `out`, also for Gemini (whose API reports the two apart: `candidatesTokenCount` is the rest).
"""
import hashlib
import json
import re
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Anything no lane wants (a title, a topic check) gets this, and is counted like any call.
FALLBACK = {"say": "ok", "usage": {"in": 11, "out": 3, "read": 0, "w5": 0, "w1": 0}}


def text_of(content):
    if isinstance(content, str):
        return content
    return "\n".join(b.get("text") or "" for b in content if isinstance(b, dict))


def user_texts(request):
    """Of an Anthropic or chat-completions request (`messages`), a responses request (`input`) or Gemini's (`contents`)."""
    messages = request.get("messages") or request.get("input") or request.get("contents") or []
    if isinstance(messages, str):
        return [messages]
    if all(isinstance(m, str) for m in messages):
        return messages
    users = [m for m in messages if isinstance(m, dict) and m.get("role", "user") == "user"]
    return [text_of(m.get("content") or m.get("parts") or "") for m in users]


class Mock:
    def __init__(self, name, lanes, pace=0.0):
        self.name = name
        self.pace = pace
        self.lanes = [{"name": n, **lane, "steps": list(lane["steps"])} for n, lane in lanes.items()]
        self.lock = threading.Lock()
        self.ledger = []
        self.requests = []

    def step(self, request, prefix):
        texts = user_texts(request)
        with self.lock:
            lane = next((l for l in self.lanes if any(l["marker"] in text for text in (texts if l.get("anywhere") else texts[:1])) and (l.get("bare") or request.get("tools"))
                         and l.get("model") in (None, request.get("model"))), None)
            step = lane["steps"].pop(0) if lane and lane["steps"] else FALLBACK
            n = len(self.requests) + 1
            self.requests.append(request)
            tag = hashlib.sha256(f"{self.name}/{n}".encode()).hexdigest()[:20]
            row = {"n": n, "lane": lane["name"] if lane else None, "request_id": f"req_{tag}", "message_id": f"{prefix}_{tag}",
                   "model": request.get("model"), "stream": bool(request.get("stream"))}
            if "error" in step:
                row["error"] = step["error"]
            else:
                u = step["usage"]
                row["usage"] = {"input_tokens": u["in"], "output_tokens": u["out"], "cache_read_tokens": u["read"],
                                "cache_creation_tokens": u["w5"] + u["w1"], "cache_creation_5m_tokens": u["w5"],
                                "cache_creation_1h_tokens": u["w1"]}
                if "reasoning" in u:
                    row["usage"]["reasoning_tokens"] = u["reasoning"]
                row["stop_reason"] = stop_reason(step)
                row["tools"] = []
                for i, (tool, arguments) in enumerate(step.get("tools", [])):
                    row["tools"].append({"id": f"{'toolu' if prefix == 'msg' else 'call'}_{tag}{i}", "name": tool, "input": arguments})
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


# ---- OpenAI ------------------------------------------------------------------------------------------------------------

CREATED = 1_795_000_000


def dated(model):
    """The snapshot that answers for an alias, as the real service does."""
    return {"gpt-5-mini": "gpt-5-mini-2025-08-07", "gpt-4.1": "gpt-4.1-2025-04-14"}.get(model, model)


def chat_usage(row):
    u = row["usage"]
    return {"prompt_tokens": u["input_tokens"], "completion_tokens": u["output_tokens"], "total_tokens": u["input_tokens"] + u["output_tokens"],
            "prompt_tokens_details": {"cached_tokens": u["cache_read_tokens"], "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": u.get("reasoning_tokens", 0), "audio_tokens": 0,
                                          "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}


def chat_calls(row):
    return [{"id": t["id"], "type": "function", "function": {"name": t["name"], "arguments": json.dumps(t["input"])}} for t in row["tools"]]


def chat_completion(step, row):
    message = {"role": "assistant", "content": step.get("say"), "refusal": None, "annotations": []}
    if step.get("reasons"):
        message["reasoning_content"] = step["reasons"]
    if row["tools"]:
        message["tool_calls"] = chat_calls(row)
    return {"id": row["message_id"], "object": "chat.completion", "created": CREATED, "model": dated(row["model"]), "service_tier": "default",
            "system_fingerprint": "fp_mock", "usage": chat_usage(row), "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if row["tools"] else "stop"}]}


def chat_sse(step, row, with_usage):
    def chunk(delta, finish=None, **more):
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        return ("data: " + json.dumps({"id": row["message_id"], "object": "chat.completion.chunk", "created": CREATED, "model": dated(row["model"]),
                                       "service_tier": "default", "system_fingerprint": "fp_mock", "choices": choices, **more}) + "\n\n").encode()

    yield chunk({"role": "assistant", "content": ""})
    for word in (step.get("say") or "").split(" "):
        yield chunk({"content": word + " "})
    for i, call in enumerate(chat_calls(row)):
        yield chunk({"tool_calls": [{"index": i, **call}]})
    yield chunk({}, "tool_calls" if row["tools"] else "stop")
    if with_usage:
        yield chunk(None, usage=chat_usage(row))
    yield b"data: [DONE]\n\n"


def response(step, row):
    u = row["usage"]
    output = [{"id": "rs_" + row["message_id"], "type": "reasoning", "summary": [{"type": "summary_text", "text": step["think"]}]}] if step.get("think") else []
    if step.get("say"):
        output.append({"id": "ms_" + row["message_id"], "type": "message", "role": "assistant", "status": "completed",
                       "content": [{"type": "output_text", "text": step["say"], "annotations": [], "logprobs": []}]})
    for t in row["tools"]:
        # `space::name` is a tool of a namespace
        space, _, name = t["name"].rpartition("::")
        output.append({"id": "fc_" + t["id"], "type": "function_call", "call_id": t["id"], **({"namespace": space} if space else {}),
                       "name": name, "arguments": json.dumps(t["input"]), "status": "completed"})
    return {"id": row["message_id"], "object": "response", "created_at": CREATED, "status": "completed", "model": dated(row["model"]),
            "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0,
            "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "service_tier": "default",
            "usage": {"input_tokens": u["input_tokens"], "input_tokens_details": {"cached_tokens": u["cache_read_tokens"]},
                      "output_tokens": u["output_tokens"], "output_tokens_details": {"reasoning_tokens": u.get("reasoning_tokens", 0)},
                      "total_tokens": u["input_tokens"] + u["output_tokens"]}}


def response_sse(step, row):
    """A response as a stream: every item opens, grows in three pieces and closes, as a real server sends it."""
    number = iter(range(10_000))
    done = response(step, row)

    def event(kind, **body):
        return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': next(number), **body})}\n\n".encode()

    def grown(kind, whole, **where):
        third = max(1, -(-len(whole) // 3))
        for at in range(0, len(whole), third):
            yield event(f"{kind}.delta", delta=whole[at:at + third], **where)

    for kind in ("response.created", "response.in_progress"):
        yield event(kind, response={**done, "status": "in_progress", "output": [], "usage": None})
    if "error" in step:
        yield event("response.failed", response={**done, "status": "failed", "output": [], "usage": None,
                                                 "error": {"code": step["type"], "message": step["message"]}})
        return
    for i, item in enumerate(done["output"]):
        at = {"item_id": item["id"], "output_index": i}
        if item["type"] == "reasoning":
            text = item["summary"][0]["text"]
            yield event("response.output_item.added", output_index=i, item={**item, "summary": []})
            yield event("response.reasoning_summary_part.added", **at, summary_index=0, part={"type": "summary_text", "text": ""})
            yield from grown("response.reasoning_summary_text", text, **at, summary_index=0)
            yield event("response.reasoning_summary_text.done", **at, summary_index=0, text=text)
            yield event("response.reasoning_summary_part.done", **at, summary_index=0, part=item["summary"][0])
        elif item["type"] == "message":
            part = item["content"][0]
            yield event("response.output_item.added", output_index=i, item={**item, "status": "in_progress", "content": []})
            yield event("response.content_part.added", **at, content_index=0, part={**part, "text": ""})
            yield from grown("response.output_text", part["text"], **at, content_index=0, logprobs=[])
            yield event("response.output_text.done", **at, content_index=0, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **at, content_index=0, part=part)
        else:
            yield event("response.output_item.added", output_index=i, item={**item, "status": "in_progress", "arguments": ""})
            yield from grown("response.function_call_arguments", item["arguments"], **at)
            yield event("response.function_call_arguments.done", **at, arguments=item["arguments"])
        yield event("response.output_item.done", output_index=i, item=item)
    yield event("response.completed", response=done)


def embedding(row):
    return {"object": "list", "model": row["model"], "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.125]}],
            "usage": {"prompt_tokens": row["usage"]["input_tokens"], "total_tokens": row["usage"]["input_tokens"]}}


# ---- Gemini ------------------------------------------------------------------------------------------------------------

GEMINI = re.compile(r"/v1(?:beta|alpha)?/(?:projects/[^/]+/locations/[^/]+/publishers/google/)?models/([^/:]+):(\w+)")


def gemini_parts(step, row):
    if step.get("think"):
        yield {"text": step["think"], "thought": True}
    if step.get("say"):
        yield {"text": step["say"]}
    for tool in row["tools"]:
        yield {"functionCall": {"id": tool["id"], "name": tool["name"], "args": tool["input"]}}


def gemini_answer(row, parts, last):
    """A whole answer, or one piece of a stream; only the last piece has a reason to end and the whole count."""
    u = row["usage"]
    thoughts = u.get("reasoning_tokens", 0)
    counted = {"promptTokenCount": u["input_tokens"], "totalTokenCount": u["input_tokens"] + u["output_tokens"],
               "promptTokensDetails": [{"modality": "TEXT", "tokenCount": u["input_tokens"]}]}
    if last:
        counted["candidatesTokenCount"] = u["output_tokens"] - thoughts
    if u["cache_read_tokens"]:
        counted["cachedContentTokenCount"] = u["cache_read_tokens"]
    if thoughts:
        counted["thoughtsTokenCount"] = thoughts
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}, **({"finishReason": "STOP"} if last else {})}
    return {"candidates": [candidate], "usageMetadata": counted, "modelVersion": row["model"], "responseId": row["message_id"]}


def gemini_sse(step, row):
    parts = list(gemini_parts(step, row)) or [{"text": ""}]
    for i, part in enumerate(parts):
        yield f"data: {json.dumps(gemini_answer(row, [part], i == len(parts) - 1))}\r\n\r\n".encode()


def gemini(mock, model, method, request):
    """(status, body, content type, ledger row, headers) as `answer`."""
    if method == "countTokens":
        return 200, b'{"totalTokens": 100}', "application/json", None, ()
    step, row = mock.step({**request, "model": model, "stream": method.startswith("stream")}, "gem")
    time.sleep(mock.pace)
    if "error" in step:
        error = {"code": step["error"], "message": step["message"], "status": step["type"]}
        return step["error"], json.dumps({"error": error}).encode(), "application/json", row, step.get("headers", ())
    if row["stream"]:
        return 200, b"".join(gemini_sse(step, row)), "text/event-stream", row, ()
    vector = {"values": [0.25, -0.5, 0.125]}
    body = {"embedContent": {"embedding": vector}, "batchEmbedContents": {"embeddings": [vector]}}.get(method)
    body = body or gemini_answer(row, list(gemini_parts(step, row)), True)
    return 200, json.dumps(body).encode(), "application/json", row, ()


# ---- HTTP --------------------------------------------------------------------------------------------------------------

def answer(mock, path, request):
    """(status, body, content type, ledger row) for one request; the vendor is known by its path."""
    prefix = {"/v1/messages": "msg", "/v1/chat/completions": "chatcmpl", "/v1/responses": "resp", "/v1/embeddings": "emb"}[path]
    step, row = mock.step(request, prefix)
    time.sleep(mock.pace)
    if step.get("error") == 200:
        row.update(usage=dict.fromkeys(("input_tokens", "output_tokens", "cache_read_tokens"), 0), tools=[])
        return 200, b"".join(response_sse(step, row)), "text/event-stream; charset=utf-8", row, ()
    if "error" in step:
        error = {"type": step["type"], "message": step["message"]}
        body = {"type": "error", "error": error, "request_id": row["request_id"]} if prefix == "msg" else {"error": {**error, "code": None, "param": None}}
        return step["error"], json.dumps(body).encode(), "application/json", row, step.get("headers", ())
    stream = "text/event-stream; charset=utf-8"
    if prefix == "msg":
        if row["stream"]:
            return 200, b"".join(sse(step, row)), stream, row, ()
        body = {"id": row["message_id"], "type": "message", "role": "assistant", "model": row["model"], "content": list(blocks_of(step, row)),
                "stop_reason": row["stop_reason"], "stop_sequence": None, "usage": usage_of(row, row["usage"]["output_tokens"])}
    elif prefix == "chatcmpl":
        if row["stream"]:
            usage = (request.get("stream_options") or {}).get("include_usage")
            row["usage_sent"] = bool(usage)
            return 200, b"".join(chat_sse(step, row, usage)), stream, row, ()
        body = chat_completion(step, row)
    elif prefix == "resp":
        if row["stream"]:
            return 200, b"".join(response_sse(step, row)), stream, row, ()
        body = response(step, row)
    else:
        body = embedding(row)
    return 200, json.dumps(body).encode(), "application/json", row, ()


def handler(mock):
    import mock_vendors  # it imports this

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, body, kind="application/json", row=None, extra=()):
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            if row:
                self.send_header("request-id" if row["message_id"].startswith("msg_") else "x-request-id", row["request_id"])
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
            if named := GEMINI.fullmatch(path):
                return self.reply(*gemini(mock, *named.groups(), json.loads(body)))
            for pattern, other in mock_vendors.ROUTES:
                if named := pattern.fullmatch(urllib.parse.unquote(path)):
                    return self.reply(*other(mock, named, json.loads(body)))
            # Azure and others put something before the last words of the path
            path = next((known for known in ("/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/embeddings")
                         if path.endswith(known.removeprefix("/v1"))), None)
            if path is None:
                return self.do_GET()
            self.reply(*answer(mock, path, json.loads(body)))

    return Handler


def serve(mock, port=0):
    """Starts the mock in a thread; returns the server (its port is server_address[1])."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler(mock))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
