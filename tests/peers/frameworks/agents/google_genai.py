"""Google's genai SDK. VARIANT: openinference | official | openllmetry."""
import os

from base import MODEL, PLAN, VARIANT, burn, lookup, planned, providers

end = providers()
if VARIANT == "openinference":
    from openinference.instrumentation.google_genai import GoogleGenAIInstrumentor as Instrumentor
elif VARIANT == "official":
    from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor as Instrumentor
else:
    from opentelemetry.instrumentation.google_generativeai import GoogleGenerativeAiInstrumentor as Instrumentor
Instrumentor().instrument()

from google import genai  # noqa: E402
from google.genai import types  # noqa: E402

client = genai.Client(api_key="dummy", http_options=types.HttpOptions(base_url=os.environ["MOCK_URL"]))
common = {"system_instruction": PLAN["system"], "temperature": 0.5, "max_output_tokens": 512,
          "thinking_config": types.ThinkingConfig(include_thoughts=True)}
if VARIANT == "official":
    # the SDK runs the tools by itself: three calls in one span
    client.models.generate_content(model=MODEL, contents=PLAN["prompt"], config=types.GenerateContentConfig(tools=[lookup, burn], **common))
else:
    schema = types.Schema(type="OBJECT", properties={"key": types.Schema(type="STRING")})
    tools = [types.Tool(function_declarations=[types.FunctionDeclaration(name=n, description=t["description"], parameters=schema) for n, t in PLAN["tools"].items()])]
    history = [types.Content(role="user", parts=[types.Part(text=PLAN["prompt"])])]
    for n in range(3):
        content = client.models.generate_content(model=MODEL, contents=history, config=types.GenerateContentConfig(tools=tools, **common)).candidates[0].content
        history.append(content)
        for part in content.parts:
            if part.function_call:
                tool = PLAN["tools"][part.function_call.name]
                said = {"output": tool["result"]} if "result" in tool else {"error": tool["error"]}
                history.append(types.Content(role="user", parts=[types.Part.from_function_response(name=part.function_call.name, response=said)]))
for _ in client.models.generate_content_stream(model=MODEL, contents=PLAN["stream_prompt"]):
    pass
client.models.embed_content(model="gemini-embedding-001", contents=PLAN["embed"])
planned(client.models.generate_content, model=MODEL, contents=PLAN["echo_prompt"])
end()
