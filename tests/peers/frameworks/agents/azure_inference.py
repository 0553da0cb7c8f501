"""azure-ai-inference, its own tracing."""
import os

from base import MODEL, PLAN, SCHEMA, answer, planned, providers

end = providers()
from azure.ai.inference import ChatCompletionsClient  # noqa: E402
from azure.ai.inference.models import AssistantMessage, ChatCompletionsToolDefinition, FunctionDefinition, SystemMessage, ToolMessage, UserMessage  # noqa: E402
from azure.ai.inference.tracing import AIInferenceInstrumentor  # noqa: E402
from azure.core.credentials import AzureKeyCredential  # noqa: E402
from azure.core.settings import settings  # noqa: E402

settings.tracing_implementation = "opentelemetry"
AIInferenceInstrumentor().instrument(enable_content_recording=True)
client = ChatCompletionsClient(endpoint=os.environ["MOCK_URL"], credential=AzureKeyCredential("dummy"), retry_total=0)
tools = [ChatCompletionsToolDefinition(function=FunctionDefinition(name=n, description=t["description"], parameters=SCHEMA)) for n, t in PLAN["tools"].items()]
messages = [SystemMessage(PLAN["system"]), UserMessage(PLAN["prompt"])]
for n in range(3):
    got = client.complete(messages=messages, tools=tools, model=MODEL, max_tokens=512, temperature=0.5).choices[0].message
    messages.append(AssistantMessage(tool_calls=got.tool_calls, content=got.content))
    for call in got.tool_calls or []:
        messages.append(ToolMessage(answer(call.function.name), tool_call_id=call.id))
for _ in client.complete(messages=[UserMessage(PLAN["stream_prompt"])], model=MODEL, stream=True, model_extras={"stream_options": {"include_usage": True}}):
    pass
planned(client.complete, messages=[UserMessage(PLAN["echo_prompt"])], model=MODEL)
end()
