//! **What**: what a user writes under `redact:` and what it means. **Not here**: rule files (`redaction`).

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, FieldProblem, load};
use crate::redaction::{BUILTIN, Custom, Detector, RuleData};

/// The `redact` processor: typed placeholders in place of what is private, in every text of every signal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Built-in rule sets: `pii`, `secrets`.
    pub rules: Vec<String>,
    /// Rules of your own; they win over built-in ones.
    pub custom: Vec<Custom>,
    /// Longest text value that goes on; longer ones are cut, and marked.
    pub max_value_bytes: ByteSize,
    /// Longest error text (message, stack trace) that goes on.
    pub error_text_bytes: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: BUILTIN.iter().map(|(name, _)| (*name).to_owned()).collect(),
            custom: Vec::new(),
            max_value_bytes: ByteSize(32 << 10),
            error_text_bytes: ByteSize(ERROR_TEXT as u64),
        }
    }
}

/// Valid settings.
pub struct Settings {
    /// Compiled rules.
    pub detector: Arc<Detector>,
    /// Longest value, bytes.
    pub max_value: usize,
    /// Longest error text, bytes.
    pub max_error_text: usize,
}

/// Longest error text by default, bytes.
pub const ERROR_TEXT: usize = 8 << 10;
/// Smallest cap: a mark must fit.
const MIN_CAP: u64 = 256;

impl Config {
    /// Compiles the rules and checks the sizes.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let mut rules: Vec<RuleData> = Vec::new();
        for (index, name) in self.rules.iter().enumerate() {
            let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| builtin == name) else {
                let known: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
                let what = format!("no such rule set; there are: {}", known.join(", "));
                problems.push(FieldProblem::new(format!("rules[{index}]"), what));
                continue;
            };
            match load::data::<Vec<RuleData>>(name, text) {
                Ok(more) => rules.extend(more),
                Err(problem) => problems.push(FieldProblem::new(format!("rules[{index}]"), problem.to_string())),
            }
        }
        for (path, size) in [("max_value_bytes", self.max_value_bytes), ("error_text_bytes", self.error_text_bytes)] {
            if size.0 < MIN_CAP {
                problems.push(FieldProblem::new(path, format!("at least {MIN_CAP} bytes")));
            }
        }
        let detector = Detector::new(&rules, &self.custom).map_err(|errors| {
            problems.extend(errors.into_iter().map(|error| {
                let index = self.custom.iter().position(|custom| custom.name == error.rule);
                let path = index.map_or("rules".to_owned(), |index| format!("custom[{index}]"));
                FieldProblem::new(path, error.what)
            }));
        });
        match detector {
            Ok(detector) if problems.is_empty() => {
                let bytes = |size: ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
                Ok(Settings {
                    detector: Arc::new(detector),
                    max_value: bytes(self.max_value_bytes),
                    max_error_text: bytes(self.error_text_bytes),
                })
            }
            _ => Err(problems),
        }
    }
}
