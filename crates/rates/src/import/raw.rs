//! Reads JSON piece by piece, so that numbers keep the text of the file.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::decimal::Decimal;

/// A JSON object with unparsed values.
pub(super) type RawObject = BTreeMap<String, Box<RawValue>>;

/// The entries of an object.
pub(super) fn parse_object(raw: &RawValue) -> Option<RawObject> {
    serde_json::from_str(raw.get()).ok()
}

/// The items of a list.
pub(super) fn parse_list(raw: &RawValue) -> Option<Vec<Box<RawValue>>> {
    serde_json::from_str(raw.get()).ok()
}

/// A string.
pub(super) fn parse_text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// A number, or a string that contains one.
pub(super) fn parse_decimal(raw: &RawValue) -> Option<Decimal> {
    Decimal::parse(raw.get().trim().trim_matches('"'))
}

/// A number that is a count.
pub(super) fn parse_count(raw: &RawValue) -> Option<u64> {
    parse_decimal(raw)?.to_string().parse().ok()
}
