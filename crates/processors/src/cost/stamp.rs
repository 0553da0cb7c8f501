//! Writes the cost attributes of a call. Amounts are exact decimal text; the only double is the value nearest to it. A
//! client's own attributes are never changed, except `gen_ai.usage.cost`, which is moved.

use calls::{CallRecord, Money};
use genai::usage::PricingFlags;
use genai::{BillingBasis, BillingStatus, CallTokenBuckets};
use kernel::hex;
use otlp::{NodeId, OwnedValue, Payload, Value};
use rates::{Amount, Currency, Usd};

use super::config::PriceAlias;
use super::price::{PricedCall, UnpricedCall};

/// The attribute that back ends sum up. Set by tollgate only on priced calls.
pub(super) const USAGE_COST: &str = "gen_ai.usage.cost";
/// Version and digest of the rate table. Set on priced and unpriced calls.
pub(super) const RATES: &str = "tollgate.cost.rates";
/// The billing status of the call.
pub(super) const STATUS: &str = "tollgate.cost.status";
/// The status of an item that is not charged, because others report the same tokens or the same call.
pub(super) const INCLUDED: &str = "included";
/// The exact price.
pub(super) const USD: &str = "tollgate.cost.usd";
/// The row of the rate table.
pub(super) const RATE: &str = "tollgate.cost.rate";
/// Why a call has no price.
pub(super) const REASON: &str = "tollgate.cost.reason";
/// How the call is billed: `api`, `subscription` or `provisioned`.
pub(super) const BILLING: &str = "tollgate.billing";
/// The part of the price that no plan covers.
pub(super) const PAYABLE: &str = "tollgate.cost.payable_usd";
/// What caching saved; negative: cache writes cost more than reads saved.
pub(super) const CACHE_SAVINGS: &str = "tollgate.cost.cache_savings_usd";
/// The amount in another currency, its letters, and the rate of exchange.
const AMOUNT: &str = "tollgate.cost.amount";
const CURRENCY: &str = "tollgate.cost.currency";
const EXCHANGE: &str = "tollgate.cost.exchange";
/// What a correction changes.
const CORRECTS: &str = "tollgate.cost.corrects";
const FLAGS: &str = "tollgate.cost.flags";
const REPORTED_USD: &str = "tollgate.cost.reported_usd";

