"""The official Python SDK as a client of `/mcp`: sdk.py URL MODE, with the token in TOLLGATE_TOKEN and calls ([[tool, arguments], …]) on stdin.

Prints JSON: the version that was agreed on, the tools, and the result or error of each call; or the error that ended the connection.
"""
import asyncio
import json
import os
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


async def ask(url, mode, token, calls):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            listed = await client.list_tools()
            results = []
            for name, arguments in calls:
                try:
                    result = await client.call_tool(name, arguments)
                    results.append({"error": result.is_error, "text": result.content[0].text, "answer": result.structured_content})
                except MCPError as error:
                    results.append({"code": error.error.code})
            tools = [{"name": tool.name, "schema": tool.input_schema, "reads": tool.annotations.read_only_hint} for tool in listed.tools]
            return {"version": client.protocol_version, "tools": tools, "results": results}


def main():
    url, mode = sys.argv[1:]
    try:
        print(json.dumps(asyncio.run(ask(url, mode, os.environ.get("TOLLGATE_TOKEN"), json.load(sys.stdin)))))
    except BaseException as error:  # noqa: BLE001 (the SDK raises groups)
        print(json.dumps({"refused": repr(error)[:2000]}))


main()
