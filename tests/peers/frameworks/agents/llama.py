"""LlamaIndex: an agent with tools, a query over documents. VARIANT: openinference | openllmetry."""
import asyncio
import os

from base import MODEL, PLAN, VARIANT, burn, lookup, planned_later, providers

end = providers()
if VARIANT == "openinference":
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
else:
    from opentelemetry.instrumentation.llamaindex import LlamaIndexInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor
    OpenAIInstrumentor().instrument()
LlamaIndexInstrumentor().instrument()

from llama_index.core import Document, Settings, VectorStoreIndex  # noqa: E402
from llama_index.core.agent.workflow import FunctionAgent  # noqa: E402
from llama_index.core.llms import ChatMessage  # noqa: E402
from llama_index.core.prompts import PromptTemplate  # noqa: E402
from llama_index.core.tools import FunctionTool  # noqa: E402
from llama_index.embeddings.openai import OpenAIEmbedding  # noqa: E402
from llama_index.llms.openai import OpenAI  # noqa: E402

base = os.environ["OPENAI_BASE_URL"]
Settings.llm = OpenAI(model=MODEL, max_retries=0, api_base=base)
Settings.embed_model = OpenAIEmbedding(model="text-embedding-3-small", max_retries=0, api_base=base)


async def main():
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(lookup), FunctionTool.from_defaults(burn)], llm=Settings.llm, system_prompt=PLAN["system"],
                          name="ledger_agent", description=PLAN["description"], streaming=False)
    await agent.run(PLAN["prompt"])
    index = VectorStoreIndex.from_documents([Document(text=text + " " + PLAN["embed"], metadata={"source": "papers/one.txt"}) for text in PLAN["documents"]])
    template = PromptTemplate(PLAN["template"] + " {context_str} {query_str}").partial_format(**PLAN["variables"])
    engine = index.as_query_engine(streaming=True, text_qa_template=template)
    for _ in engine.query(PLAN["stream_prompt"]).response_gen:
        pass
    await planned_later(Settings.llm.achat([ChatMessage(role="user", content=PLAN["echo_prompt"])]))


asyncio.run(main())
end()
