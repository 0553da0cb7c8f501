//! Finds private parts of a text and replaces them with typed placeholders. The redact processor, the vault's ids and
//! the CLI share it, so that they agree on what is private.
//!
//! A rule is an entry of `config/rules/*.yaml` with its examples. A third of the rules have a pattern there; the
//! others name a `family`, whose matcher is code in this crate and whose word lists are data (`wordlists`).
//! Matching takes linear time and is deterministic, a second pass changes nothing, and a text without findings costs no
//! allocation. `processors/redact` and `otlp/text` choose the texts, `kernel::pseudonym` makes keyed pseudonyms.

#![warn(missing_docs)]

#[macro_use]
mod wordlists;
#[macro_use]
mod regex;
#[macro_use]
mod sets;

mod action;
mod addresses;
mod anchors;
mod byte_masks;
mod clean_texts;
mod compile;
mod composite_ids;
mod detector;
mod email;
mod error;
mod find;
mod glued_words;
mod id_policy;
mod item_findings;
mod json_repair;
mod keys;
mod literal_search;
mod names;
mod number_forms;
mod numbers;
mod offsets;
mod pairs;
mod patterns;
pub mod recognised;
mod rescan;
mod resolve;
mod rule;
mod scan;
pub mod score;
mod secrets;
mod stems;
#[cfg(test)]
mod tests;
mod validate;
mod value_carry;
mod views;

pub use clean_texts::CleanTexts;
pub use composite_ids::is_uuid;
pub use detector::{Detector, SearchOptions};
pub use error::RuleError;
pub use find::SearchScratch;
pub use id_policy::{RedactionIdPolicy, is_id_bytes};
pub use item_findings::ItemFindings;
pub use resolve::{RedactionHit, replace_hits};
pub use rule::{CustomRule, KeyValueForm, RuleClass, RuleData};

/// Replacement for texts that could not be searched and for bytes that are not text.
pub const UNSCANNED: &str = "[UNSCANNED]";

/// The built-in rule sets by the name that configuration uses: lists of [`RuleData`] as JSON. They are generated from
/// `config/rules/*.yaml`, because JSON takes a twentieth of the time to read; a test keeps both in step.
pub const BUILTIN: &[(&str, &str)] = &[
    ("pii", include_str!("../../../config/rules/pii.json")),
    ("secrets", include_str!("../../../config/rules/secrets.json")),
];

/// The rules of all built-in sets.
///
/// # Errors
/// Never for a released program: a test reads them.
pub fn builtin_rules() -> Result<Vec<RuleData>, serde_json::Error> {
    let sets: Result<Vec<Vec<RuleData>>, _> = BUILTIN.iter().map(|(_, text)| serde_json::from_str(text)).collect();
    Ok(sets?.concat())
}
