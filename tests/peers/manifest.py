#!/usr/bin/env python3
"""Writes manifest.json and KEYS.md of a recording from its ledgers and its files, and checks one against the other.

    manifest.py [--check] tests/recordings/CLIENT          (needs the venv of sdk/install.sh)

A recording is a folder with client.json (who, which version, recorded or built, prices), and a folder per session that holds
`{n:03}-{signal}.{pb|json}` and ledger.json: what the mock model answered, so a count that owes nothing to the telemetry.
--check writes nothing and fails if the files on disk say otherwise.
"""
import fnmatch
import json
import os
import re
import sys
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import decode  # noqa: E402

BUCKETS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "cache_creation_5m_tokens",
           "cache_creation_1h_tokens", "reasoning_tokens")


def load_items(folder, files):
    """[(file, n, signal, item)] in the order of arrival."""
    out = []
    for f in files:
        signal, request = decode.load(os.path.join(folder, f["file"]))
        out += [(f["file"], n, signal, item) for n, item in enumerate(decode.items(signal, request))]
    return out


# ---- the hand count ------------------------------------------------------------------------------------------------

def exact_cost(price, usage, inclusive):
    """USD from the price table's strings, per million tokens; `tiers` as rates.yaml: [over_input, price]."""
    w1 = usage.get("cache_creation_1h_tokens") or 0
    w5 = (usage.get("cache_creation_tokens") or 0) - w1
    read = usage.get("cache_read_tokens") or 0
    fresh = usage["input_tokens"] - (read + w5 + w1 if inclusive else 0)
    total = fresh + read + w5 + w1
    for over, tier in price.get("tiers", []):
        if total > over:
            price = {**price, **tier}
    d = lambda unit: Decimal(price.get(unit, "0"))
    sum_ = (fresh * d("input") + usage["output_tokens"] * d("output") + read * d("cache_read") + w5 * d("cache_write")
            + w1 * d("cache_write_1h"))
    text = format((sum_ / 1_000_000).normalize(), "f")
    return text


def usage_of(attributes):
    # some clients count with NaN, which JSON can't say
    return {k: repr(v) if isinstance(v, float) and v != v else v for k, v in attributes.items()
            if re.search(r"usage|token_count|_tokens$", k) and not k.endswith("max_tokens") and isinstance(v, (int, float, str))}


def tells_of_call(item, pattern):
    """`name`, with wildcards, or `name?key`: only if it has that attribute."""
    name, _, key = pattern.partition("?")
    return fnmatch.fnmatch(decode.name_of(item), name) and (not key or key in item["attributes"])


def records_of(rows, items, patterns, failed_are_silent=False):
    """Per call of the ledger, the records that tell of it: by an id in any of their texts, else by their order in time."""
    spans = [(file, n, signal, item) for file, n, signal, item in items if signal != "metrics"
             and any(tells_of_call(item, p) for p in patterns)]
    found = [[] for _ in rows]
    rest = []
    for entry in spans:
        texts = [t for place, t in decode.places(entry[2], entry[3]) if not place.startswith("resource ")]
        # a later call quotes earlier ones in its input: the last id is its own
        hits = [i for i, row in enumerate(rows) if any(id_ and any(id_ in t for t in texts) for id_ in (row["request_id"], row["message_id"]))]
        (found[hits[-1]] if hits else rest).append(entry)
    rest_by_name = {}
    for entry in sorted(rest, key=lambda e: e[3].get("start") or e[3].get("time") or e[3].get("observed") or 0):
        rest_by_name.setdefault((entry[2], entry[3]["scope"]), []).append(entry)
    for (signal, scope), entries in rest_by_name.items():
        open_ = [i for i in range(len(rows)) if not any(e[2] == signal and e[3]["scope"] == scope for e in found[i])]
        if failed_are_silent and len(open_) != len(entries):
            open_ = [i for i in open_ if "error" not in rows[i]]
        if len(open_) == len(entries):
            for i, entry in zip(open_, entries):
                found[i].append(entry)
    return found


