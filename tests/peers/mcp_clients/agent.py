"""An agent of pydantic-ai with tollgate's tools beside its own, built as the how-to says for fuzzylabs/sre-agent: agent.py URL, with the token in
TOLLGATE_TOKEN. Its model is a function: it finds a run that failed, reads it and reports.

Prints JSON: the tools it was offered, and what it reports.
"""
import asyncio
import json
import os
import sys

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPServerStreamableHTTP
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel

offered = []


def model(messages, info):
    returned = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    offered[:] = sorted(tool.name for tool in info.function_tools)
    if not returned:
        return ModelResponse([ToolCallPart("list_runs", {"sort": "failed", "limit": 1})])
    answer = returned[-1].content
    answer = answer if isinstance(answer, dict) else json.loads(answer[answer.index("{"):])
    if returned[-1].tool_name == "list_runs":
        return ModelResponse([ToolCallPart("get_run", {"id": answer["rows"][0]["id"]})])
    return ModelResponse([TextPart(json.dumps({"id": answer["id"], "cost_usd": answer["totals"]["cost_usd"], "steps": len(answer["rows"])}))])


async def main():
    headers = {"Authorization": f"Bearer {os.environ['TOLLGATE_TOKEN']}"}
    tollgate = MCPServerStreamableHTTP(sys.argv[1], headers=headers, timeout=60)
    result = await Agent(FunctionModel(model)).run("Which run failed, and what did it cost?", toolsets=[tollgate])
    print(json.dumps({"tools": offered, "report": json.loads(result.output)}))


asyncio.run(main())
