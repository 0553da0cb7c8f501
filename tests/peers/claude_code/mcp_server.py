#!/usr/bin/env python3
"""An MCP server over stdio with one tool, `lookup`, that answers with the text of its first argument; the second, if there is one, ends the tool's
description. Standard library only."""
import json
import sys

TOOL = {"name": "lookup", "description": " ".join(["Looks a key up", *sys.argv[2:3]]),
        "inputSchema": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}}

for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method = message.get("method")
    if method == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "vaultdb", "version": "1.0.0"}}
    elif method == "tools/list":
        result = {"tools": [TOOL]}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": "value: " + sys.argv[1]}]}
    else:
        result = {}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
