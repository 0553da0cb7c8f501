//! Configuration of the `redact` processor. Rule files are read in the crate `redaction`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{ByteSize, FieldProblem, problem::find_nearest};
use redaction::{BUILTIN, CustomRule, Detector, RuleData, SearchOptions};

kernel::with_defaults! {
    /// Puts typed placeholders in place of private data, in all texts of every signal.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct RedactConfig {
        /// Built-in rule sets: `pii`, `secrets`. Default: both.
        pub rules: Vec<String> = BUILTIN.iter().map(|(name, _)| (*name).to_owned()).collect(),
        /// Your own rules. They take precedence over built-in ones.
        pub custom: Vec<CustomRule>,
        /// Changes to individual rules, by rule name (`custom` rules in lower case).
        pub options: BTreeMap<String, RuleOptions>,
        /// `enforce`, or `audit`: only count findings and change nothing. `audit` is allowed only towards internal
        /// exporters. Default: `enforce`.
        pub mode: RedactMode,
        /// `vault`: content must have been stripped by a previous step. `allow`: a pipeline without a `vault` step may
        /// send redacted content to third parties; tollgate warns about this on every start. Default: `vault`.
        pub content: ContentPolicy,
        /// An external recogniser that is asked to find names in texts that stay. Default: none.
        pub recogniser: Option<recogniser::Config>,
        /// Maximum size of a text value; longer values are cut and marked. Default: 32KiB.
        pub max_value_bytes: ByteSize = ByteSize(32 << 10),
        /// Maximum size of an error text (message, stack trace); longer texts are cut. Default: 8KiB.
        pub error_text_bytes: ByteSize = ByteSize(DEFAULT_MAX_ERROR_TEXT as u64),
        /// Maximum size of a text that is searched; a longer text becomes `[UNSCANNED]`. A `vault` step before this one
        /// keeps the full text, and the item refers to it. Default: 8MiB.
        pub max_scan_bytes: ByteSize = ByteSize(DEFAULT_MAX_SCAN as u64),
        /// Maximum number of nested encodings (JSON in JSON, escapes, base64) that are decoded, up to 8; anything
        /// nested deeper becomes `[UNSCANNED]`. Default: 4.
        pub max_depth: u8 = SearchOptions::default().depth,
        /// How to treat private network addresses (10/8, 172.16/12, 192.168/16, fc00::/7, link-local), for example in
        /// `client.address`: `keep` or `redact`. Default: `keep`.
        pub private_addresses: PrivateAddressPolicy,
        /// How to treat user ids and names (`user.id`, `enduser.id`, `user.name`) that are not opaque (a UUID, 16 or
        /// more hex digits including a letter, 22 or more random-looking characters of base64url): `pseudonym` (a keyed
        /// `h-…`, the same everywhere), or `keep` (only values matched by a rule become pseudonyms). Default:
        /// `pseudonym`.
        pub user_ids: UserIdPolicy,
        /// Removes a name or value that was found wherever else it occurs in the same text. Default: true.
        pub redact_repeats: bool = true,
        /// Records on each span, event and log record which rules matched and how long the matches were
        /// (`tollgate.content.shape`). Default: false.
        pub record_lengths: bool,
    }
}

/// Treatment of user ids and names that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserIdPolicy {
    /// Replaced by a keyed pseudonym, unless they are already opaque.
    #[default]
    Pseudonym,
    /// Kept.
    Keep,
}

/// Treatment of private network addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrivateAddressPolicy {
    /// Kept: they identify machines, not people.
    #[default]
    Keep,
    /// Redacted like other addresses.
    Redact,
}

/// Changes to one rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleOptions {
    /// Turns the rule on or off. Default: as the rule says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// The replacement for a match.
    #[serde(rename = "as")]
    pub form: ReplacementForm,
    /// Exceptions: patterns that must match a whole finding for it to stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// The replacement for a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplacementForm {
    /// A placeholder: `[EMAIL]`.
    #[default]
    Placeholder,
    /// A placeholder with a keyed pseudonym: `[EMAIL:h-…]`. Equal values within one account get equal pseudonyms.
    Pseudonym,
    /// The whole text is replaced by the placeholder.
    Drop,
}

/// Whether findings are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedactMode {
    /// Private data is replaced.
    #[default]
    Enforce,
    /// Findings are only counted in metrics.
    Audit,
}

/// Whether content may be forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentPolicy {
    /// Content must go to the vault.
    #[default]
    Vault,
    /// Content may be forwarded, redacted.
    Allow,
}

/// The checked configuration.
#[derive(Clone)]
pub struct RedactSettings {
    /// The compiled rules.
    pub detector: Arc<Detector>,
    /// The replacement for a match, by rule index of the detector.
    pub forms: Vec<ReplacementForm>,
    /// The external recogniser, if configured.
    pub recogniser: Option<recogniser::Settings>,
    /// Maximum size of a value, bytes.
    pub max_value: usize,
    /// Maximum size of an error text, bytes.
    pub max_error_text: usize,
    /// Maximum size of a text that is searched, bytes.
    pub max_scan: usize,
    /// The rest, as written.
    pub config: Arc<RedactConfig>,
}

/// Default maximum size of a text that is searched, bytes.
pub const DEFAULT_MAX_SCAN: usize = 8 << 20;
/// Default maximum size of an error text, bytes.
pub const DEFAULT_MAX_ERROR_TEXT: usize = 8 << 10;
/// Smallest allowed size limit: the truncation mark must fit.
const MIN_SIZE_LIMIT: u64 = 256;

