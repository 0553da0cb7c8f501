//! Configuration of the `normalize` processor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;

/// Adds the current OpenTelemetry GenAI attributes beside the client's own, and removes attributes that clients may not
/// set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NormalizeConfig {
    /// Version of the semantic conventions to write.
    pub semconv: SemconvVersion,
    /// Removes a dialect's own attribute once its fact is written under the current name, and corrects token counts
    /// that have a different meaning. `gen_ai.system` and `session.id` are kept. Default: false.
    pub drop_originals: bool,
}

/// A version of OpenTelemetry's GenAI semantic conventions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SemconvVersion {
    /// Up to 1.36: `gen_ai.system`, no cached tokens.
    #[serde(rename = "1.36")]
    V36,
    /// 1.37 to 1.39: `gen_ai.provider.name`, no cached tokens.
    #[serde(rename = "1.37")]
    V37,
    /// 1.40: cached tokens (`cache_read.input_tokens`, `cache_creation.input_tokens`).
    #[serde(rename = "1.40")]
    V40,
    /// The latest release, 1.41: reasoning tokens too; `cache_write.input_tokens` beside the older name. The default.
    #[default]
    #[serde(rename = "latest")]
    Latest,
    /// The next version, in development: `cache_write.input_tokens` alone.
    #[serde(rename = "development")]
    Development,
}

impl NormalizeConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// None: every value is valid.
    pub fn settings(&self) -> Result<Self, Vec<FieldProblem>> {
        Ok(self.clone())
    }
}
