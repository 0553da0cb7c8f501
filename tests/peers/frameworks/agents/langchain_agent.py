"""LangChain and LangGraph. VARIANT: openllmetry | openinference | langsmith (which instrumentation)."""
from base import MODEL, PLAN, VARIANT, ToolFailed, burn, lookup, planned, providers

end = providers()
if VARIANT == "openllmetry":
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor
    LangchainInstrumentor().instrument()
elif VARIANT == "openinference":
    from openinference.instrumentation.langchain import LangChainInstrumentor
    LangChainInstrumentor().instrument()

from langchain_core.documents import Document  # noqa: E402
from langchain_core.messages import ToolMessage  # noqa: E402
from langchain_core.prompts import ChatPromptTemplate  # noqa: E402
from langchain_core.retrievers import BaseRetriever  # noqa: E402
from langchain_core.tools import StructuredTool  # noqa: E402

if MODEL.startswith("claude"):
    from langchain_anthropic import ChatAnthropic
    model = ChatAnthropic(model=MODEL, max_tokens=2048, thinking={"type": "enabled", "budget_tokens": 1024}, max_retries=0)
else:
    from langchain_openai import ChatOpenAI
    model = ChatOpenAI(model=MODEL, max_retries=0, stream_usage=True)


class Papers(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(page_content=text, metadata={"source": "papers/one.txt"}) for text in PLAN["documents"]]


tools = [StructuredTool.from_function(lookup), StructuredTool.from_function(burn)]
about = {"configurable": {"thread_id": PLAN["session"]}, "tags": ["nightly"],
         "metadata": {"note": PLAN["metadata"], "session_id": PLAN["session"], "user_id": PLAN["user"], "tenant_id": "acme"}}


def agent():
    """The failing tool is told of as such; the graph goes on."""
    try:
        from langchain.agents import create_agent
        from langchain.agents.middleware import wrap_tool_call
    except ImportError:
        from langgraph.prebuilt import ToolNode, create_react_agent
        return create_react_agent(model, ToolNode(tools, handle_tool_errors=True), prompt=PLAN["system"], name="ledger_agent")

    @wrap_tool_call
    def caught(request, handler):
        try:
            return handler(request)
        except ToolFailed as e:
            return ToolMessage(f"failed: {e}", tool_call_id=request.tool_call["id"], status="error")

    return create_agent(model, tools, system_prompt=PLAN["system"], middleware=[caught], name="ledger_agent")


agent().invoke({"messages": [{"role": "user", "content": PLAN["prompt"]}]}, about)
template = ChatPromptTemplate.from_messages([("system", PLAN["template"]), ("user", "{question}")])
papers = Papers().invoke(PLAN["query"], about)
for piece in (template | model).stream({"question": PLAN["stream_prompt"] + papers[0].page_content, **PLAN["variables"]}, about):
    pass
planned(model.invoke, PLAN["echo_prompt"], about)
if VARIANT == "langsmith":
    from langchain_core.tracers.langchain import wait_for_all_tracers
    wait_for_all_tracers()
    from langsmith import Client
    Client().flush()
    import time
    time.sleep(2)
end()
