"""The MCP SDK under OpenLLMetry: a server in a child process, a client that calls its tools."""
import asyncio
import sys

from base import PLAN, burn, lookup, providers

end = providers()
from opentelemetry.instrumentation.mcp import McpInstrumentor  # noqa: E402

McpInstrumentor().instrument()
if len(sys.argv) > 3:  # the server
    from mcp.server.fastmcp import FastMCP
    server = FastMCP("ledger")
    server.tool()(lookup)
    server.tool()(burn)
    server.resource("ledger://papers/one", name="paper")(lambda: PLAN["documents"][0])
    server.run()
    end()
    sys.exit()

import os  # noqa: E402

from mcp import ClientSession, StdioServerParameters  # noqa: E402
from mcp.client.stdio import stdio_client  # noqa: E402


async def main():
    server = StdioServerParameters(command=sys.executable, args=[__file__, sys.argv[1], "mcp", "server"], env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        await session.list_tools()
        await session.call_tool("lookup", {"key": PLAN["query"]})
        await session.call_tool("burn", {"key": PLAN["task"]})
        await session.read_resource("ledger://papers/one")


asyncio.run(main())
end()
