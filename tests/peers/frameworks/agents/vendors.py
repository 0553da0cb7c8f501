"""OpenLLMetry on more vendors' SDKs. VARIANT: cohere | mistral | ollama."""
import json
import os

from base import MODEL, PLAN, SCHEMA, VARIANT, answer, planned, providers

end = providers()
url = os.environ["MOCK_URL"]
tools = [{"type": "function", "function": {"name": n, "description": t["description"], "parameters": SCHEMA}} for n, t in PLAN["tools"].items()]
if VARIANT == "cohere":
    from opentelemetry.instrumentation.cohere import CohereInstrumentor
    CohereInstrumentor().instrument()
    import cohere
    client = cohere.ClientV2(api_key="dummy", base_url=url)

    def ask(messages, **more):
        return client.chat(model=MODEL, messages=messages, **more).message

    def stream(messages):
        return client.chat_stream(model=MODEL, messages=messages)
elif VARIANT == "mistral":
    from opentelemetry.instrumentation.mistralai import MistralAiInstrumentor
    MistralAiInstrumentor().instrument()
    from mistralai import Mistral
    client = Mistral(api_key="dummy", server_url=url)

    def ask(messages, **more):
        return client.chat.complete(model=MODEL, messages=messages, **more).choices[0].message

    def stream(messages):
        return client.chat.stream(model=MODEL, messages=messages)
else:
    from opentelemetry.instrumentation.ollama import OllamaInstrumentor
    OllamaInstrumentor().instrument()
    import ollama
    client = ollama.Client(host=url)

    def ask(messages, **more):
        return client.chat(model=MODEL, messages=messages, **more).message

    def stream(messages):
        return client.chat(model=MODEL, messages=messages, stream=True)

history = [{"role": "system", "content": PLAN["system"]}, {"role": "user", "content": PLAN["prompt"]}]
for n in range(3):
    message = ask(history, tools=tools)
    history.append(message.model_dump(exclude_none=True))
    for call in message.tool_calls or []:
        name, arguments = call.function.name, call.function.arguments
        assert json.loads(arguments) if isinstance(arguments, str) else arguments
        said = {"role": "tool", "content": answer(name)}
        history.append(said if VARIANT == "ollama" else {**said, "tool_call_id": call.id})
for _ in stream([{"role": "user", "content": PLAN["stream_prompt"]}]):
    pass
planned(ask, [{"role": "user", "content": PLAN["echo_prompt"]}])
end()
