"""An independent pricer, in decimals: a month of calls of three vendors, the vendors' exports, and why these differ from the telemetry's sums.

PRICES are typed from the vendors' price lists (USD per million tokens). The month contains, on purpose:
- anthropic: a day without telemetry, and a credit. Its second export rounds to cents.
- openai: batch calls that the telemetry does not mark, and a model that no price list has.
- aws: a contract with a discount of 12 %, tax, and a line of another service.
"""
import collections
import csv
import json
import os
import random
from decimal import ROUND_HALF_UP, Decimal as D

BEGIN, DAY, DAYS = 1_793_491_200, 86_400, 30  # 2026-11-01T00:00:00Z
LOST, CREDIT, TAX, DISCOUNT = 17, D("-25.50"), D("19.10"), D("0.88")
UNLISTED = "gpt-77-preview-2026-10-01"
PRICES = {
    "anthropic": {
        "claude-sonnet-4-6": {"input": D("3"), "cache_read": D("0.30"), "cache_write_5m": D("3.75"), "output": D("15")},
        "claude-haiku-4-5-20251001": {"input": D("1"), "cache_read": D("0.10"), "cache_write_5m": D("1.25"), "output": D("5")}},
    "openai": {
        "gpt-4.1-2025-04-14": {"input": D("2"), "cache_read": D("0.50"), "output": D("8")},
        "gpt-4.1-mini-2025-04-14": {"input": D("0.40"), "cache_read": D("0.10"), "output": D("1.60")},
        UNLISTED: {"input": D("7"), "cache_read": D("1.75"), "output": D("21")}},
    "aws": {
        "amazon.nova-pro-v1:0": {"input": D("0.80"), "cache_read": D("0.20"), "output": D("3.20")},
        "amazon.nova-lite-v1:0": {"input": D("0.06"), "cache_read": D("0.015"), "output": D("0.24")}}}
NAMES = {"anthropic": "anthropic", "openai": "openai", "aws": "aws.bedrock"}
# the last two would run as formulas in a spreadsheet
TENANTS = ("search", "support", "billing", '=HYPERLINK("https://evil.example","open")', "+1-800")
CENT = D("0.01")
SHOWN = {"claude-sonnet-4-6": "Claude Sonnet 4.6", "claude-haiku-4-5-20251001": "Claude Haiku 4.5"}
CONSOLE = {"input": "input_no_cache", "cache_read": "input_cache_read", "cache_write_5m": "input_cache_write_5m", "output": "output"}

Call = collections.namedtuple("Call", "vendor model at seconds tokens batch tenant session")


def price(call):
    """The call's list price in USD, by kind."""
    return {kind: PRICES[call.vendor][call.model][kind] * count / 10**6 for kind, count in call.tokens.items() if count}


