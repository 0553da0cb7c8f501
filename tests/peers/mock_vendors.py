"""More vendors for mock_model.py: Bedrock (Converse, its event stream, InvokeModel with Anthropic's body), Cohere v2, Ollama.

Each entry of ROUTES is (pattern of the path, function of (mock, match, request) → (status, body, content type, ledger row, headers)).
A request is first brought into the form that the mock's lanes are found by. Bedrock's and Cohere's `in` excludes the cached tokens
(Cohere and Ollama know none).
"""
import base64
import json
import re
import struct
import time
import zlib

import mock_model


def step_of(mock, request, prefix):
    step, row = mock.step(request, prefix)
    time.sleep(mock.pace)
    return step, row


def ok(row, body, kind="application/json", headers=()):
    return 200, body if isinstance(body, bytes) else json.dumps(body).encode(), kind, row, headers


# ---- Bedrock -----------------------------------------------------------------------------------------------------------

def event_stream(events):
    """AWS's binary framing: lengths, headers, payload, two checksums."""
    out = b""
    for kind, payload in events:
        headers = b""
        for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
            headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        body = json.dumps(payload).encode()
        head = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
        whole = head + struct.pack(">I", zlib.crc32(head)) + headers + body
        out += whole + struct.pack(">I", zlib.crc32(whole))
    return out


def converse_usage(row):
    u = row["usage"]
    return {"inputTokens": u["input_tokens"], "outputTokens": u["output_tokens"], "cacheReadInputTokens": u["cache_read_tokens"],
            "cacheWriteInputTokens": u["cache_creation_tokens"],
            "totalTokens": u["input_tokens"] + u["output_tokens"] + u["cache_read_tokens"] + u["cache_creation_tokens"]}


def converse_blocks(step, row):
    if step.get("think"):
        yield {"reasoningContent": {"reasoningText": {"text": step["think"], "signature": "bW9jaw=="}}}
    if step.get("say"):
        yield {"text": step["say"]}
    for tool in row["tools"]:
        yield {"toolUse": {"toolUseId": tool["id"], "name": tool["name"], "input": tool["input"]}}


def converse_events(step, row):
    yield "messageStart", {"role": "assistant"}
    for i, block in enumerate(converse_blocks(step, row)):
        at = {"contentBlockIndex": i}
        if "toolUse" in block:
            use = block["toolUse"]
            yield "contentBlockStart", {**at, "start": {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}}
            yield "contentBlockDelta", {**at, "delta": {"toolUse": {"input": json.dumps(use["input"])}}}
        elif "text" in block:
            for word in block["text"].split(" "):
                yield "contentBlockDelta", {**at, "delta": {"text": word + " "}}
        else:
            yield "contentBlockDelta", {**at, "delta": {"reasoningContent": {"text": block["reasoningContent"]["reasoningText"]["text"]}}}
        yield "contentBlockStop", at
    yield "messageStop", {"stopReason": row["stop_reason"]}
    yield "metadata", {"usage": converse_usage(row), "metrics": {"latencyMs": 400}}


def bedrock(mock, match, request):
    model, call = match.groups()
    if call.startswith("invoke"):
        asked = {**request, "model": model, "stream": call != "invoke"}
    else:
        asked = {"model": model, "messages": request.get("messages"), "tools": (request.get("toolConfig") or {}).get("tools"),
                 "stream": call.endswith("stream")}
    step, row = step_of(mock, asked, "aws")
    headers = (("x-amzn-requestid", row["request_id"]),)
    if "error" in step:
        return (step["error"], json.dumps({"message": step["message"]}).encode(), "application/json", row,
                (*headers, ("x-amzn-errortype", "ValidationException")))
    if call == "converse-stream":
        return ok(row, event_stream(converse_events(step, row)), "application/vnd.amazon.eventstream", headers)
    if call == "converse":
        return ok(row, {"output": {"message": {"role": "assistant", "content": list(converse_blocks(step, row))}},
                        "stopReason": row["stop_reason"], "usage": converse_usage(row), "metrics": {"latencyMs": 400}}, headers=headers)
    if call == "invoke-with-response-stream":
        lines = (line for event in mock_model.sse(step, row) for line in event.split(b"\n") if line.startswith(b"data: "))
        return ok(row, event_stream(("chunk", {"bytes": base64.b64encode(line[6:]).decode()}) for line in lines),
                  "application/vnd.amazon.eventstream", headers)
    counted = (("x-amzn-bedrock-input-token-count", str(row["usage"]["input_tokens"])),
               ("x-amzn-bedrock-output-token-count", str(row["usage"]["output_tokens"])))
    return ok(row, {"id": row["message_id"], "type": "message", "role": "assistant", "model": model,
                    "content": list(mock_model.blocks_of(step, row)), "stop_reason": row["stop_reason"], "stop_sequence": None,
                    "usage": mock_model.usage_of(row, row["usage"]["output_tokens"])}, headers=(*headers, *counted))


