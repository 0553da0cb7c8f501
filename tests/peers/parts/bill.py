"""`tollgate bill` on a November of 100,000 calls: each vendor's bill reconciles to 0, and each cause has the exact amount of an independent
pricer (bill/month.py). A wrong bill fails. The FOCUS validator and DuckDB read the output of `bill focus`.

    bill.py [--calls 100000] [--seed N]
"""
import argparse
import collections
import concurrent.futures
import json
import os
import random
import subprocess
import sys
import time
from decimal import Decimal as D

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bill"))
import month  # noqa: E402
import otlp_json  # noqa: E402
from harness import CACHE, HERE, Gateway, Sink, check, figure, finish, outlet, read, read_json, say, tollgate, until, workdir, write  # noqa: E402

VENV = os.path.join(CACHE, "venv-bill")
# remainder of integer shares of 1e-18 USD
DUST = D("0.000000001")


def span(call, number):
    """A call as a span of today's conventions. Tokens read from and written to a cache are part of the input."""
    counts = dict.fromkeys(("cache_read", "cache_write_5m"), 0) | call.tokens
    name = month.NAMES[call.vendor]
    return otlp_json.span(f"{call.session + 1:032x}", number + 1, None, f"chat {call.model}", call.at, call.seconds, {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": name, "gen_ai.request.model": call.model, "gen_ai.response.model": call.model,
        "gen_ai.response.id": f"r-{number}", "gen_ai.conversation.id": f"s-{call.session}",
        "gen_ai.usage.input_tokens": counts["input"] + counts["cache_read"] + counts["cache_write_5m"], "gen_ai.usage.output_tokens": counts["output"],
        "gen_ai.usage.cache_read.input_tokens": counts["cache_read"] or None, "gen_ai.usage.cache_creation.input_tokens": counts["cache_write_5m"] or None})


def send(gateway, calls):
    """In requests of a thousand spans, four at a time."""
    seen = [(number, call) for number, call in enumerate(calls) if month.is_seen(call)]

    def send_from(at):
        by_tenant = {}
        for number, call in seen[at:at + 1000]:
            by_tenant.setdefault(call.tenant, []).append(span(call, number))
        otlp_json.send(gateway, [otlp_json.group(some, tenant__id=tenant, service__name="app") for tenant, some in by_tenant.items()])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(send_from, range(0, len(seen), 1000)))
    return len(seen)


def reconcile(store, vendor, exports, *options):
    """(exit code, report)"""
    code, out, why = tollgate("bill", "reconcile", "--provider", vendor, "--store", store, "--month", "2026-11", "--json", *[f"--file={path}" for path in exports], *options)
    if not out:
        raise AssertionError(f"{vendor}: {code} {why}")
    return code, json.loads(out)


def near(one, other, within=DUST):
    return abs(D(one) - D(other)) <= within


def compare(vendor, bill, answer, total, what=""):
    """The report has the causes that the pricer computed, with their amounts, and no others."""
    code, report = answer
    causes = {name: D(amount) for name, amount in report["causes"].items()}
    say(f"{vendor}{what}: bill {report['bill']}, ours {report['tollgate']}: {json.dumps(report['causes'])}")
    check(f"{vendor}{what}: exit code 0, nothing is unexplained", code == 0 and causes["unexplained"] == 0 and report["problem"] is None, f"{code} {report['causes']}")
    check(f"{vendor}{what}: the bill's sum, and ours, are the pricer's", near(report["bill"], total) and near(report["tollgate"], bill.ours), f"{report['bill']} {total}, {report['tollgate']} {bill.ours}")
    check(f"{vendor}{what}: all calls that were sent", report["calls"] == bill.calls, f"{report['calls']} {bill.calls}")
    wanted = {name: amount for name, amount in bill.causes.items() if amount}
    for name, amount in wanted.items():
        check(f"{vendor}{what}: {name} is {amount.normalize():f}", near(causes.get(name, 0), amount), f"{causes.get(name)}")
    others = {name: amount for name, amount in causes.items() if name not in wanted and abs(amount) > DUST}
    check(f"{vendor}{what}: no other cause", not others, str(others))
    check(f"{vendor}{what}: the causes add up to the difference", sum(causes.values()) == D(report["difference"]), report["difference"])


