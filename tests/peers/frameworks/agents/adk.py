"""Google's ADK, its own telemetry; the model is Gemini's API."""
import asyncio
import os
import sys

from base import MODEL, PLAN, burn, lookup, providers

end = providers()
os.environ["GOOGLE_API_KEY"], os.environ["GOOGLE_GEMINI_BASE_URL"] = "dummy", os.environ["MOCK_URL"]
from google.adk.agents import Agent  # noqa: E402
from google.adk.runners import InMemoryRunner  # noqa: E402
from google.genai import types  # noqa: E402


def failing(key: str) -> dict:
    return {"error": PLAN["tools"]["burn"]["error"]}


failing.__name__, failing.__doc__ = "burn", burn.__doc__
agent = Agent(name="ledger_agent", model=MODEL, instruction=PLAN["system"], description=PLAN["description"], tools=[lookup, failing])


async def main():
    runner = InMemoryRunner(agent=agent, app_name="ledger")
    await runner.session_service.create_session(app_name="ledger", user_id=PLAN["user"], session_id=PLAN["session"])
    for text in (PLAN["prompt"], PLAN["echo_prompt"]):
        try:
            async for _ in runner.run_async(user_id=PLAN["user"], session_id=PLAN["session"], new_message=types.Content(role="user", parts=[types.Part(text=text)])):
                pass
        except Exception as e:
            print("as planned:", type(e).__name__, e, file=sys.stderr)
        await runner.session_service.create_session(app_name="ledger", user_id=PLAN["user"], session_id=PLAN["session"] + "2")
        PLAN["session"] += "2"


asyncio.run(main())
end()