/// Moves the client's own `gen_ai.usage.cost` to `tollgate.cost.reported_usd`. Without such a cost, `reported` is
/// written there: a cost that the client reported elsewhere.
pub(super) fn move_reported_cost(payload: &mut Payload, node: NodeId, reported: Option<&str>) {
    let own = payload.get(node, USAGE_COST).map(|value| match value {
        Value::Double(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Str(text) if Usd::parse_truncated(text).is_some() => text.to_owned(),
        _ => String::new(),
    });
    if own.is_some() {
        payload.remove(node, USAGE_COST);
    }
    if let Some(text) = own.as_deref().filter(|own| !own.is_empty()).or(reported) {
        set_text(payload, node, REPORTED_USD, text);
    }
}

/// Writes the status and flags only.
pub(super) fn write_status(payload: &mut Payload, node: NodeId, status: BillingStatus, flags: PricingFlags) {
    set_text(payload, node, STATUS, status.as_str());
    write_flags(payload, node, flags);
}

/// Writes the status [`INCLUDED`].
pub(super) fn write_included(payload: &mut Payload, node: NodeId) {
    set_text(payload, node, STATUS, INCLUDED);
}

/// Writes an amount, which is negative in a correction.
pub(super) fn write_price(
    payload: &mut Payload,
    node: NodeId,
    priced: &PricedCall<'_>,
    table_stamp: &str,
    status: BillingStatus,
) {
    let parts = &priced.parts;
    payload.set(node, USAGE_COST, OwnedValue::Double(priced.total.to_f64()));
    set_text(payload, node, USD, &priced.total.to_string());
    set_text(payload, node, RATES, table_stamp);
    if !priced.rate.is_empty() {
        set_text(payload, node, RATE, &priced.rate);
    }
    write_status(payload, node, status, priced.flags);
    for (key, amount, is_always_written) in [
        ("tollgate.cost.input_usd", parts.input, true),
        ("tollgate.cost.output_usd", parts.output, true),
        ("tollgate.cost.cache_read_usd", parts.cache_read, false),
        ("tollgate.cost.cache_write_usd", parts.cache_write, false),
        ("tollgate.cost.fees_usd", parts.fees, false),
        (CACHE_SAVINGS, Usd(Money::from(*parts).saved()), false),
    ] {
        if is_always_written || amount != Usd::ZERO {
            set_text(payload, node, key, &amount.to_string());
        }
    }
}

/// An amount in another currency than USD.
#[derive(Clone)]
pub(super) struct Converted {
    pub(super) currency: Currency,
    pub(super) amount: Amount,
    /// As [`rates::ExchangeRate`] is written.
    pub(super) rate: String,
}

/// Writes an amount in another currency beside that in USD.
pub(super) fn write_amount(payload: &mut Payload, node: NodeId, converted: &Converted) {
    let Converted { currency, amount, rate } = converted;
    for (key, text) in [(AMOUNT, &*amount.to_string()), (CURRENCY, currency.as_str()), (EXCHANGE, rate)] {
        set_text(payload, node, key, text);
    }
}

/// The amount in another currency that a trusted upstream tollgate stamped.
pub(super) fn read_amount(payload: &Payload, node: NodeId) -> Option<Converted> {
    let text = |key| payload.get_str(node, key);
    let amount = Amount(Usd::parse(text(AMOUNT)?)?.0);
    Some(Converted { currency: Currency::parse(text(CURRENCY)?).ok()?, amount, rate: text(EXCHANGE)?.to_owned() })
}

/// Writes how the call is billed, and what of the amount is to pay.
pub(super) fn write_billing(payload: &mut Payload, node: NodeId, billing: BillingBasis, payable: Option<Usd>) {
    set_text(payload, node, BILLING, billing.as_str());
    if let Some(payable) = payable {
        set_text(payload, node, PAYABLE, &payable.to_string());
    }
}

/// Whether a stamped amount is a part of what a call costs, or of other calls.
pub(super) fn is_change(payload: &Payload, node: NodeId) -> bool {
    let flags = payload.get(node, FLAGS);
    let words = flags.iter().flat_map(Value::items);
    let flags = PricingFlags::from_words(words.filter_map(|word| word.as_str()));
    payload.get_str(node, STATUS) == Some(BillingStatus::Correction.as_str())
        || [PricingFlags::GROWN, PricingFlags::AFTER_SPAN, PricingFlags::NET].iter().any(|part| flags.contains(*part))
}

/// Names the records that a correction changes: trace and span, or the digest of a log record without them.
pub(super) fn write_corrected<'r>(payload: &mut Payload, node: NodeId, records: impl Iterator<Item = &'r CallRecord>) {
    let name = |record: &CallRecord| match record.span == [0; 8] {
        true => hex::encode(&record.id),
        false => format!("{}/{}", hex::encode(&record.trace), hex::encode(&record.span)),
    };
    payload.set(node, CORRECTS, OwnedValue::StrList(records.map(name).collect()));
}

/// Writes the price under additional keys. Keys that the client set are not changed.
pub(super) fn write_aliases(payload: &mut Payload, node: NodeId, priced: &PricedCall<'_>, aliases: &[PriceAlias]) {
    let parts = &priced.parts;
    let prompt = parts.input.plus(parts.cache_read).and_then(|sum| sum.plus(parts.cache_write));
    let double = |usd: Usd| OwnedValue::Double(usd.to_f64());
    let text = |text: &str| OwnedValue::Str(text.to_owned());
    for alias in aliases {
        let pairs: Vec<(&str, OwnedValue)> = match alias {
            PriceAlias::Operation => vec![("operation.cost", double(priced.total))],
            PriceAlias::Llm => vec![
                ("llm.cost.total", double(priced.total)),
                ("llm.cost.prompt", double(prompt.unwrap_or(parts.input))),
                ("llm.cost.completion", double(parts.output)),
            ],
            PriceAlias::Amount => vec![
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

/// Writes the reason for a missing price.
pub(super) fn write_unpriced(
    payload: &mut Payload,
    node: NodeId,
    unpriced: &UnpricedCall,
    table_stamp: &str,
    flags: PricingFlags,
) {
    set_text(payload, node, RATES, table_stamp);
    write_status(payload, node, BillingStatus::Unpriced, flags);
    set_text(payload, node, REASON, unpriced.reason.as_str());
}

pub(super) fn write_buckets(payload: &mut Payload, node: NodeId, buckets: &CallTokenBuckets) {
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

fn write_flags(payload: &mut Payload, node: NodeId, flags: PricingFlags) {
    if !flags.is_empty() {
        let words = flags.words().map(str::to_owned).collect();
        payload.set(node, FLAGS, OwnedValue::StrList(words));
    }
}

fn set_text(payload: &mut Payload, node: NodeId, key: &str, value: &str) {
    payload.set(node, key, OwnedValue::Str(value.to_owned()));
}
