"""Lays a public price list over a rate table: rates_import.py FORMAT LIST TABLE [TIME]
       rates_import.py check      tests this script

FORMAT: litellm (its model_prices_and_context_window.json) or genai-prices (its data.json); tests/peers/prices/install.sh writes both.
TABLE has the layout of config/rates/rates.yaml, a model in each entry, and is updated in place. At a changed price the open window ends
at TIME (RFC 3339, default now) and a new one begins; closed windows and models that the list lacks stay. Numbers stay text and are
exact. A price finer than 1e-18 USD per token, a free model, and what a table has no field for are left out and counted on stderr.
"""
import collections
import datetime
import decimal
import json
import re
import sys

decimal.getcontext().prec = 80
# what providers are called there and here
PROVIDERS = {
    "text-completion-openai": "openai", "azure_ai": "azure", "azure_text": "azure", "bedrock": "aws", "bedrock_converse": "aws",
    "bedrock_mantle": "aws", "gemini": "google", "xai": "x-ai", "cohere_chat": "cohere", "together_ai": "together",
    "fireworks_ai": "fireworks", "fireworks_ai-embedding-models": "fireworks", "moonshot": "moonshotai",
    "github_copilot": "github-copilot", "voyage": "voyageai",
}
LITELLM = {
    "input_cost_per_token": "input", "output_cost_per_token": "output", "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write", "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "input_audio", "output_cost_per_audio_token": "output_audio",
    "input_cost_per_image_token": "input_image", "output_cost_per_image_token": "output_image",
    "cache_read_input_audio_token_cost": "cache_read_audio", "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_video_token": "input_video", "output_cost_per_video_token": "output_video",
}
CIRCUMSTANCES = {
    "_flex": ("service_tier", "flex"), "_priority": ("service_tier", "priority"), "_ultrafast": ("service_tier", "ultrafast"),
    "_batches": ("processing", "batch"),
}
GENAI = {f"{unit}_mtok": unit for unit in (
    "input output cache_read cache_write cache_write_5m cache_write_1h input_audio output_audio input_image output_image "
    "input_video output_video output_citation").split()}
GENAI |= {"cache_audio_read_mtok": "cache_read_audio", "cache_image_read_mtok": "cache_read_image", "output_reasoning_mtok": "reasoning"}
FEES = {"web_searches_kcount": "web_search", "storage_searches_kcount": "file_search", "requests_kcount": "request"}
VARIABLES = set("service_tier processing speed inference_geo data_residency bedrock_scope bedrock_geo vertex_endpoint "
                "google_platform utc_time utc_weekday route".split())


def number(value):
    try:
        return decimal.Decimal(value) if isinstance(value, (str, decimal.Decimal)) else None
    except decimal.InvalidOperation:
        return None