def call_of(row, records, client, inclusive):
    """One model call: what the mock answered, what the client made of it."""
    out = {"request_id": row["request_id"], "message_id": row["message_id"], "lane": row["lane"], "model": row["model"]}
    if "error" in row:
        out["error"] = row["error"]
    else:
        out.update({k: row["usage"][k] for k in BUCKETS if k in row["usage"]})
        out["stop_reason"] = row["stop_reason"]
        if row["model"] in client["prices"]:
            out["cost_usd_exact"] = exact_cost(client["prices"][row["model"]], row["usage"], inclusive)
    for file, n, signal, item in records:
        a = item["attributes"]
        where = {"file": file, "item": n, "signal": signal, "name": decode.name_of(item), "scope": item["scope"],
                 "span_id": item["span_id"], "trace_id": item["trace_id"], "usage": usage_of(a)}
        out.setdefault("records", []).append(where)
        if "cost_usd" in a:
            out["cost_usd"] = repr(a["cost_usd"])
        for key, name in (("prompt.id", "prompt_id"), ("agent_id", "agent_id")):
            if key in a:
                out[name] = a[key]
    out["in_telemetry"] = "records" in out
    return out


def distinct(items, key):
    return list(dict.fromkeys(v for _, _, _, i in items if (v := i["attributes"].get(key)) is not None))


def canaries_of(folder, ledger, items):
    texts = [(signal, place, text) for _, _, signal, item in items for place, text in decode.places(signal, item)]
    for hook in ledger.get("hooks", []):
        with open(os.path.join(folder, hook["file"])) as f:
            texts += [("hooks", place, text) for place, text in decode.strings(json.load(f), hook["event"])]
    out = {}
    for place, value in ledger["canaries"].items():
        seen = {}
        for signal, where, text in texts:
            if value in text and where not in seen.setdefault(signal, []):
                seen[signal].append(where)
        out[place] = {"value": value, "seen": {s: sorted(w) for s, w in sorted(seen.items()) if w}}
    return out


def session_manifest(folder, ledger, client):
    items = load_items(folder, ledger["files"])
    inclusive = ledger.get("input_includes_cached", client["input_includes_cached"])
    calls = [call_of(row, records, client, inclusive) for row, records in zip(ledger["calls"], records_of(ledger["calls"], items, ledger.get("call_records", client["call_records"]), client.get("failed_calls_have_no_record")))]
    good = [c for c in calls if "error" not in c]
    totals = {k: sum(c.get(k) or 0 for c in good) for k in BUCKETS if any(k in c for c in good)}
    totals["calls"] = len(good)
    totals["failed_calls"] = len(calls) - len(good)
    if all("cost_usd_exact" in c for c in good):
        totals["cost_usd_exact"] = format(sum((Decimal(c["cost_usd_exact"]) for c in good), Decimal(0)).normalize(), "f")
    tools = [{"id": t["id"], "name": t["name"], "success": t["success"], "asked_by": row["request_id"]}
             for row in ledger["calls"] for t in row.get("tools", [])]
    counts = {}
    for _, _, signal, item in items:
        counts.setdefault(signal, {}).setdefault(decode.name_of(item), 0)
        counts[signal][decode.name_of(item)] += 1
    return {
        # `untold`: why the telemetry can't tell of every call, or not exactly
        **{k: ledger[k] for k in ("library", "vendor", "untold") if k in ledger},
        "protocol": ledger["protocol"], "switches": ledger["switches"], "model": ledger["model"], "input_includes_cached": inclusive,
        "session_ids": distinct(items, "session.id"), "conversation_ids": distinct(items, "gen_ai.conversation.id") + distinct(items, "conversation.id"),
        "prompt_ids": distinct(items, "prompt.id"), "turn_ids": distinct(items, "turn.id"),
        "turns": ledger["runs"],
        "trace_ids": list(dict.fromkeys(i["trace_id"] for _, _, s, i in items if s == "traces")),
        "calls": calls, "tool_calls": tools, "totals": totals, "items": counts, "canaries": canaries_of(folder, ledger, items),
        "files": [{k: v for k, v in f.items() if k != "wire_bytes"} for f in ledger["files"]],
        "hooks": ledger.get("hooks", []),
    }