def reconciled(store, calls, work):
    bills = {vendor: month.Bill(vendor, calls) for vendor in month.PRICES}
    exports = {vendor: getattr(month, vendor)(bill, work) for vendor, bill in bills.items()}
    for vendor, bill in bills.items():
        total = bill.total() + bill.causes["credit"] + bill.causes["tax"]
        began = time.monotonic()
        answer = reconcile(store, vendor, exports[vendor])
        figure(f"reconcile {vendor}", round(time.monotonic() - began, 1), "s")
        compare(vendor, bill, answer, total)
    _, report = reconcile(store, "anthropic", exports["anthropic"])
    lost = [line for line in report["lines"] if line["from"] == f"2026-11-{month.LOST}"]
    check("the lost day is a day of its own, of which all tokens are unseen", lost and all(line["unseen_tokens"] == line["bill_tokens"] > 0 and D(line["tollgate"]) == 0 for line in lost), str(lost[:1]))
    _, report = reconcile(store, "aws", exports["aws"])
    check("the discount is named, with its overlay", [ratio["ratio"] for ratio in report["ratios"]] == ["0.88"] and '0.88' in report["ratios"][0]["hint"], str(report["ratios"]))
    bill = month.Bill("anthropic", calls)
    answer = reconcile(store, "anthropic", month.console(bill, work))
    compare("anthropic", bill, answer, bill.total() + sum(cents_of(bill)), ", rounded to cents")
    wrong(store, exports)


def cents_of(bill):
    """How much rounding to cents changes each line of a bill."""
    return [amount.quantize(month.CENT, month.ROUND_HALF_UP) - amount for _, amount in bill.lines.values()]


def wrong(store, exports):
    """Bills that must not reconcile."""
    costs, uses = exports["anthropic"]
    changed = read_json(costs)
    row = changed["data"][4]["results"][0]
    row["amount"] = month.plain(D(row["amount"]) * 2 + 31_337)
    path = month.write(costs.replace(".json", "_changed.json"), changed)
    code, report = reconcile(store, "anthropic", [path, uses])
    check("a line that is wrong is unexplained: exit code 1", code == 1 and report["problem"] and D(report["causes"]["unexplained"]) > 313, f"{code} {report['causes']}")
    code, report = reconcile(store, "anthropic", [path, uses], "--tolerance", "99")
    check("a tolerance allows it: exit code 0", code == 0, str(code))
    code, report = reconcile(store, "anthropic", [costs, uses, costs])
    check("a file that is given twice counts once", code == 0 and report["notes"], f"{report['bill']} {report['notes']}")
    code, _, why = tollgate("bill", "reconcile", "--provider", "anthropic", "--store", store, f"--file={costs}", f"--file={path}", f"--file={uses}")
    check("two reports of a day that differ are refused", code != 0 and "give only the newer export" in why, why)
    code, _, why = tollgate("bill", "reconcile", "--provider", "aws", "--store", store, f"--file={costs}")
    check("another vendor's bill is refused", code != 0 and "anthropic-cost-report" in why, why)


# ---- FOCUS ---------------------------------------------------------------------------------------------------------

