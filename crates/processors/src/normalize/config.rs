//! **What**: the `normalize` stanza: which names are written, and whether the client's own stay.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;

/// Writes today's OpenTelemetry names beside what came, and removes stamps that clients may not set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Version of the semantic conventions whose names are written.
    pub semconv: Semconv,
    /// Removes what a dialect calls a fact once the fact stands under its name of today, and corrects token counts that
    /// mean something else. `gen_ai.system` and `session.id` stay.
    pub drop_originals: bool,
}

/// A version of OpenTelemetry's GenAI semantic conventions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Semconv {
    /// Up to 1.36: `gen_ai.system`, no cached tokens.
    #[serde(rename = "1.36")]
    V36,
    /// 1.37 to 1.39: `gen_ai.provider.name`, no cached tokens.
    #[serde(rename = "1.37")]
    V37,
    /// 1.40: cached tokens (`cache_read.input_tokens`, `cache_creation.input_tokens`).
    #[serde(rename = "1.40")]
    V40,
    /// The newest that was released, 1.41: reasoning tokens too.
    #[default]
    #[serde(rename = "latest")]
    Latest,
    /// What is being written: `cache_write.input_tokens`.
    #[serde(rename = "development")]
    Development,
}

/// The valid form.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whose names.
    pub semconv: Semconv,
    /// Whether the originals go.
    pub drop_originals: bool,
}

impl Config {
    /// Checks it.
    ///
    /// # Errors
    /// Never: there is nothing to be wrong.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        Ok(Settings { semconv: self.semconv, drop_originals: self.drop_originals })
    }
}
