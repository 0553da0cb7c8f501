"""Makes tests/cases/cost/libraries.json: calls, and what two public pricing libraries say that they cost.

Run it with the interpreter that install.sh made. The amounts are the libraries' own, never ours: genai-prices computes in
decimals (kept to the last digit), LiteLLM in doubles (kept as Python prints them).
"""

import datetime
import decimal
import importlib.metadata
import json
import os
import pathlib
import warnings

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402
from genai_prices import Usage, calc_price  # noqa: E402
from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper  # noqa: E402
from litellm.types.utils import Usage as LiteUsage  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[3]
OUT = ROOT / "tests/cases/cost/libraries.json"
NOW = "2026-11-20T12:00:00Z"

# provider as telemetry names it, provider of genai-prices, of LiteLLM, and models
MODELS = [
    ("anthropic", "anthropic", "anthropic", "claude-3-haiku claude-3-5-haiku-latest claude-haiku-4-5 claude-haiku-5-5 claude-sonnet-4-5 claude-sonnet-4-6 claude-sonnet-5 claude-opus-4-1 claude-opus-4-5 claude-opus-4-6 claude-opus-4-8 claude-opus-5-5 claude-fable-5-2"),
    ("openai", "openai", "openai", "gpt-4o gpt-4o-2024-05-13 gpt-4o-mini gpt-4-turbo gpt-3.5-turbo gpt-4.1 gpt-4.1-mini gpt-4.1-nano o1 o3 o3-mini o4-mini gpt-5 gpt-5-mini gpt-5-nano gpt-5.1 gpt-5.2 gpt-5.4 gpt-5.4-mini gpt-5.5 gpt-5.6 text-embedding-3-small text-embedding-3-large"),
    ("gcp.gemini", "google", "gemini", "gemini-2.0-flash gemini-2.0-flash-lite gemini-2.5-flash gemini-2.5-flash-lite gemini-2.5-pro gemini-3-pro-preview gemini-3-flash-preview gemini-3.1-pro-preview gemini-embedding-001"),
    ("aws.bedrock", "aws", "bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0 us.anthropic.claude-sonnet-4-5-20250929-v1:0 global.anthropic.claude-opus-4-6-v1 us.anthropic.claude-opus-4-6-v1 anthropic.claude-3-haiku-20240307-v1:0 anthropic.claude-3-5-sonnet-20241022-v2:0 amazon.nova-pro-v1:0 amazon.nova-lite-v1:0 amazon.nova-micro-v1:0 us.amazon.nova-pro-v1:0 meta.llama3-1-70b-instruct-v1:0 mistral.mistral-large-2402-v1:0"),
    ("azure.ai.openai", "azure", "azure", "gpt-4o gpt-4o-mini gpt-4.1 gpt-5-mini gpt-5"),
    ("mistral_ai", "mistral", "mistral", "mistral-large-latest mistral-medium-latest mistral-small-latest codestral-latest open-mistral-nemo magistral-medium-latest ministral-8b-latest pixtral-large-latest"),
    ("deepseek", "deepseek", "deepseek", "deepseek-chat deepseek-reasoner deepseek-v4-pro deepseek-v4-flash"),
    ("x_ai", "x-ai", "xai", "grok-3 grok-3-mini grok-4 grok-4-fast-reasoning grok-code-fast-1 grok-4.20"),
    ("groq", "groq", "groq", "llama-3.3-70b-versatile llama-3.1-8b-instant openai/gpt-oss-120b openai/gpt-oss-20b qwen/qwen3-32b moonshotai/kimi-k2-instruct-0905"),
    ("cohere", "cohere", "cohere", "command-a-03-2025 command-r-08-2024 command-r-plus-08-2024 command-r7b-12-2024"),
    ("openrouter", "openrouter", "openrouter", "anthropic/claude-sonnet-4.5 anthropic/claude-opus-4.5 openai/gpt-5 openai/gpt-5-mini google/gemini-2.5-pro google/gemini-2.5-flash deepseek/deepseek-chat-v3.1 x-ai/grok-4 qwen/qwen3-coder mistralai/mistral-medium-3.1"),
    ("moonshot_ai", "moonshotai", "moonshot", "kimi-k2-0905-preview kimi-k2-thinking kimi-k2.5"),
    ("cerebras", "cerebras", "cerebras", "gpt-oss-120b qwen-3-32b llama3.1-8b"),
    ("together", "together", "together_ai", "openai/gpt-oss-120b deepseek-ai/DeepSeek-V3.1 Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8"),
    ("fireworks", "fireworks", "fireworks_ai", "accounts/fireworks/models/gpt-oss-120b accounts/fireworks/models/deepseek-v3p1"),
    ("zai", "zai", "zai", "glm-4.6 glm-4.5 glm-4.5-air"),
]

