//! The attribute that says for how many items one stands, as Honeycomb reads it: it looks for `sampleRate`, then for
//! `SampleRate`, among the attributes of an item and of its scope and resource, of which the item's own come first.

use otlp::{NodeId, OwnedValue, Payload, Value};

const KEYS: [&str; 2] = ["sampleRate", "SampleRate"];
/// A larger rate of an application is not believed: one item would count for more than all others.
const MAX_RATE: f64 = 1e6;

/// Multiplies an item's rate, 1 if it has none, by `others`.
pub(super) fn multiply(payload: &mut Payload, item: NodeId, others: u32) {
    let levels = [item, payload.scope(item), payload.resource(item)];
    let find = |key: &'static str| levels.iter().find_map(|node| Some((key, read_rate(&payload.get(*node, key)?))));
    let (key, before) = KEYS.into_iter().find_map(find).unwrap_or(("SampleRate", 1));
    for key in KEYS {
        payload.remove(item, key);
    }
    payload.set(item, key, OwnedValue::Int(before.saturating_mul(others.into())));
}

/// The sample rate in an attribute that an application wrote; 1 if it is not a number.
fn read_rate(value: &Value<'_>) -> i64 {
    let rate = match value {
        Value::Int(rate) => *rate as f64,
        Value::Double(rate) => *rate,
        Value::Str(text) => text.parse().unwrap_or(1.0),
        _ => 1.0,
    };
    if rate.is_nan() { 1 } else { rate.clamp(1.0, MAX_RATE).round() as i64 }
}