# ---- KEYS.md ---------------------------------------------------------------------------------------------------------

def example(values):
    text = next((v for v in values if v not in ("", None, [], {})), next(iter(values), ""))
    text = text if isinstance(text, str) else json.dumps(text)
    text = text.replace("\n", "⏎").replace("|", "\\|").replace("`", "'")
    return text if len(text) <= 70 else text[:69] + "…"


def kind(values):
    return "/".join(sorted({type(v).__name__ for v in values}))


ID = re.compile(r"(req|msg|toolu|call|chatcmpl|resp|sp)_[\w-]+|[0-9a-f]{12,64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|a[0-9a-f]{16}")


def what_is(values, texts):
    """A first verdict by shape, where no canary stands and no human spoke."""
    if not texts:
        return "flag" if all(isinstance(v, bool) for v in values) else "number"
    if all(re.fullmatch(r"-?[0-9.]+", t) for t in texts):
        return "number as text"
    if all(t in ("true", "false") for t in texts):
        return "flag as text"
    if all(ID.fullmatch(t) for t in texts):
        return "id"
    return "label" if all(len(t) <= 64 and not re.search(r"[\s{}]", t) for t in texts) else "*text*"


def key_rows(keys, hand, everywhere):
    """Lines of a table: a key, its type, what it is, the sessions it was seen in, one value."""
    for key, (values, sessions) in sorted(keys.items()):
        flat = [t for v in values for _, t in decode.strings(v, "")]
        if any("CANARY-" in t for t in flat):
            what = "**content** (" + ", ".join(sorted({t.split("CANARY-")[n].split("-")[0] for t in flat
                                                       for n in range(1, t.count("CANARY-") + 1)})) + ")"
        else:
            what = hand.get(key) or what_is(values, flat)
        seen = "all" if sessions == everywhere and len(everywhere) > 1 else ", ".join(sorted(sessions))
        yield f"| `{key}` | {kind(values)} | {what} | {seen} | `{example(values)}` |"


def keys_document(client, sessions, hand):
    """Every span, event, log and metric with every key it was seen with."""
    groups = {}
    # of a client with hundreds of names: one table a signal
    merged_signals = client.get("keys_in_one_table", [])
    names = {s: len({decode.name_of(i) for items in sessions.values() for _, _, signal, i in items if signal == s}) for s in merged_signals}
    for session, items in sessions.items():
        for _, _, signal, item in items:
            if signal == "logs":
                title = f"log `{decode.name_of(item)}`"
            else:
                title = ("span" if signal == "traces" else "metric") + (f"s, {names[signal]} names" if signal in merged_signals else f" `{decode.name_of(item)}`")
            parts = [(title, item["attributes"]), ("resource", item["resource"])]
            if item["scope_attributes"]:
                parts.append(("scope", item["scope_attributes"]))
            if signal == "logs" and item["body"] is not None:
                parts.append((title, {"(body)": item["body"]}))
            if signal == "logs" and item["severity"]:
                parts.append((title, {"(severity)": item["severity"]}))
            if signal == "traces":
                if item["status"]["code"]:
                    parts.append((title, {"(status.code)": item["status"]["code"], "(status.message)": item["status"]["message"]}))
                parts += [(f"{title}, event `{e['name']}`", e["attributes"] or {"(none)": ""}) for e in item["events"]]
            if signal == "metrics":
                parts.append((title, {"(data)": f"{item['kind']}, unit '{item['unit']}', temporality {item['temporality']}"}))
            for where, attributes in parts:
                group = groups.setdefault(where, {"n": 0, "keys": {}})
                group["n"] += where == title and attributes is item["attributes"]
                for k, v in attributes.items():
                    values, seen = group["keys"].setdefault(k, ([], set()))
                    seen.add(session)
                    if v not in values and len(values) < 400:
                        values.append(v)
    # keys that stand on every span, log and metric, once
    named = [g for w, g in groups.items() if w not in ("resource", "scope") and ", event" not in w]
    common = set.intersection(*({k for k in g["keys"]} for g in named)) if len(named) > 2 else set()
    out = [f"# {client['title']}: every key that was seen", "",
           "Made by `tests/peers/manifest.py` from the files beside it; do not edit. **content**: a canary of the places in brackets",
           "was found in it. *Italics*: a human's verdict where no canary stands. Plain: what its shape says (`label`: short, no space).",
           "Temporality 1 is delta, 2 cumulative. A key seen in `quiet` needs no switch; the switches of each session are in manifest.json."
           if "quiet" in sessions else "Temporality 1 is delta, 2 cumulative.", ""]
    scopes = sorted({(i["scope"], i["scope_version"]) for items in sessions.values() for _, _, _, i in items})
    out += ["Scopes: " + ", ".join(f"`{s}` {v}" for s, v in scopes) + ".", ""]
    head = ["| key | type | what | seen in | one value |", "|---|---|---|---|---|"]
    if common:
        merged = {}
        for g in named:
            for k in common:
                values, seen = merged.setdefault(k, ([], set()))
                values += [v for v in g["keys"][k][0] if v not in values]
                seen |= g["keys"][k][1]
        out += ["## on every span, log record and data point", "", *head, *key_rows(merged, hand, set(sessions)), ""]
    for where in sorted(groups, key=lambda w: ({"r": 0, "s": 1, "l": 2, "m": 3}[w[0]], w)):
        g = groups[where]
        keys = {k: v for k, v in g["keys"].items() if k not in common or where in ("resource", "scope")}
        out += [f"## {where}" + (f" ({g['n']})" if g["n"] else ""), ""]
        out += [*head, *key_rows(keys, hand, set(sessions)), ""] if keys else ["Nothing but the common keys.", ""]
    return "\n".join(out)