def plain(value, digits=0):
    """The number times 10^digits, without exponent and trailing zeros."""
    text = format(value.scaleb(digits), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def without_empty(spec):
    return {key: value for key, value in spec.items() if value or key == "price"}


def tiers(by_limit):
    # 199,999 is an inclusive limit, written there as an exclusive one
    return [{"at_least_input": 200_000, "price": prices} if limit == 199_999 else {"over_input": int(limit), "price": prices}
            for limit, prices in sorted(by_limit.items())]


class Models(dict):
    """Models by provider and id, while a list is read."""

    def __init__(self):
        super().__init__()
        self.left_out = collections.Counter()

    def add(self, provider, model):
        texts = [number(text) for rate in model["rates"] for text in flat(rate).values()]
        prices = [number(text) for rate in model["rates"] for text in rate["price"].values()]
        if any(text is None or text < 0 or text != text.quantize(decimal.Decimal("1e-12")) for text in texts):
            why = "a price has too many digits"
        elif not prices:
            why = "no price per token"
        elif not any(prices):
            why = "free of charge: add it yourself, otherwise its calls have no price"
        elif self.setdefault(provider, {}).setdefault(model["id"], model)["rates"] != model["rates"]:
            why = "listed twice with different prices"
        else:
            return
        self.left_out[why] += 1


def flat(rate):
    """Every price of a window under a unique name."""
    def of_list(spec, name):
        yield from (((name, unit), text) for unit, text in spec.get("price", {}).items())
        for tier in spec.get("tiers", []):
            start = tier.get("at_least_input") or tier["over_input"] + 1
            yield from (((name, start, unit), text) for unit, text in tier["price"].items())
        yield from (((name, "fee", fee), text) for fee, text in spec.get("fees_per_1000", {}).items())
        if "multiply" in spec:
            yield (name, "factor"), spec["multiply"]
    specs = [(rate, "")] + [(adjust, json.dumps(adjust["when"], sort_keys=True)) for adjust in rate.get("adjust", [])]
    return {key: text for spec, name in specs for key, text in of_list(spec, name)}


def read_litellm(data):
    models = Models()
    for key, entry in sorted(data.items()):
        theirs = entry.get("litellm_provider") if key != "sample_spec" else None
        if theirs is None:
            continue
        vertex = theirs.startswith("vertex_ai")
        provider = "google" if vertex else PROVIDERS.get(theirs, theirs)
        first, _, rest = key.partition("/")
        own_id = rest if rest and (first == theirs or theirs.startswith(first)) else key
        if "commitment/" in own_id:
            models.left_out["price of a commitment, not of a call"] += 1
        elif vertex and own_id in models.get("google", {}):
            models.left_out["Vertex row of a model that the list also has for the Gemini API"] += 1
        else:
            models.add(provider, {"id": own_id, "ids": [own_id], "rates": [litellm_rate(entry, models)]})
    return models


def litellm_rate(entry, models):
    lists = collections.defaultdict(lambda: ({}, collections.defaultdict(dict)))
    for key, value in sorted(entry.items()):
        tail = next((tail for tail in CIRCUMSTANCES if key.endswith(tail)), "")
        word, limit = re.fullmatch(r"(.*?)(?:_above_(\d+)k_tokens)?", key.removesuffix(tail)).groups()
        if word in LITELLM and number(value) is not None:
            price, by_limit = lists[CIRCUMSTANCES.get(tail)]
            (by_limit[int(limit) * 1_000] if limit else price)[LITELLM[word]] = plain(number(value), 6)
        elif "cost_per" in key:
            models.left_out[f"key {key}"] += 1
    price, by_limit = lists.pop(None, ({}, collections.defaultdict(dict)))
    for part in entry.get("tiered_pricing") or []:
        start = part.get("range", [None])[0]
        if start is not None:
            own = by_limit[int(start)] if start else price
            own |= {unit: plain(number(part[key]), 6) for key, unit in LITELLM.items() if number(part.get(key)) is not None}
    adjust = [without_empty({"when": {name: [value]}, "price": own, "tiers": tiers(by)}) for (name, value), (own, by) in sorted(lists.items())]
    factors = entry.get("provider_specific_entry") or {}
    for key, name in [("us", "inference_geo"), ("fast", "speed")]:
        if number(factors.get(key)) is not None:
            adjust.append({"when": {name: [key]}, "multiply": plain(number(factors[key]))})
    return without_empty({"price": price, "tiers": tiers(by_limit), "adjust": adjust})


def read_genai_prices(data):
    models = Models()
    for provider in data["providers"] if isinstance(data, dict) else data:
        for entry in provider["models"]:
            ids = [entry["id"]] + clause_ids(entry.get("match", {}), models)
            models.add(provider["id"], {"id": entry["id"], "ids": list(dict.fromkeys(one.lower() for one in ids)), "rates": genai_rates(entry, models)})
    return models


def clause_ids(clause, models):
    """Only whole ids: a table has no prefixes, so a `starts_with` gives its text."""
    for word in {"contains", "ends_with", "regex", "and"} & clause.keys():
        models.left_out[f"match: {word}"] += 1
    own = [clause[word].rstrip("-@:.") if word == "starts_with" else clause[word] for word in ("equals", "starts_with") if word in clause]
    return own + [one for inner in clause.get("or", []) for one in clause_ids(inner, models)]


def genai_rates(entry, models):
    windows, by_clock, variants = {}, [], []
    prices = entry.get("prices", {})
    for part in prices if isinstance(prices, list) else [{"prices": prices}]:
        rate, when = genai_rate(part["prices"], models), part.get("constraint") or {}
        if "start_time" in when:
            clock = f"{when['start_time'][:5]}-{when['end_time'][:5]}"
            by_clock.insert(0, {"when": {"utc_time": [clock]}} | rate)  # here the first entry wins, there the last
        else:
            windows[when.get("start_date", "")] = rate
    for variant in entry.get("price_variants", []):
        if variant["when"].keys() <= VARIABLES:
            date = (variant.get("constraint") or {}).get("start_date")
            start = {"from": f"{date}T00:00:00Z"} if date else {}
            variants.append({"when": {key: [value] for key, value in variant["when"].items()}} | start | genai_rate(variant["prices"], models))
        else:
            models.left_out["when: " + ", ".join(variant["when"].keys() - VARIABLES)] += 1
    starts, out = sorted(windows), []
    for at, start in enumerate(starts):
        ends = [f"{end}T00:00:00Z" for end in starts[at + 1:at + 2]]
        edges = {"from": f"{start}T00:00:00Z" if start else "", "to": "".join(ends)}
        out.append(without_empty(edges | windows[start] | {"adjust": variants + by_clock}))
    return out


def genai_rate(prices, models):
    price, by_limit, fees = {}, collections.defaultdict(dict), {}
    for key, value in prices.items():
        if key in GENAI and isinstance(value, dict):
            if number(value.get("base")) is not None:
                price[GENAI[key]] = plain(number(value["base"]))
            for tier in value.get("tiers", []):
                by_limit[int(tier["start"])][GENAI[key]] = plain(number(tier["price"]))
        elif key in GENAI and number(value) is not None:
            price[GENAI[key]] = plain(number(value))
        elif key in FEES and number(value) is not None:
            fees[FEES[key]] = plain(number(value))
        elif key != "@" and value is not None:
            models.left_out[f"key {key}"] += 1
    return without_empty({"price": price, "tiers": tiers(by_limit), "fees_per_1000": fees})


def entry_text(model):
    return f"      - {json.dumps(model, ensure_ascii=False)}\n"


def split_table(text):
    """Pieces of the table: (provider, None, text) or (provider, model, text of its entry)."""
    provider, open_entry = None, ""
    for line in text.splitlines(keepends=True):
        if open_entry or line.startswith("      - {"):
            open_entry += line
            try:
                yield provider, json.loads(open_entry.removeprefix("      - ")), open_entry
                open_entry = ""
            except json.JSONDecodeError:
                continue
        else:
            key = re.fullmatch(r"  ([\w.-]+):\n", line)
            provider = key[1] if key else provider
            yield provider, None, line
    if open_entry:
        sys.exit(f"rates_import.py: not an entry: {open_entry[:80]}")


def renew(model, new, time):
    """Ends the open window at the time if a price of the list differs; True if it did."""
    last, now = model["rates"][-1], new["rates"][-1]
    before = flat(last)
    same = all(key in before and number(before[key]) == number(text) for key, text in flat(now).items())
    if same or "to" in last or last.get("from", "") >= time:  # an announced price stays
        return False
    adjust = {json.dumps(one["when"], sort_keys=True): one for one in last.get("adjust", []) + now.get("adjust", [])}
    fees = last.get("fees_per_1000", {}) | now.get("fees_per_1000", {})
    renewed = {"from": time} | last | {"price": last["price"] | now["price"], "tiers": now.get("tiers") or last.get("tiers"),
                                       "fees_per_1000": fees, "adjust": list(adjust.values())}
    edges = {key: last[key] for key in ["from"] if key in last} | {"to": time}
    model["rates"][-1:] = [edges | {key: value for key, value in last.items() if key != "from"}, without_empty(renewed | {"from": time})]
    return True


def update(text, models, time):
    pieces, done, taken = list(split_table(text)), set(), collections.defaultdict(set)
    for provider, model, _ in pieces:
        if model:
            taken[provider] |= {one.lower() for one in model.get("ids") or [model["id"]]} | {model["id"].lower()}
    changed = collections.Counter()
    for at, (provider, model, _) in enumerate(pieces):
        names = [model["id"], *model.get("ids", [])] if model else []
        listed = [models[provider][name] for name in names if name in models.get(provider, {})]
        done |= {(provider, new["id"]) for new in listed}
        if listed and renew(model, listed[0], time):  # the entry's own id comes first
            changed["changed"] += 1
            pieces[at] = (provider, model, entry_text(model))
    last = {provider: at for at, (provider, _, _) in enumerate(pieces)}
    added = collections.defaultdict(str)
    for provider, own in models.items():
        for new in own.values():
            free = [one.lower() for one in new["ids"] if one.lower() not in taken[provider]]
            if (provider, new["id"]) not in done and free and new["id"].lower() not in taken[provider]:
                taken[provider] |= set(free)
                changed["new"] += 1
                added[provider] += entry_text({"id": new["id"].lower(), "ids": free, "rates": new["rates"]})
    out = "".join(piece + (added.pop(provider, "") if last[provider] == at else "") for at, (provider, _, piece) in enumerate(pieces))
    for provider, entries in sorted(added.items()):
        out += f"  {provider}:\n    names: [{json.dumps(provider)}]\n    reseller: true\n    models:\n{entries}"
    if changed:
        today, old = time[:10], re.search(r'^version: "(.*?)(?:\.(\d+))?"$', out, re.M)
        count = int(old[2] or 0) + 1 if old[1] == today else 1
        out = out.replace(old[0], f'version: "{today}.{count}"', 1)
        out = re.sub(r'^generated: ".*"$', f'generated: "{today}"', out, count=1, flags=re.M)
    return out, changed


READERS = {"litellm": read_litellm, "genai-prices": read_genai_prices}


def parse(text):
    return json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal)


