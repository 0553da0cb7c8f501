//! Finds private parts of a text and replaces them with typed placeholders. The redact processor, the vault's ids and
//! the CLI share it, so that they agree on what is private.
//!
//! Rules are data (`config/rules/*.yaml`), and so are the word lists of the families (`wordlists`). Matching takes
//! linear time and is deterministic, a second pass changes nothing, and a text without findings costs no allocation.
//! The texts to visit are chosen in `processors/redact` and `otlp/text`; keyed pseudonyms are made in
//! `kernel::pseudonym`.

mod across;
mod action;
mod addresses;
mod again;
mod anchors;
mod carry;
mod choices;
mod compile;
mod composite;
mod detector;
mod email;
mod error;
mod find;
mod glued;
mod heads;
mod ids;
mod json;
mod keys;
mod kinds;
mod literals;
mod masks;
mod matcher;
mod names;
mod numbers;
mod offsets;
mod pairs;
mod patterns;
pub mod recognised;
mod regex;
mod resolve;
mod rule;
mod scan;
pub mod score;
mod secrets;
mod sets;
mod spelled;
mod stems;
mod steps;
#[cfg(test)]
mod tests;
mod validate;
mod views;
mod wordlists;

pub use across::Told;
pub use choices::Choices;
pub use composite::is_uuid;
pub use detector::Detector;
pub use error::{RuleError, RuleErrorKind};
pub use find::Scratch;
pub use ids::{Ids, is_id_bytes};
pub use resolve::{Hit, replace};
pub use rule::{Class, Custom, Family, KeyValue, RuleData};

/// The built-in rule files by the name that configuration uses.
pub const BUILTIN: &[(&str, &str)] = &[
    (
        "pii",
        concat!(
            include_str!("../../../config/rules/pii.yaml"),
            "\n",
            include_str!("../../../config/rules/keys.yaml"),
            "\n",
            include_str!("../../../config/rules/names.yaml")
        ),
    ),
    ("secrets", include_str!("../../../config/rules/secrets.yaml")),
];