# ---- checks -----------------------------------------------------------------------------------------------------------

def problems(name, session, complete):
    for call in session["calls"]:
        if "cost_usd" in call and "cost_usd_exact" in call and abs(Decimal(call["cost_usd"]) - Decimal(call["cost_usd_exact"])) > Decimal("1e-12"):
            yield f"{name}: {call['request_id']} the client says {call['cost_usd']}, the price table {call['cost_usd_exact']}"
        if complete and "error" not in call and not call["in_telemetry"] and "untold" not in session:
            yield f"{name}: {call['request_id']} is in no record"
    if session["tool_calls"] and any(t["success"] is None for t in session["tool_calls"]):
        yield f"{name}: a tool call without an outcome"


def main():
    check = "--check" in sys.argv
    root = [a for a in sys.argv[1:] if a != "--check"][0]
    with open(os.path.join(root, "client.json")) as f:
        client = json.load(f)
    hand = {k: f"*{v}*" for k, v in client.pop("verdicts", {}).items()}
    sessions, items = {}, {}
    for name in sorted(os.listdir(root)):
        path = os.path.join(root, name, "ledger.json")
        if not os.path.exists(path):
            continue
        with open(path) as f:
            ledger = json.load(f)
        sessions[name] = session_manifest(os.path.join(root, name), ledger, client)
        items[name] = load_items(os.path.join(root, name), ledger["files"])
    found = [p for n, s in sessions.items() for p in problems(n, s, "calls_without_record" not in client)]
    outputs = {"manifest.json": json.dumps({"schema": 1, **client, "sessions": sessions}, indent=1, ensure_ascii=False) + "\n",
               "KEYS.md": keys_document(client, items, hand).rstrip() + "\n"}
    for file, text in outputs.items():
        path = os.path.join(root, file)
        if check:
            if not os.path.exists(path) or open(path).read() != text:
                found.append(f"{path} is not what the recording says")
        else:
            with open(path, "w") as f:
                f.write(text)
    for p in found:
        print("problem:", p, file=sys.stderr)
    for n, s in sessions.items():
        unseen = [c for c, v in s["canaries"].items() if not v["seen"]]
        print(f"{n}: {s['totals']}, {len(s['canaries'])} canaries, not seen: {unseen}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
