"""Bedrock by boto3. VARIANT: openinference | official | openllmetry."""
import json
import os

from base import MODEL, PLAN, SCHEMA, VARIANT, planned, providers

end = providers()
if VARIANT == "openinference":
    from openinference.instrumentation.bedrock import BedrockInstrumentor as Instrumentor
elif VARIANT == "official":
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor as Instrumentor
else:
    from opentelemetry.instrumentation.bedrock import BedrockInstrumentor as Instrumentor
Instrumentor().instrument()

import boto3  # noqa: E402

client = boto3.client("bedrock-runtime", endpoint_url=os.environ["MOCK_URL"], region_name="us-east-1", aws_access_key_id="dummy", aws_secret_access_key="dummy")
tools = {"tools": [{"toolSpec": {"name": n, "description": t["description"], "inputSchema": {"json": SCHEMA}}} for n, t in PLAN["tools"].items()]}
messages = [{"role": "user", "content": [{"text": PLAN["prompt"]}]}]
for n in range(3):
    got = client.converse(modelId=MODEL, system=[{"text": PLAN["system"]}], messages=messages, toolConfig=tools, inferenceConfig={"maxTokens": 512, "temperature": 0.5})
    message = got["output"]["message"]
    messages.append(message)
    for block in message["content"]:
        if "toolUse" in block:
            tool = PLAN["tools"][block["toolUse"]["name"]]
            text = tool.get("result") or f"failed: {tool['error']}"
            messages.append({"role": "user", "content": [{"toolResult": {"toolUseId": block["toolUse"]["toolUseId"], "content": [{"text": text}],
                                                                         "status": "success" if "result" in tool else "error"}}]})
body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 512, "system": PLAN["goal"], "messages": [{"role": "user", "content": PLAN["stream_prompt"]}]}
got = client.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(body))
for _ in got["body"]:
    pass
planned(client.converse, modelId=MODEL, messages=[{"role": "user", "content": [{"text": PLAN["echo_prompt"]}]}])
end()
