"""Vertex AI's client under the official instrumentation (its REST transport, so that it can be pointed at a mock)."""
import os

from base import MODEL, PLAN, planned, providers

end = providers()
from opentelemetry.instrumentation.vertexai import VertexAIInstrumentor  # noqa: E402

VertexAIInstrumentor().instrument()

from google.auth.credentials import AnonymousCredentials  # noqa: E402
from google.cloud.aiplatform_v1 import GenerateContentRequest, PredictionServiceClient  # noqa: E402
from google.cloud.aiplatform_v1.services.prediction_service.transports.rest import PredictionServiceRestTransport  # noqa: E402

transport = PredictionServiceRestTransport(host=os.environ["MOCK_URL"].removeprefix("http://"), credentials=AnonymousCredentials(), url_scheme="http")
client = PredictionServiceClient(transport=transport)
schema = {"type_": "OBJECT", "properties": {"key": {"type_": "STRING"}}, "required": ["key"]}
tools = [{"function_declarations": [{"name": n, "description": t["description"], "parameters": schema} for n, t in PLAN["tools"].items()]}]
about = {"model": f"projects/p/locations/us-central1/publishers/google/models/{MODEL}",
         "system_instruction": {"role": "user", "parts": [{"text": PLAN["system"]}]}, "tools": tools, "generation_config": {"temperature": 0.5, "max_output_tokens": 512}}
contents = [{"role": "user", "parts": [{"text": PLAN["prompt"]}]}]
for n in range(3):
    got = client.generate_content(GenerateContentRequest({**about, "contents": contents}))
    content = got.candidates[0].content
    contents.append(content)
    for part in content.parts:
        if "function_call" in part:
            tool = PLAN["tools"][part.function_call.name]
            said = {"output": tool["result"]} if "result" in tool else {"error": tool["error"]}
            contents.append({"role": "user", "parts": [{"function_response": {"name": part.function_call.name, "response": said}}]})
planned(client.generate_content, GenerateContentRequest({**about, "contents": [{"role": "user", "parts": [{"text": PLAN["echo_prompt"]}]}]}))
end()
