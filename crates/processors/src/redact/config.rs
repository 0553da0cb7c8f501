//! **What**: what a user writes under `redact:` and what it means. **Not here**: rule files (`redaction`).

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{ByteSize, FieldProblem, load, problem::nearest};
use redaction::{BUILTIN, Choices, Custom, Detector, RuleData};

/// The `redact` processor: typed placeholders in place of what is private, in every text of every signal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Built-in rule sets: `pii`, `secrets`.
    pub rules: Vec<String>,
    /// Rules of your own; they win over built-in ones.
    pub custom: Vec<Custom>,
    /// Rules that do something else than by default, by name (`custom` ones in lower case).
    pub options: BTreeMap<String, RuleOptions>,
    /// `enforce`, or `audit`: count what would go, change nothing; allowed only towards internal exporters.
    pub mode: Mode,
    /// `vault`: content must have been stripped before. `allow`: a pipeline without a `vault` step may send content,
    /// redacted, to third parties; on every start you are warned.
    pub content: ContentPolicy,
    /// Somebody outside who is asked about texts that stay; none unless it is named here.
    pub recogniser: Option<recogniser::Config>,
    /// Longest text value that goes on; longer ones are cut, and marked.
    pub max_value_bytes: ByteSize,
    /// Longest error text (message, stack trace) that goes on.
    pub error_text_bytes: ByteSize,
    /// Longest text that is searched; a longer one becomes `[UNSCANNED]`. A vault before this step keeps it, so that
    /// the item refers to it.
    pub max_scan_bytes: ByteSize,
    /// Ways of writing within each other (JSON in JSON, escapes, base64) that are decoded, at most 8; what lies deeper
    /// becomes `[UNSCANNED]`.
    pub max_depth: u8,
    /// Addresses of private networks (10/8, 172.16/12, 192.168/16, fc00::/7, link-local ones), e.g. in
    /// `client.address`.
    pub private_addresses: PrivateAddresses,
    /// Ids and names of users (`user.id`, `enduser.id`, `user.name`) that are not opaque (a UUID, 16 hex digits or more
    /// with a letter among them, 22 characters of base64url or more that look random): `pseudonym` (a keyed `h-…`, the
    /// same everywhere), or `keep` (only what a rule matches becomes one).
    pub user_ids: UserIds,
    /// Also finds spelt mail addresses: `jane (at) example dot com`; plain words only behind a word such as `mail`.
    pub spelled_emails: bool,
    /// A name or value that was found goes wherever else the same text has it.
    pub carry_over: bool,
    /// Says on each span, event and log record which rules found something on it and how long that was
    /// (`tollgate.content.shape`).
    pub record_lengths: bool,
}

/// What becomes of ids and names of users that no rule finds anything in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserIds {
    /// A keyed pseudonym, unless they are opaque already.
    #[default]
    Pseudonym,
    /// They stay.
    Keep,
}

/// What becomes of addresses of private networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrivateAddresses {
    /// They stay: they tell machines apart and are nobody's.
    #[default]
    Keep,
    /// They go as others do.
    Redact,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: BUILTIN.iter().map(|(name, _)| (*name).to_owned()).collect(),
            custom: Vec::new(),
            options: BTreeMap::new(),
            mode: Mode::default(),
            content: ContentPolicy::default(),
            recogniser: None,
            max_value_bytes: ByteSize(32 << 10),
            error_text_bytes: ByteSize(ERROR_TEXT as u64),
            max_scan_bytes: ByteSize(SCAN as u64),
            max_depth: Choices::default().depth,
            private_addresses: PrivateAddresses::default(),
            user_ids: UserIds::default(),
            spelled_emails: false,
            carry_over: true,
            record_lengths: false,
        }
    }
}

/// What one rule does.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleOptions {
    /// Whether it is used; without it, as the rule says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// What takes the place of a match.
    #[serde(rename = "as")]
    pub form: Form,
    /// Matches that stay: patterns that must fit the whole match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// What takes the place of a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `[EMAIL]`.
    #[default]
    Placeholder,
    /// `[EMAIL:h-…]`: equal values of one account are equal, by a key.
    Pseudonym,
    /// The whole text goes; its placeholder stands for it.
    Drop,
}

/// Whether anything changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Placeholders take the place of what is private.
    #[default]
    Enforce,
    /// Only the metrics tell.
    Audit,
}

/// Whether content may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentPolicy {
    /// Content belongs in the vault.
    #[default]
    Vault,
    /// Content may go on, redacted.
    Allow,
}

