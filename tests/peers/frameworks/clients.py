"""Which recordings there are: client → session → which venv, which script, which switches."""


def session(group, script, model="gpt-5-mini", **more):
    return {"group": group, "script": script, "model": model, **more}


CLAUDE = {"model": "claude-sonnet-4-5", "vendor": "anthropic"}

QUIET = {"TRACELOOP_TRACE_CONTENT": "false"}
TRACELOOP = {"TRACELOOP_TELEMETRY": "false"}

LITELLM = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OTEL_EXPORTER": "otlp_http"}
CAPTURE = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_and_event"}

LATEST = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
GEMINI = {"model": "gemini-2.5-flash"}
BEDROCK = {"model": "anthropic.claude-sonnet-4-5-20250929-v1:0", "vendor": "anthropic"}
PLAIN = [{"in": i, "out": o, "read": 0, "w5": 0, "w1": 0} for i, o in ((180, 40), (1400, 35), (1520, 220), (310, 45))]
NO_CACHE = {"usages": PLAIN[:3], "streamed_usage": PLAIN[3], "thinks": False}
CREWAI = {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}


def untold(why):
    """Why the telemetry can't tell of every call, or not exactly: told in the manifest, and no problem of it."""
    return {"ledger": {"untold": why}}


NO_CACHED = untold("cached tokens are not told")
IN_ONE = untold("the SDK runs the tools itself: one span tells of three calls and has the tokens of the last")

