"""LiteLLM's SDK. VARIANT: `otel` (its own callback; everything else by environment) or `openinference`."""
import asyncio

import litellm
from base import MODEL, PLAN, SCHEMA, VARIANT, answer, planned_later, providers

end = providers()
if VARIANT == "openinference":
    from openinference.instrumentation.litellm import LiteLLMInstrumentor
    LiteLLMInstrumentor().instrument()
else:
    litellm.callbacks = ["otel"]

tools = [{"type": "function", "function": {"name": n, "description": t["description"], "parameters": SCHEMA}} for n, t in PLAN["tools"].items()]
history = [{"role": "system", "content": PLAN["system"]}, {"role": "user", "content": PLAN["prompt"]}]
# it writes into what it is given
about = lambda: {"metadata": {"session_id": PLAN["session"], "trace_user_id": PLAN["user"], "note": PLAN["metadata"], "tags": ["nightly"]}, "user": PLAN["user"],
         "num_retries": 0, "max_retries": 0}
model = ("anthropic/" if MODEL.startswith("claude") else "openai/") + MODEL


async def main():
    for n in range(3):
        got = await litellm.acompletion(model=model, messages=history, tools=tools, **about())
        message = got.choices[0].message
        history.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls or []:
            history.append({"role": "tool", "tool_call_id": call.id, "content": answer(call.function.name)})
    async for _ in await litellm.acompletion(model=model, messages=[{"role": "user", "content": PLAN["stream_prompt"]}], stream=True,
                                             stream_options={"include_usage": True}, **about()):
        pass
    await litellm.aembedding(model="openai/text-embedding-3-small", input=[PLAN["embed"]], **about())
    await planned_later(litellm.acompletion(model=model, messages=[{"role": "user", "content": PLAN["echo_prompt"]}], **about()))
    # callbacks run in tasks and threads of their own
    await asyncio.sleep(6)


asyncio.run(main())
for callback in litellm._async_success_callback:
    for name in ("tracer_provider", "_tracer_provider", "_provider"):
        if hasattr(getattr(callback, name, None), "force_flush"):
            getattr(callback, name).force_flush()
end()