/// Valid settings.
#[derive(Clone)]
pub struct Settings {
    /// Compiled rules.
    pub detector: Arc<Detector>,
    /// By rule of the detector: what takes the place of a match.
    pub forms: Vec<Form>,
    /// Whether anything changes.
    pub mode: Mode,
    /// Whether content may pass.
    pub content: ContentPolicy,
    /// Who is asked about texts that stay.
    pub recogniser: Option<recogniser::Settings>,
    /// Longest value, bytes.
    pub max_value: usize,
    /// Longest error text, bytes.
    pub max_error_text: usize,
    /// Longest text that is searched, bytes.
    pub max_scan: usize,
    /// What becomes of ids and names of users.
    pub user_ids: UserIds,
    /// Whether items say what was found on them.
    pub record_lengths: bool,
}

/// Longest text that is searched by default, bytes.
pub const SCAN: usize = 8 << 20;
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
        let sizes = [
            ("max_value_bytes", self.max_value_bytes),
            ("error_text_bytes", self.error_text_bytes),
            ("max_scan_bytes", self.max_scan_bytes),
        ];
        if self.max_depth > Choices::DEEPEST {
            problems.push(FieldProblem::new("max_depth", format!("at most {}", Choices::DEEPEST)));
        }
        for (path, size) in sizes {
            if size.0 < MIN_CAP {
                problems.push(FieldProblem::new(path, format!("at least {MIN_CAP} bytes")));
            }
        }
        let mut recogniser = self.recogniser(&mut problems);
        rules.extend(recogniser.iter().flat_map(recogniser::Settings::data));
        let custom = self.with_options(&mut rules, &mut problems);
        let detector = Detector::new(&rules, &custom).map_err(|errors| {
            problems.extend(errors.into_iter().map(|error| {
                let index = self.custom.iter().position(|custom| custom.name == error.rule);
                let option = || self.options.contains_key(&error.rule).then(|| format!("options.{}", error.rule));
                let path = index.map(|index| format!("custom[{index}]")).or_else(option);
                let path = path.map(|path| match error.what.field() {
                    "" => path,
                    field => format!("{path}.{field}"),
                });
                let path = path.unwrap_or_else(|| "rules".to_owned());
                FieldProblem::new(path, error.what)
            }));
        });
        match detector {
            Ok(detector) if problems.is_empty() => {
                let bytes = |size: ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
                let form = |name: &Arc<str>| self.options.get(&**name).map_or(Form::default(), |options| options.form);
                if let Some(recogniser) = &mut recogniser {
                    recogniser.bind(|name| detector.rule_of(name));
                }
                Ok(Settings {
                    recogniser,
                    forms: detector.rule_names().map(form).collect(),
                    mode: self.mode,
                    content: self.content,
                    detector: Arc::new(detector.choosing(self.choices())),
                    max_value: bytes(self.max_value_bytes),
                    max_error_text: bytes(self.error_text_bytes),
                    max_scan: bytes(self.max_scan_bytes),
                    user_ids: self.user_ids,
                    record_lengths: self.record_lengths,
                })
            }
            _ => Err(problems),
        }
    }

    fn recogniser(&self, problems: &mut Vec<FieldProblem>) -> Option<recogniser::Settings> {
        self.recogniser.as_ref()?.settings().map_err(|more| problems.extend(more)).ok()
    }

    fn choices(&self) -> Choices {
        Choices {
            depth: self.max_depth,
            private_addresses: self.private_addresses == PrivateAddresses::Redact,
            spelled_emails: self.spelled_emails,
            carry_over: self.carry_over,
        }
    }

    /// Lays the options onto the rules; gives the users' rules with theirs.
    fn with_options(&self, rules: &mut [RuleData], problems: &mut Vec<FieldProblem>) -> Vec<Custom> {
        let mut custom = self.custom.clone();
        for (name, options) in &self.options {
            let on = options.on;
            match (rules.iter_mut().find(|rule| rule.name == *name), custom.iter().position(|own| is(own, name))) {
                (Some(rule), _) => {
                    rule.on = on.unwrap_or(rule.on);
                    rule.allow.extend(options.allow.iter().cloned());
                }
                (None, Some(at)) if on == Some(false) => drop(custom.remove(at)),
                (None, Some(at)) => {
                    custom.get_mut(at).into_iter().for_each(|own| own.allow.extend(options.allow.iter().cloned()));
                }
                (None, None) => {
                    let known = rules.iter().map(|rule| rule.name.as_str());
                    let near = nearest(name, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    problems.push(FieldProblem::new(format!("options.{name}"), format!("there is no such rule{near}")));
                }
            }
        }
        custom
    }
}

fn is(custom: &Custom, name: &str) -> bool {
    custom.name.eq_ignore_ascii_case(name)
}
