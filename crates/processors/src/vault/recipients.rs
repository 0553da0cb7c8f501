//! Configuration of the vault's recipients: public keys of auditors, each with the accounts and tenants that it may
//! open, or a number of auditors who are needed together. Content that nobody could open is refused here, as far as the
//! vault's own configuration shows it; the app compares the accounts with those of the receivers. `vault::recipients`
//! has the policy itself.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use config::FieldProblem;
use vault::key_shares::{MAX_SHARES, is_valid_threshold};
use vault::recipients::{PolicyRecipient, RecipientPolicy};
use vault::seal::parse_recipient;

/// Most recipients of a vault. A key object is at most 64 KiB, and has a part for each of its recipients.
const MAX_RECIPIENTS: usize = 64;

/// The recipients of a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RecipientsConfig {
    /// Each recipient opens alone what its limits allow.
    Each(Vec<RecipientConfig>),
    /// Several recipients are needed together.
    Together(ThresholdConfig),
}

/// Public keys of which several are needed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThresholdConfig {
    /// How many of the keys are needed together: from 2 to their number.
    pub threshold: u8,
    /// The public keys (`age1…`), at most 16. They have no limits to accounts or tenants.
    pub of: Vec<String>,
}

impl Default for RecipientsConfig {
    fn default() -> Self {
        Self::Each(Vec::new())
    }
}

impl RecipientsConfig {
    /// The public keys, to be replaced.
    pub fn keys_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::Each(recipients) => recipients.iter_mut().map(RecipientConfig::key_mut).collect(),
            Self::Together(threshold) => threshold.of.iter_mut().collect(),
        }
    }
}

/// Implements `Deserialize` for an enum of a map and another form. By hand, because an error of an untagged enum would
/// name neither the key nor the line.
macro_rules! deserialize_by_form {
    ($name:ident: $expected:literal, $variant:ident of $map:ident, $($other_form:tt)*) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct FormVisitor;
                impl<'de> Visitor<'de> for FormVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        $map::deserialize(MapAccessDeserializer::new(map)).map($name::$variant)
                    }
                    $($other_form)*
                }
                deserializer.deserialize_any(FormVisitor)
            }
        }
    };
}

deserialize_by_form!(RecipientsConfig: "a list of public keys (`age1…`), or a map of `threshold` and `of`",
    Together of ThresholdConfig,
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RecipientsConfig, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(RecipientsConfig::Each)
    }
);

deserialize_by_form!(RecipientConfig: "a public key (`age1…`), or a map of `key`, `accounts` and `tenants`",
    Limited of LimitedRecipientConfig,
    fn visit_str<E>(self, text: &str) -> Result<RecipientConfig, E> {
        Ok(RecipientConfig::Key(text.to_owned()))
    }
);

/// An auditor's public key, with the accounts and tenants whose content the key opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RecipientConfig {
    /// A public key that may open everything.
    Key(String),
    /// A public key that may open content of some accounts.
    Limited(LimitedRecipientConfig),
}

/// A public key that may open content of some accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitedRecipientConfig {
    /// The public key (`age1…`).
    pub key: String,
    /// The accounts whose content it may open.
    pub accounts: Vec<String>,
    /// The tenants of these accounts whose content it may open; `unattributed` stands for content without a tenant.
    /// Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<String>>,
}

impl RecipientConfig {
    fn key_mut(&mut self) -> &mut String {
        match self {
            Self::Key(key) | Self::Limited(LimitedRecipientConfig { key, .. }) => key,
        }
    }

    /// The checked recipient; `None` after adding a problem. `path` is the place in the configuration.
    fn checked(&self, path: &str, problems: &mut Vec<FieldProblem>) -> Option<PolicyRecipient> {
        let earlier_problems = problems.len();
        let mut add = |field: &str, problem: &str| problems.push(FieldProblem::new(format!("{path}{field}"), problem));
        let (Self::Key(written) | Self::Limited(LimitedRecipientConfig { key: written, .. })) = self;
        let key = parse_recipient(written);
        let Self::Limited(limited) = self else {
            return key.map(PolicyRecipient::unlimited).map_err(|problem| add("", problem)).ok();
        };
        let mut names_of = |field: &str, names: &[String]| {
            if names.is_empty() {
                add(field, "lists no name: name at least one, or write the key alone if it may open everything");
            } else if names.iter().any(|name| name.trim().is_empty()) {
                add(field, "must not contain an empty name");
            }
            names.iter().cloned().collect::<BTreeSet<_>>()
        };
        let accounts = Some(names_of(".accounts", &limited.accounts));
        let tenants = limited.tenants.as_ref().map(|tenants| names_of(".tenants", tenants));
        let key = key.map_err(|problem| problems.push(FieldProblem::new(format!("{path}.key"), problem))).ok()?;
        (problems.len() == earlier_problems).then_some(PolicyRecipient { key, accounts, tenants })
    }
}

