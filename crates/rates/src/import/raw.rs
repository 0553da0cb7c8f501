//! Reads JSON piece by piece, so that numbers keep the text of the file.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::decimal::Decimal;

/// A JSON object with unparsed values.
pub(super) type Object = BTreeMap<String, Box<RawValue>>;

/// The entries of an object.
pub(super) fn object(raw: &RawValue) -> Option<Object> {
    serde_json::from_str(raw.get()).ok()
}

/// The items of a list.
pub(super) fn list(raw: &RawValue) -> Option<Vec<Box<RawValue>>> {
    serde_json::from_str(raw.get()).ok()
}

/// A string.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// A number, or a string that contains one.
pub(super) fn decimal(raw: &RawValue) -> Option<Decimal> {
    Decimal::parse(raw.get().trim().trim_matches('"'))
}

/// A number that is a count.
pub(super) fn count(raw: &RawValue) -> Option<u64> {
    decimal(raw)?.to_string().parse().ok()
}
