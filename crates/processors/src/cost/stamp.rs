//! **What**: what a call is stamped with. **Invariants**: amounts are exact decimal text; the one double is the nearest
//! to it; keys of the client are never changed, but for `gen_ai.usage.cost`, which moves.

use genai::usage::Flags;
use genai::{Billing, Buckets};
use otlp::{Node, OwnedValue, Payload, Value};
use rates::Usd;

use super::config::Alias;
use super::price::{NotPriced, Priced};

/// The key that back ends sum; ours only when priced.
pub(super) const USAGE_COST: &str = "gen_ai.usage.cost";
/// Stamped by a tollgate that priced the call.
pub(super) const RATES: &str = "tollgate.cost.rates";
/// What became of the call.
pub(super) const STATUS: &str = "tollgate.cost.status";
const REPORTED: &str = "tollgate.cost.reported_usd";

/// Moves a client's own `gen_ai.usage.cost` aside; `reported` is another cost of its own, if it sent one.
pub(super) fn reported(payload: &mut Payload, node: Node, reported: Option<&str>) {
    let own = payload.get(node, USAGE_COST).map(|value| match value {
        Value::Double(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Str(text) if Usd::parse_cut(text).is_some() => text.to_owned(),
        _ => String::new(),
    });
    if own.is_some() {
        payload.remove(node, USAGE_COST);
    }
    if let Some(text) = own.as_deref().filter(|own| !own.is_empty()).or(reported) {
        set(payload, node, REPORTED, text);
    }
}

/// A status alone.
pub(super) fn status(payload: &mut Payload, node: Node, status: Billing, flags: Flags) {
    set(payload, node, STATUS, status.as_str());
    put_flags(payload, node, flags);
}

/// A price.
pub(super) fn priced(payload: &mut Payload, node: Node, priced: &Priced<'_>, rates: &str) {
    let parts = &priced.parts;
    payload.set(node, USAGE_COST, OwnedValue::Double(priced.total.to_f64()));
    set(payload, node, "tollgate.cost.usd", &priced.total.to_string());
    set(payload, node, RATES, rates);
    set(payload, node, "tollgate.cost.rate", &priced.rate);
    status(payload, node, Billing::Priced, priced.flags);
    for (key, amount, always) in [
        ("tollgate.cost.input_usd", parts.input, true),
        ("tollgate.cost.output_usd", parts.output, true),
        ("tollgate.cost.cache_read_usd", parts.cache_read, false),
        ("tollgate.cost.cache_write_usd", parts.cache_write, false),
        ("tollgate.cost.fees_usd", parts.fees, false),
    ] {
        if always || amount != Usd::ZERO {
            set(payload, node, key, &amount.to_string());
        }
    }
}

/// The price under other keys; a client's own stay as they are.
pub(super) fn aliases(payload: &mut Payload, node: Node, priced: &Priced<'_>, aliases: &[Alias]) {
    let parts = &priced.parts;
    let prompt = parts.input.plus(parts.cache_read).and_then(|sum| sum.plus(parts.cache_write));
    let double = |usd: Usd| OwnedValue::Double(usd.to_f64());
    let text = |text: &str| OwnedValue::Str(text.to_owned());
    for alias in aliases {
        let pairs: Vec<(&str, OwnedValue)> = match alias {
            Alias::Operation => vec![("operation.cost", double(priced.total))],
            Alias::Llm => vec![
                ("llm.cost.total", double(priced.total)),
                ("llm.cost.prompt", double(prompt.unwrap_or(parts.input))),
                ("llm.cost.completion", double(parts.output)),
            ],
            Alias::Amount => vec![
                ("gen_ai.usage.cost.amount", double(priced.total)),
                ("gen_ai.usage.cost.currency", text("USD")),
                ("gen_ai.usage.cost.source", text("local")),
            ],
        };
        if pairs.iter().all(|(key, _)| payload.get(node, key).is_none()) {
            pairs.into_iter().for_each(|(key, value)| payload.set(node, key, value));
        }
    }
}

/// Why there is no price.
pub(super) fn unpriced(payload: &mut Payload, node: Node, unpriced: &NotPriced, rates: &str, flags: Flags) {
    set(payload, node, RATES, rates);
    status(payload, node, Billing::Unpriced, flags);
    set(payload, node, "tollgate.cost.reason", unpriced.reason.as_str());
}

/// The disjoint buckets.
pub(super) fn buckets(payload: &mut Payload, node: Node, buckets: &Buckets) {
    for (key, count) in [
        ("tollgate.usage.input", buckets.input),
        ("tollgate.usage.cache_read", buckets.cache_read),
        ("tollgate.usage.cache_write_5m", buckets.cache_write_5m),
        ("tollgate.usage.cache_write_1h", buckets.cache_write_1h),
        ("tollgate.usage.output", buckets.output),
        ("tollgate.usage.reasoning", buckets.reasoning),
    ] {
        if let Ok(count) = i64::try_from(count) {
            payload.set(node, key, OwnedValue::Int(count));
        }
    }
}

fn put_flags(payload: &mut Payload, node: Node, flags: Flags) {
    if !flags.is_empty() {
        let words = flags.words().map(str::to_owned).collect();
        payload.set(node, "tollgate.cost.flags", OwnedValue::StrList(words));
    }
}

fn set(payload: &mut Payload, node: Node, key: &str, value: &str) {
    payload.set(node, key, OwnedValue::Str(value.to_owned()));
}