pub(super) fn check_recipients(
    written: &RecipientsConfig,
    has_store: bool,
    problems: &mut Vec<FieldProblem>,
    notes: &mut Vec<FieldProblem>,
) -> RecipientPolicy {
    let mut recipients: Vec<PolicyRecipient> = Vec::new();
    let earlier_problems = problems.len();
    let (written, list, threshold) = match written {
        RecipientsConfig::Each(written) => (written.clone(), "recipients", None),
        RecipientsConfig::Together(ThresholdConfig { threshold, of }) => {
            (of.iter().cloned().map(RecipientConfig::Key).collect(), "recipients.of", Some(*threshold))
        }
    };
    for (index, one) in written.iter().enumerate() {
        let path = format!("{list}[{index}]");
        let Some(recipient) = one.checked(&path, problems) else { continue };
        match recipients.iter().find(|earlier| earlier.key == recipient.key) {
            None => recipients.push(recipient),
            Some(earlier) => {
                let problem = match (earlier.accounts.is_some(), recipient.accounts.is_some()) {
                    (false, false) => "twice: remove it, or replace it with the public key of a second auditor",
                    (true, true) => "twice: write all its accounts in one entry",
                    _ => {
                        "with limits and without: remove one of the two, because a key without limits opens everything"
                    }
                };
                problems.push(FieldProblem::new(path, format!("is listed {problem}")));
            }
        }
    }
    if has_store && written.is_empty() {
        let problem = "must list at least one auditor's public key; create one with `tollgate vault keygen`";
        problems.push(FieldProblem::new(list, problem));
    } else if written.len() > MAX_RECIPIENTS {
        problems.push(FieldProblem::new("recipients", format!("lists more than {MAX_RECIPIENTS} recipients")));
    } else if threshold.is_some() && written.len() > MAX_SHARES {
        problems.push(FieldProblem::new(list, format!("lists more than {MAX_SHARES} recipients")));
    } else if threshold.is_some_and(|threshold| !is_valid_threshold(usize::from(threshold), written.len())) {
        let problem = "must be from 2 to the number of recipients in `of`; list the keys alone if each of them may open \
                       everything";
        problems.push(FieldProblem::new("recipients.threshold", problem));
    }
    let policy = RecipientPolicy::new(recipients).with_threshold(threshold);
    if has_store && problems.len() == earlier_problems {
        check_accounts(&policy, problems, notes);
    }
    policy
}

/// Reports the accounts named in `recipients` for which no key, or only one, opens everything.
fn check_accounts(policy: &RecipientPolicy, problems: &mut Vec<FieldProblem>, notes: &mut Vec<FieldProblem>) {
    let mut checked: BTreeSet<&str> = BTreeSet::new();
    let mut single: BTreeSet<&str> = BTreeSet::new();
    for (index, recipient) in policy.recipients.iter().enumerate() {
        for account in recipient.accounts.iter().flatten().filter(|account| checked.insert(account)) {
            match policy.whole_account_recipients(account) {
                0 => {
                    let problem = format!(
                        "content of account `{account}` without a tenant, or of another tenant, could be opened by nobody: \
                         add a recipient for the account without `tenants`"
                    );
                    problems.push(FieldProblem::new(format!("recipients[{index}].tenants"), problem));
                }
                1 => {
                    single.insert(account);
                }
                _ => {}
            }
        }
    }
    let note = if policy.threshold.is_some_and(|threshold| usize::from(threshold) == policy.recipients.len()) {
        "all recipients are needed together: if one secret key is lost, the vault cannot be decrypted; add one"
            .to_owned()
    } else if policy.recipients.len() == 1 {
        "only one recipient: if its secret key is lost, the vault cannot be decrypted; add a second one".to_owned()
    } else if single.is_empty() {
        return;
    } else {
        let names = single.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        format!(
            "only one recipient opens all content of {names}: if its secret key is lost, that content cannot be \
             decrypted; add a second one"
        )
    };
    notes.push(FieldProblem::new("recipients", note));
}