# ---- Cohere v2 ---------------------------------------------------------------------------------------------------------

def cohere_usage(row):
    counted = {"input_tokens": row["usage"]["input_tokens"], "output_tokens": row["usage"]["output_tokens"]}
    return {"billed_units": counted, "tokens": counted}


def cohere_events(step, row):
    yield {"type": "message-start", "id": row["message_id"], "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}}}
    yield {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}
    for word in (step.get("say") or "").split(" "):
        yield {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word + " "}}}}
    yield {"type": "content-end", "index": 0}
    yield {"type": "message-end", "id": row["message_id"], "delta": {"finish_reason": "COMPLETE", "usage": cohere_usage(row)}}


def cohere(mock, match, request):
    step, row = step_of(mock, request, "coh")
    if "error" in step:
        return step["error"], json.dumps({"id": row["request_id"], "message": step["message"]}).encode(), "application/json", row, ()
    if row["stream"]:
        events = (f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in cohere_events(step, row))
        return ok(row, b"".join(events), "text/event-stream")
    message = {"role": "assistant"}
    if step.get("say") and not row["tools"]:
        message["content"] = [{"type": "text", "text": step["say"]}]
    if row["tools"]:
        message["tool_plan"] = step.get("say") or step.get("think") or "I call a tool."
        message["tool_calls"] = mock_model.chat_calls(row)
    return ok(row, {"id": row["message_id"], "finish_reason": "TOOL_CALL" if row["tools"] else "COMPLETE", "message": message,
                    "usage": cohere_usage(row)})


# ---- Ollama ------------------------------------------------------------------------------------------------------------

def ollama(mock, match, request):
    """Ollama streams unless told not to."""
    call = match.group(1)
    asked = {**request, "stream": request.get("stream", True)}
    if call != "chat":
        asked["messages"] = [{"role": "user", "content": request.get("prompt") or request.get("input") or ""}]
    step, row = step_of(mock, asked, "oll")
    if "error" in step:
        return step["error"], json.dumps({"error": step["message"]}).encode(), "application/json", row, ()
    u = row["usage"]
    base = {"model": request["model"], "created_at": "2026-11-20T12:00:00.000000Z"}
    end = {"done": True, "done_reason": "stop", "total_duration": 400_000_000, "load_duration": 1_000_000, "prompt_eval_count": u["input_tokens"],
           "prompt_eval_duration": 200_000_000, "eval_count": u["output_tokens"], "eval_duration": 199_000_000}
    if call == "embed":
        return ok(row, {"model": request["model"], "embeddings": [[0.25, -0.5, 0.125]], "prompt_eval_count": u["input_tokens"]})
    if call == "generate":
        whole, empty = {"response": step.get("say") or ""}, {"response": ""}
    else:
        calls = [{"function": {"name": t["name"], "arguments": t["input"]}} for t in row["tools"]]
        whole = {"message": {"role": "assistant", "content": step.get("say") or "", **({"thinking": step["think"]} if step.get("think") else {}),
                             **({"tool_calls": calls} if calls else {})}}
        empty = {"message": {"role": "assistant", "content": ""}}
    if not row["stream"]:
        return ok(row, {**base, **whole, **end})
    lines = ({**base, **whole, "done": False}, {**base, **empty, **end})
    return ok(row, b"".join(json.dumps(line).encode() + b"\n" for line in lines), "application/x-ndjson")


ROUTES = (
    (re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|invoke-with-response-stream)"), bedrock),
    (re.compile(r"/v2/chat"), cohere),
    (re.compile(r"/api/(chat|generate|embed)"), ollama),
)