CLIENTS = {
    "openllmetry": {
        "openai": session("openllmetry", "openllmetry.py", variant="openai", env=TRACELOOP),
        "openai-events": session("openllmetry", "openllmetry.py", variant="openai-events", env=TRACELOOP),
        "responses": session("openllmetry", "openllmetry.py", variant="responses", env=TRACELOOP),
        "anthropic": session("openllmetry", "openllmetry.py", variant="anthropic", env=TRACELOOP, **CLAUDE),
        "quiet": session("openllmetry", "openllmetry.py", variant="openai", env={**TRACELOOP, **QUIET}),
        "langchain": session("openllmetry", "langchain_agent.py", variant="openllmetry"),
    },
    "openllmetry-legacy": {
        "openai": session("openllmetry-legacy", "openllmetry.py", model="gpt-4.1", variant="legacy-openai", **untold("the streamed call has no tokens")),
        "anthropic": session("openllmetry-legacy", "openllmetry.py", variant="legacy-anthropic", **CLAUDE),
        "langchain": session("openllmetry-legacy", "langchain_agent.py", model="gpt-4.1", variant="openllmetry"),
    },
    "openinference-frameworks": {
        "langchain": session("oi-langchain", "langchain_agent.py", variant="openinference"),
        "langchain-anthropic": session("oi-langchain", "langchain_agent.py", variant="openinference", **CLAUDE),
        "pydantic-ai": session("pydantic", "pydantic_agent.py", variant="openinference"),
        "litellm": session("oi-litellm", "litellm_agent.py", variant="openinference"),
        "openai-agents": session("oi-agents", "openai_agents.py", variant="openinference"),
        "llama-index": session("oi-llamaindex", "llama.py", variant="openinference", **untold("the streamed answer and the embeddings have spans without tokens")),
        "google-genai": session("oi-vendors", "google_genai.py", variant="openinference", **GEMINI, **untold("the embedding's tokens are not told")),
        "bedrock": session("oi-vendors", "bedrock.py", variant="openinference", **BEDROCK),
        "crewai": session("oi-crewai", "crew.py", variant="openinference", env=CREWAI, **untold("model calls have no spans")),
        "dspy": session("oi-dspy", "dspy_agent.py", env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"}, lanes={"streamed": "[[ ## reasoning ## ]]\nI think of {thinking}.\n\n[[ ## answer ## ]]\nIt is {streamed}.\n\n[[ ## completed ## ]]"}, **untold("no tokens on the spans of model calls")),
        "agno": session("agno", "agno_agent.py"),
        "smolagents": session("oi-smolagents", "smol.py", lanes={"answer_tool": ("final_answer", {"answer": "The answer is {completion}."})}, **NO_CACHED),
    },
    "langsmith": {
        "langgraph": session("langsmith", "langchain_agent.py", variant="langsmith",
                             env={"LANGSMITH_OTEL_ENABLED": "true", "LANGSMITH_OTEL_ONLY": "true", "LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": "{sink}"}),
    },
    "pydantic-ai": {
        **{f"v{n}": session("pydantic", "pydantic_agent.py", variant=str(n)) for n in (2, 6)},
        "v5-anthropic": session("pydantic", "pydantic_agent.py", variant="5", **CLAUDE),
        "v1-logs": session("pydantic-1", "pydantic_agent.py", model="gpt-4.1", variant="1-logs", **NO_CACHED),
        "v1": session("pydantic-1", "pydantic_agent.py", model="gpt-4.1", variant="1", **NO_CACHED),
        "quiet": session("pydantic", "pydantic_agent.py", variant="quiet"),
    },
    "logfire": {
        "openai": session("pydantic", "logfire_agent.py", **untold("streamed calls and embeddings have no response id")),
        "pydantic-ai": session("pydantic", "pydantic_agent.py", variant="logfire"),
    },
    "litellm": {
        "legacy": session("litellm", "litellm_agent.py", variant="otel", env=LITELLM),
        "events": session("litellm", "litellm_agent.py", variant="otel", env={**LITELLM, "LITELLM_OTEL_INTEGRATION_ENABLE_EVENTS": "true",
                                                                             "LITELLM_OTEL_INTEGRATION_ENABLE_METRICS": "true"}),
        "semconv": session("litellm", "litellm_agent.py", variant="otel", env={**LITELLM, "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
                                                                               **CAPTURE}),
        "semconv-anthropic": session("litellm", "litellm_agent.py", variant="otel",
                                     env={**LITELLM, "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental", **CAPTURE}, **CLAUDE),
        "v2": session("litellm", "litellm_agent.py", variant="otel", env={**LITELLM, "LITELLM_OTEL_V2": "true", **CAPTURE,
                                                                          "LITELLM_OTEL_INTEGRATION_ENABLE_EVENTS": "true"}),
    },
    "semconv-vendors": {
        "google-genai": session("official-google", "google_genai.py", variant="official", env={**CAPTURE, **LATEST}, **GEMINI, **IN_ONE),
        "google-genai-events": session("official-google", "google_genai.py", variant="official",
                                       env={"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "event_only", **LATEST}, **GEMINI, **IN_ONE),
        "google-genai-spans": session("official-google", "google_genai.py", variant="official",
                                      env={"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only", **LATEST}, **GEMINI, **IN_ONE),
        "vertexai-events": session("official-vertex", "vertex.py", env={"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}, **GEMINI, **NO_CACHED),
        "bedrock-events": session("official-bedrock", "bedrock.py", variant="official", env={"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}, **BEDROCK),
        "openai-agents": session("official-agents", "openai_agents.py", variant="official", env={**CAPTURE, **LATEST}, **NO_CACHED),
    },
    "openllmetry-frameworks": {
        "llama-index": session("openllmetry-frameworks", "llama.py", variant="openllmetry",
                               **untold("the streamed answer and the embeddings have spans of LlamaIndex without tokens and ids")),
        "openai-agents": session("openllmetry-frameworks", "openai_agents.py", variant="openllmetry"),
        "cohere": session("openllmetry-vendors", "vendors.py", model="command-a-03-2025", variant="cohere", lanes=NO_CACHE),
        "mistral": session("openllmetry-vendors", "vendors.py", model="mistral-small-2503", variant="mistral", lanes=NO_CACHE),
        "ollama": session("openllmetry-vendors", "vendors.py", model="llama3.2", variant="ollama", lanes=NO_CACHE),
        "mcp": session("mcp", "mcp_agent.py"),
        "crewai": session("openllmetry-crewai", "crew.py", variant="openllmetry", env=CREWAI),
        "bedrock": session("openllmetry-vendors", "bedrock.py", variant="openllmetry", **BEDROCK),
        "google-genai": session("openllmetry-vendors", "google_genai.py", variant="openllmetry", **GEMINI, **untold("embeddings have no span")),
    },
    "strands": {"agent": session("strands", "strands_agent.py", env=LATEST), "legacy": session("strands", "strands_agent.py")},
    "google-adk": {"agent": session("adk", "adk.py", env=CAPTURE, **GEMINI)},
    "agent-framework": {"agent": session("maf", "maf.py")},
    "semantic-kernel": {"agent": session("sk", "sk.py", env={"SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE": "true"}, **NO_CACHED)},
    "autogen": {"agent": session("autogen", "autogen_agent.py")},
    "haystack": {"agent": session("haystack", "haystack_agent.py")},
    "crewai": {"native": session("oi-crewai", "crew.py", variant="native", env=CREWAI)},
    "langtrace": {"openai": session("langtrace", "langtrace_agent.py", env={"LANGTRACE_ERROR_REPORTING": "False"}, **untold("the streamed call's cached tokens are not told"))},
    "openlit": {"openai": session("openlit", "openlit_agent.py")},
    "azure-ai-inference": {"chat": session("azure", "azure_inference.py", env={"AZURE_TRACING_GEN_AI_CONTENT_RECORDING_ENABLED": "true"}, **NO_CACHED)},
    "langfuse": {"openai": session("langfuse", "langfuse_agent.py", env={"LANGFUSE_BASE_URL": "{sink}", "LANGFUSE_HOST": "{sink}"})},
}