impl RedactConfig {
    /// Compiles the rules and checks the sizes.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<RedactSettings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let mut rules: Vec<RuleData> = Vec::new();
        for (index, name) in self.rules.iter().enumerate() {
            let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| builtin == name) else {
                let known: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
                let text = format!("unknown rule set; the rule sets are: {}", known.join(", "));
                problems.push(FieldProblem::new(format!("rules[{index}]"), text));
                continue;
            };
            match serde_json::from_str::<Vec<RuleData>>(text) {
                Ok(set) => rules.extend(set),
                Err(problem) => problems.push(FieldProblem::new(format!("rules[{index}]"), problem.to_string())),
            }
        }
        if self.max_depth > SearchOptions::MAX_DEPTH {
            problems.push(FieldProblem::new("max_depth", format!("must be at most {}", SearchOptions::MAX_DEPTH)));
        }
        for (path, size) in [
            ("max_value_bytes", self.max_value_bytes),
            ("error_text_bytes", self.error_text_bytes),
            ("max_scan_bytes", self.max_scan_bytes),
        ] {
            if size.0 < MIN_SIZE_LIMIT {
                problems.push(FieldProblem::new(path, format!("must be at least {MIN_SIZE_LIMIT} bytes")));
            }
        }
        let mut recogniser =
            self.recogniser.as_ref().and_then(|one| one.settings().map_err(|errors| problems.extend(errors)).ok());
        rules.extend(recogniser.iter().flat_map(recogniser::Settings::rule_data));
        self.check_custom_names(&mut problems);
        let custom = self.apply_options(&mut rules, &mut problems);
        let detector = Detector::new(&rules, &custom).map_err(|errors| {
            problems.extend(errors.into_iter().map(|error| {
                let index = self.custom.iter().position(|custom| custom.name == error.rule);
                let option_path = || self.options.contains_key(&error.rule).then(|| format!("options.{}", error.rule));
                let path = index.map(|index| format!("custom[{index}]")).or_else(option_path);
                let path = path.map(|path| match error.field() {
                    "" => path,
                    field => format!("{path}.{field}"),
                });
                let path = path.unwrap_or_else(|| "rules".to_owned());
                FieldProblem::new(path, error.reason())
            }));
        });
        match detector {
            Ok(detector) if problems.is_empty() => {
                let bytes = |size: ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
                let form = |name: &Arc<str>| {
                    self.options.get(&**name).map_or(ReplacementForm::default(), |options| options.form)
                };
                if let Some(recogniser) = &mut recogniser {
                    recogniser.bind_rules(|name| detector.rule_index(name));
                }
                Ok(RedactSettings {
                    recogniser,
                    forms: detector.rule_names().map(form).collect(),
                    detector: Arc::new(detector.with_options(self.search_options())),
                    max_value: bytes(self.max_value_bytes),
                    max_error_text: bytes(self.error_text_bytes),
                    max_scan: bytes(self.max_scan_bytes),
                    config: Arc::new(self.clone()),
                })
            }
            _ => Err(problems),
        }
    }

    fn search_options(&self) -> SearchOptions {
        SearchOptions {
            depth: self.max_depth,
            private_addresses: self.private_addresses == PrivateAddressPolicy::Redact,
            redact_repeats: self.redact_repeats,
        }
    }

    /// Reports custom rules that share a name, because findings, metrics and `options` could not tell them apart. The
    /// name of a built-in rule's placeholder is allowed, so that a custom rule can add findings to `[ACCOUNT_ID]`.
    fn check_custom_names(&self, problems: &mut Vec<FieldProblem>) {
        for (index, custom) in self.custom.iter().enumerate() {
            if self.custom.iter().take(index).any(|other| has_name(other, &custom.name)) {
                let text = "is the name of another custom rule: choose a different one";
                problems.push(FieldProblem::new(format!("custom[{index}].name"), text));
            }
        }
    }

    /// Applies the options to the built-in rules and returns the custom rules with their options applied.
    fn apply_options(&self, rules: &mut [RuleData], problems: &mut Vec<FieldProblem>) -> Vec<CustomRule> {
        let mut custom = self.custom.clone();
        for (name, options) in &self.options {
            let builtin = rules.iter_mut().find(|rule| rule.name == *name);
            match (builtin, custom.iter().position(|rule| has_name(rule, name))) {
                (Some(rule), _) => {
                    rule.on = options.on.unwrap_or(rule.on);
                    rule.allow.extend(options.allow.iter().cloned());
                }
                (None, Some(index)) if options.on == Some(false) => drop(custom.remove(index)),
                (None, Some(index)) => {
                    custom.get_mut(index).into_iter().for_each(|rule| rule.allow.extend(options.allow.iter().cloned()));
                }
                (None, None) => {
                    let known = rules.iter().map(|rule| rule.name.as_str());
                    let hint = find_nearest(name, known)
                        .map_or(String::new(), |nearest| format!("; did you mean `{nearest}`?"));
                    problems.push(FieldProblem::new(format!("options.{name}"), format!("unknown rule{hint}")));
                }
            }
        }
        custom
    }
}

fn has_name(custom: &CustomRule, name: &str) -> bool {
    custom.name.eq_ignore_ascii_case(name)
}