def main():
    if sys.argv[1:] == ["check"]:
        return check()
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in READERS:
        sys.exit(__doc__)
    with open(sys.argv[2]) as file:
        models = READERS[sys.argv[1]](parse(file.read()))
    with open(sys.argv[3]) as file:
        text = file.read()
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    out, changed = update(text, models, sys.argv[4] if len(sys.argv) == 5 else now)
    with open(sys.argv[3], "w") as file:
        file.write(out)
    print(f"{changed['changed']} models with another price, {changed['new']} new ones", file=sys.stderr)
    for why, count in sorted(models.left_out.items()):
        print(f"{count:>6}  left out: {why}", file=sys.stderr)


def check():
    litellm = read_litellm(parse("""{"sample_spec": {"litellm_provider": "x", "input_cost_per_token": 1},
      "gpt-x": {"litellm_provider": "openai", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 0.00004,
        "input_cost_per_token_above_200k_tokens": 2.5e-06, "input_cost_per_token_above_200k_tokens_priority": 5e-06},
      "claude-x": {"litellm_provider": "anthropic", "input_cost_per_token": 3e-06,
        "cache_creation_input_token_cost_above_1hr": 6e-06,
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 12e-06, "provider_specific_entry": {"us": 1.1}},
      "dashscope/q": {"litellm_provider": "dashscope", "tiered_pricing": [
        {"range": [0, 32000], "input_cost_per_token": 1e-06}, {"range": [32000, 128000], "input_cost_per_token": 2e-06}]},
      "gpt-x-1": {"litellm_provider": "openai", "input_cost_per_token": 2e-06},
      "free-x": {"litellm_provider": "openai", "input_cost_per_token": 0.0},
      "dust-x": {"litellm_provider": "openai", "input_cost_per_token": 0.0833333333333333333e-06}}"""))
    gpt = {"price": {"input": "1.25", "output": "40"}, "tiers": [{"over_input": 200000, "price": {"input": "2.5"}}],
           "adjust": [{"when": {"service_tier": ["priority"]}, "price": {}, "tiers": [{"over_input": 200000, "price": {"input": "5"}}]}]}
    claude = {"price": {"cache_write_1h": "6", "input": "3"}, "tiers": [{"over_input": 200000, "price": {"cache_write_1h": "12"}}],
              "adjust": [{"when": {"inference_geo": ["us"]}, "multiply": "1.1"}]}
    assert litellm["openai"]["gpt-x"]["rates"] == [gpt], litellm
    assert litellm["anthropic"]["claude-x"]["rates"] == [claude], litellm
    assert litellm["dashscope"]["q"]["rates"] == [{"price": {"input": "1"}, "tiers": [{"over_input": 32000, "price": {"input": "2"}}]}], litellm
    assert len(litellm["openai"]) == 2 and litellm.left_out.total() == 2, litellm.left_out
    genai = read_genai_prices(parse("""{"providers": [{"id": "deepseek", "models": [
      {"id": "seek", "match": {"or": [{"equals": "seek-1"}, {"starts_with": "seek-2-"}, {"contains": "sook"}]},
       "prices": [{"prices": {"input_mtok": 0.135}}, {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 0.27}}]},
      {"id": "dated", "prices": [{"prices": {"input_mtok": "10"}}, {"constraint": {"start_date": "2025-06-10"},
       "prices": {"input_mtok": {"base": 2, "tiers": [{"start": 199999, "price": 4}]}, "web_searches_kcount": 10}}]}]}]}"""))
    seek = [{"price": {"input": "0.135"}, "adjust": [{"when": {"utc_time": ["00:30-16:30"]}, "price": {"input": "0.27"}}]}]
    dated = [{"to": "2025-06-10T00:00:00Z", "price": {"input": "10"}},
             {"from": "2025-06-10T00:00:00Z", "price": {"input": "2"}, "tiers": [{"at_least_input": 200000, "price": {"input": "4"}}], "fees_per_1000": {"web_search": "10"}}]
    assert genai["deepseek"]["seek"] == {"id": "seek", "ids": ["seek", "seek-1", "seek-2"], "rates": seek}, genai
    assert genai["deepseek"]["dated"]["rates"] == dated and genai.left_out == {"match: contains": 1}, genai
    table = ('version: "2026-11-20.8"\ngenerated: "2026-11-20"\nproviders:\n  openai:\n    models:\n'
             '      - {"id": "gpt-x", "ids": ["gpt-x", "gpt-x-1"], "rates": [{"price": {"input": "1.25", "output": "10", "cache_read": "0.1"}}]}\n'
             '      - {"id": "old", "ids": ["old"], "rates": [{"price": {"input": "9"}}]}\n')
    time = "2026-11-20T12:00:00Z"
    out, changed = update(table, litellm, time)
    first, second = next(model for _, model, _ in split_table(out) if model)["rates"]
    assert first == {"to": time, "price": {"input": "1.25", "output": "10", "cache_read": "0.1"}}, out
    assert second == gpt | {"from": time, "price": {"input": "1.25", "output": "40", "cache_read": "0.1"}}, out
    assert '"2026-11-20.9"' in out and '"id": "old"' in out and changed == {"changed": 1, "new": 2}, out
    assert update(out, litellm, "2026-12-01T00:00:00Z") == (out, {}), "a second run changes nothing"
    with open(__file__.replace("rates_import.py", "rates/rates.yaml")) as file:
        ours = file.read()
    pieces = list(split_table(ours))
    assert "".join(text for _, _, text in pieces) == ours and sum(model is not None for _, model, _ in pieces) > 4_000, "layout of rates.yaml"
    print("rates_import.py: ok")


if __name__ == "__main__":
    main()