def day_of(call):
    """The day on which a call began, from 1 on."""
    return int(call.at // 10**9 - BEGIN) // DAY + 1


def make(count, seed):
    """The calls, in order of their time. Every day's first and last call begin in its first and last millisecond."""
    chance = random.Random(seed)
    calls = []
    for number in range(count):
        vendor = chance.choice(("anthropic", "openai", "aws"))
        models = list(PRICES[vendor])
        model = chance.choices(models, (60, 38, 2)[:len(models)])[0]
        tokens = {kind: chance.randrange(1, 9_000) for kind in PRICES[vendor][model]}
        batch = vendor == "openai" and model != UNLISTED and chance.random() < 0.3
        if batch:  # the batch tier has no cache
            tokens["cache_read"] = 0
        day, edge = number % DAYS, number // DAYS
        second = {0: 0, 1: DAY - 0.001}.get(edge, chance.random() * DAY)
        at = (BEGIN + day * DAY) * 10**9 + int(second * 1000) * 10**6
        calls.append(Call(vendor, model, at, chance.choice((0.0005, 2, 40)), tokens, batch, chance.choice(TENANTS), chance.randrange(300)))
    return sorted(calls, key=lambda call: call.at)


def is_seen(call):
    return not (call.vendor == "anthropic" and day_of(call) == LOST)


class Bill:
    """One vendor's bill, {(day, model, kind, batch): [tokens, USD]}, and the causes of its difference from the telemetry's sum."""

    def __init__(self, vendor, calls):
        self.lines, self.causes, self.ours = collections.defaultdict(lambda: [0, D(0)]), collections.Counter(), D(0)
        self.calls = 0
        for call in calls:
            if call.vendor != vendor:
                continue
            listed = price(call)
            own = D(0) if call.model == UNLISTED else sum(listed.values())
            for kind, amount in listed.items():
                billed = amount * (D("0.5") if call.batch else 1) * (DISCOUNT if vendor == "aws" else 1)
                line = self.lines[day_of(call), call.model, kind, call.batch]
                line[0] += call.tokens[kind]
                line[1] += billed
                if not is_seen(call):
                    self.causes["unseen"] += billed
                elif call.model == UNLISTED:
                    self.causes["unpriced"] += billed
                elif billed != amount:
                    self.causes["tier" if call.batch else "discount"] += billed - amount
            if is_seen(call):
                self.ours += own
                self.calls += 1

    def total(self):
        return sum(amount for _, amount in self.lines.values())

    def days(self):
        by_day = collections.defaultdict(list)
        for (day, *about), line in sorted(self.lines.items()):
            by_day[day].append((*about, *line))
        return by_day


def rfc(day):
    return f"2026-11-{day:02}T00:00:00Z" if day <= DAYS else "2026-12-01T00:00:00Z"


def plain(amount):
    return f"{amount:f}"


def write(path, value):
    with open(path, "w") as f:
        f.write(value if isinstance(value, str) else json.dumps(value))
    return path


def write_csv(path, rows):
    with open(path, "w", newline="") as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def anthropic(bill, folder):
    """The cost report, with its amounts in cents, and the usage report."""
    kinds = {"input": "uncached_input_tokens", "output": "output_tokens", "cache_read": "cache_read_input_tokens", "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens"}
    costs, uses = [], []
    for day, lines in bill.days().items():
        bucket = {"starting_at": rfc(day), "ending_at": rfc(day + 1)}
        of_day = {"currency": "USD", "workspace_id": None, "context_window": "0-200k"}
        results = [{**of_day, "amount": plain(amount * 100), "cost_type": "tokens", "model": model, "token_type": kinds[kind], "service_tier": "standard", "description": "Usage"}
                   for model, kind, _, _, amount in lines]
        if day == DAYS:
            results.append({**of_day, "amount": plain(CREDIT * 100), "cost_type": None, "model": None, "token_type": None, "service_tier": None, "description": "Promotional credit"})
        costs.append({**bucket, "results": results})
        used = collections.defaultdict(lambda: {"cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0}})
        for model, kind, _, tokens, _ in lines:
            if kind.startswith("cache_write"):
                used[model]["cache_creation"]["ephemeral_5m_input_tokens"] = tokens
            else:
                used[model][kinds[kind]] = tokens
        uses.append({**bucket, "results": [{"model": model, "service_tier": "standard", "workspace_id": None, **counts} for model, counts in used.items()]})
    bill.causes["credit"] = CREDIT
    return [write(os.path.join(folder, f"{name}.json"), {"data": data, "has_more": False, "next_page": None}) for name, data in (("cost_report", costs), ("usage_report", uses))]


def console(bill, folder):
    """The console's downloads, whose costs are rounded to cents."""
    costs, uses = [], collections.defaultdict(dict)
    for day, lines in bill.days().items():
        for model, kind, _, tokens, amount in lines:
            rounded = amount.quantize(CENT, ROUND_HALF_UP)
            bill.causes["rounding"] += 0 if day == LOST else rounded - amount
            bill.causes["unseen"] += rounded - amount if day == LOST else 0
            costs.append({"usage_date_utc": rfc(day)[:10], "model": SHOWN[model], "workspace": "Default", "api_key": "app", "usage_type": "message", "token_type": CONSOLE[kind],
                          "cost_usd": plain(rounded), "cost_type": "token"})
            uses[day, model][f"usage_{CONSOLE[kind].replace('input', 'input_tokens') if kind != 'output' else 'output_tokens'}"] = tokens
    uses = [{"usage_date_utc": rfc(day)[:10], "model_version": model, "api_key": "app", "workspace": "Default", "usage_type": "standard", **counts} for (day, model), counts in uses.items()]
    return [write_csv(os.path.join(folder, "console_cost.csv"), costs), write_csv(os.path.join(folder, "console_usage.csv"), uses)]


def openai(bill, folder):
    """The costs, in which batch and other calls are one line, and the usage of completions, which tells them apart."""
    words = {"input": "input", "cache_read": "cached input", "output": "output"}
    costs, uses = [], []
    for day, lines in bill.days().items():
        bucket = {"object": "bucket", "start_time": BEGIN + (day - 1) * DAY, "end_time": BEGIN + day * DAY}
        sums, used = collections.Counter(), collections.defaultdict(collections.Counter)
        for model, kind, batch, tokens, amount in lines:
            sums[f"{model}, {words[kind]}"] += amount
            used[model, batch]["output_tokens" if kind == "output" else "input_tokens"] += tokens
            used[model, batch]["input_cached_tokens"] += tokens if kind == "cache_read" else 0
        # a number in JSON may have more digits than a float
        results = [{"object": "organization.costs.result", "amount": {"value": f"@{plain(amount)}@", "currency": "usd"}, "line_item": item, "project_id": "proj_app"} for item, amount in sums.items()]
        costs.append({**bucket, "results": results})
        uses.append({**bucket, "results": [{"model": model, "batch": batch, "num_model_requests": 1, **counts} for (model, batch), counts in used.items()]})
    numbers = json.dumps({"object": "page", "data": costs, "has_more": False}).replace('"@', "").replace('@"', "")
    return [write(os.path.join(folder, "costs.json"), numbers), write(os.path.join(folder, "completions.json"), {"object": "page", "data": uses, "has_more": False})]


def aws(bill, folder):
    """Data Exports (CUR 2.0), by day."""
    words = {"input": "input-tokens", "cache_read": "cache-read-input-token-count", "output": "output-tokens"}
    names = {"amazon.nova-pro-v1:0": "NovaPro", "amazon.nova-lite-v1:0": "NovaLite"}

    def row(day, kind, code, usage, amount, cost, unit):
        return {"line_item_line_item_type": kind, "line_item_usage_start_date": rfc(day), "line_item_usage_end_date": rfc(day + 1), "line_item_product_code": code, "line_item_usage_type": usage,
                "line_item_usage_account_id": "111122223333", "line_item_usage_amount": amount, "line_item_currency_code": "USD", "line_item_unblended_cost": plain(cost), "pricing_unit": unit, "product": "{}"}
    rows = [row(day, "Usage", "AmazonBedrock", f"USE1-{names[model]}-{words[kind]}", plain(D(tokens) / 1000), amount, "1K tokens")
            for day, lines in bill.days().items() for model, kind, _, tokens, amount in lines]
    rows += [row(DAYS, "Tax", "AmazonBedrock", "USE1-NovaPro-input-tokens", "1", TAX, ""), row(3, "Usage", "AmazonEC2", "USE1-BoxUsage:m5.large", "24", D("2.304"), "Hrs")]
    bill.causes["tax"] = TAX
    return [write_csv(os.path.join(folder, "cur.csv"), rows)]