WRITES = ("anthropic", "aws.bedrock")
VARIANTS = {
    "plain": dict(input=1000, output=100),
    "cached": dict(input=12345, cache_read=10000, output=678),
    "long": dict(input=300001, cache_read=1000, output=1001),
    "writes": dict(input=20000, cache_read=9000, cache_write_5m=3000, cache_write_1h=0, output=500),
    "hour": dict(input=20000, cache_read=9000, cache_write_5m=1000, cache_write_1h=2000, output=500),
    "audio": dict(input=1000, input_audio=600, output=100),
    "flex": dict(input=1000, cache_read=400, output=100),
    "priority": dict(input=1000, cache_read=400, output=100),
    "batch": dict(input=1000, output=100),
    "old": dict(input=1000, output=100),
}
TIERS = {"flex", "priority", "batch"}


def variants(provider, model):
    embedding = "embedding" in model
    yield "plain"
    if embedding:
        return
    yield "cached"
    if provider in ("anthropic", "openai", "gcp.gemini", "x_ai", "aws.bedrock"):
        yield "long"
    if "claude" in model and provider in WRITES:
        yield "writes"
        yield "hour"
    if provider == "gcp.gemini" and "flash" in model:
        yield "audio"
    if provider == "openai":
        yield "flex"
        yield "priority"
    if provider in ("openai", "anthropic", "gcp.gemini"):
        yield "batch"
    if provider == "deepseek" or model == "o3":
        yield "old"


def text(number):
    """A decimal without exponent and trailing zeros."""
    out = format(number, "f")
    return out.rstrip("0").rstrip(".") if "." in out else out


def ours(usage, embedding):
    return {key: count for key, count in usage.items() if not (embedding and key == "output")}


def genai_prices(provider, model, name, usage, when):
    known = dict(input="input_tokens", output="output_tokens", cache_read="cache_read_tokens", cache_write_1h="cache_write_1h_tokens", input_audio="input_audio_tokens")
    counts = {known[key]: count for key, count in usage.items() if key in known and count}
    writes = usage.get("cache_write_5m", 0) + usage.get("cache_write_1h", 0)
    if writes:
        counts["cache_write_tokens"] = writes
    context = None
    if name in ("flex", "priority"):
        context = {"service_tier": name}
    if name == "batch":
        context = {"processing": "batch"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            price = calc_price(Usage(**counts), model, provider_id=provider, genai_request_timestamp=when, price_context=context)
    except Exception:
        return None
    return text(price.total_price) if price.total_price else None


def lite(provider, model, name, usage):
    key = model if model in litellm.model_cost else f"{provider}/{model}"
    # its function takes no batch: what it says then is the list price
    if name in ("old", "batch") or key not in litellm.model_cost:
        return None
    short, long = usage.get("cache_write_5m", 0), usage.get("cache_write_1h", 0)
    read = usage.get("cache_read", 0)
    details = dict(cached_tokens=read, audio_tokens=usage.get("input_audio", 0) or None)
    extra = {}
    if short or long:
        details.update(cache_creation_tokens=short + long, cache_creation_token_details={"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long})
        extra = dict(cache_creation_input_tokens=short + long, cache_read_input_tokens=read)
    counts = LiteUsage(
        prompt_tokens=usage["input"],
        completion_tokens=usage.get("output", 0),
        total_tokens=usage["input"] + usage.get("output", 0),
        prompt_tokens_details=PromptTokensDetailsWrapper(**details),
        completion_tokens_details=CompletionTokensDetailsWrapper(),
        **extra,
    )
    try:
        prompt, completion = litellm.cost_per_token(model=model, custom_llm_provider=provider, usage_object=counts, service_tier=name if name in TIERS else None)
    except Exception:
        return None
    total = prompt + completion
    return repr(total) if total else None


def main():
    cases = []
    for provider, genai, light, models in MODELS:
        for model in models.split():
            for name in variants(provider, model):
                embedding = "embedding" in model
                usage = ours(VARIANTS[name], embedding)
                at = "2025-05-01T12:00:00Z" if name == "old" else NOW
                when = datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
                said = {"genai_prices": genai_prices(genai, model, name, usage, when), "litellm": lite(light, model, name, usage)}
                if not any(said.values()):
                    continue
                call = {"provider": provider, "model": model, "time": at, "includes_cached": True, "usage": usage}
                if name in TIERS:
                    call["tier"] = name
                if embedding:
                    call["operation"] = "embeddings"
                said = {key: amount for key, amount in said.items() if amount}
                cases.append({"name": f"{provider} {model} {name}", "call": call, "said": said})
    versions = {name: importlib.metadata.version(name) for name in ("genai-prices", "litellm")}
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    OUT.write_text(f'{{"versions": {json.dumps(versions)}, "cases": [\n{lines}\n]}}\n')
    print(len(cases), "cases,", sum(len(case["said"]) for case in cases), "amounts")


if __name__ == "__main__":
    decimal.getcontext().prec = 50
    main()