def validate(path, out):
    """The number of the FOCUS validator's checks, and those that fail."""
    site = subprocess.run([os.path.join(VENV, "bin", "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True).stdout.strip()
    # the validator opens its currency list by a path relative to this folder
    done = subprocess.run([os.path.join(VENV, "bin", "focus-validator"), "--data-file", path, "--validate-version", "1.0", "--output-type", "unittest", "--output-destination", out],
                          cwd=site, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    import xml.etree.ElementTree as tree
    cases = list(tree.parse(out).iter("testcase"))
    return len(cases), {case.get("name").split(" ")[0] for case in cases if case.find("failure") is not None}


def duck(path, select):
    """Rows of a statement over the file `f`, amounts as text."""
    program = "import duckdb, json, sys; print(json.dumps(duckdb.execute(sys.argv[1]).fetchall(), default=str))"
    amounts = ", ".join(f"'{name}': 'DECIMAL(38,18)'" for name in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"))
    statement = f"WITH f AS (FROM read_csv('{path}', all_varchar = false, types = {{{amounts}}})) {select}"
    return json.loads(subprocess.run([os.path.join(VENV, "bin", "python"), "-c", program, statement], capture_output=True, text=True, check=True).stdout)


def focus(store, calls, work):
    code, out, why = tollgate("bill", "focus", "--month", "2026-11", "--store", store)
    path = os.path.join(work, "focus.csv")
    write(path, out)
    check("bill focus: exit code 0, and calls without a price are told", code == 0 and "without a price" in why, f"{code} {why}")
    priced = [call for call in calls if month.is_seen(call) and call.model != month.UNLISTED]
    by_tenant = collections.Counter()
    for call in priced:
        # the telemetry has neither batch marks nor discounts
        by_tenant[call.tenant] += sum(month.price(call).values())
    wanted = {("'" if tenant[0] in "=+-@" else "") + tenant: amount for tenant, amount in by_tenant.items()}
    rows = duck(path, "SELECT SubAccountName, sum(BilledCost)::VARCHAR FROM f GROUP BY 1")
    check("DuckDB: the sums by tenant are the pricer's, to the last digit; formulas are text", {name: D(amount) for name, amount in rows} == wanted, f"{rows} {wanted}")
    tokens = sum(sum(call.tokens.values()) for call in priced)
    check("DuckDB: all tokens", duck(path, "SELECT sum(ConsumedQuantity)::HUGEINT::VARCHAR FROM f") == [[str(tokens)]], str(tokens))
    broken = "PricingQuantity::DECIMAL(18,6) * ListUnitPrice::DECIMAL(20,12) <> ListCost"
    rows = duck(path, f"SELECT count(*), count(*) FILTER ({broken}) FROM f")
    check("DuckDB: in each row quantity times price is the cost", rows[0][0] > 0 and rows[0][1] == 0, str(rows))
    cells = duck(path, "SELECT DISTINCT json_extract_string(Tags, '$.tenant') FROM f")
    check("DuckDB: tags have the names as they are", {row[0] for row in cells} == set(month.TENANTS), str(cells))
    figure("FOCUS rows", rows[0][0])
    code, out, why = tollgate("bill", "forecast", "--month", "2026-11", "--store", store, "--json")
    report = json.loads(out)
    passed = D(report["seconds_of_month"]) / report["seconds_passed"]
    told = {one["tenant"]: (D(one["usd"]), D(one["forecast_usd"])) for one in report["tenants"]}
    check("bill forecast: what tenants cost so far is the pricer's sum, and the month is that times its length", {tenant: so_far for tenant, (so_far, _) in told.items()} == by_tenant
          and all(near(forecast, so_far * passed) for so_far, forecast in told.values()), f"{told} {by_tenant}")

    known = read_json(os.path.join(HERE, "bill", "validator.json"))
    count, failed = validate(path, os.path.join(work, "focus.xml"))
    check("the FOCUS validator has no complaint but known ones", count > 100 and failed <= set(known), str(sorted(failed - set(known))))
    check("the known ones still exist", set(known) <= failed, str(sorted(set(known) - failed)))
    damaged = read(path).replace(",Usage,", ",Tokens,").replace("-01T00:00:00Z", "-01")
    write(path.replace(".csv", "_damaged.csv"), damaged)
    _, failed = validate(path.replace(".csv", "_damaged.csv"), os.path.join(work, "damaged.xml"))
    check("a damaged file is refused by the validator", {"BillingPeriodStart_IsDateTime"} <= failed - set(known), str(sorted(failed - set(known))))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--calls", type=int, default=100_000)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    a = p.parse_args()
    say(f"bill: {a.calls} calls of three vendors in November 2026, seed {a.seed}")
    work = workdir("bill")
    sink = Sink(os.path.join(work, "sink"))
    gateway = Gateway(work, outlet(sink), log="warn").start()
    calls = month.make(a.calls, a.seed)
    began = time.monotonic()
    sent = send(gateway, calls)
    figure("sent", sent, "calls")
    until("everything delivered and stored", gateway.drained, 120)
    gateway.ends()
    figure("sending and storing", round(time.monotonic() - began, 1), "s")
    reconciled(gateway.store, calls, work)
    focus(gateway.store, calls, work)
    finish(work)


if __name__ == "__main__":
    main()
