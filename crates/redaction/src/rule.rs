//! A rule as data. It is compiled in `compile`; `validate` has the checks that `validator` names.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validate::Validator;
use super::validate::id_check::IdCheck;

/// How certain a rule is. Overlapping hits win in this order, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleClass {
    /// Written by the user.
    #[default]
    Custom,
    /// The value of a private key.
    Key,
    /// A credential with a shape of its own.
    Secret,
    /// An id whose checksum was verified.
    Checksum,
    /// A value announced by a word before it.
    Cued,
    /// Recognised by its shape alone.
    Shape,
    /// A name or postal address.
    Name,
    /// Found by an external recogniser.
    Recognised,
    /// A random value near a word.
    Entropy,
}

impl RuleClass {
    /// Explanation of the class for users.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Custom => "a rule from your configuration",
            Self::Key => "the value of a key for private data",
            Self::Secret => "has the shape of a credential",
            Self::Checksum => "has a valid checksum",
            Self::Cued => "announced by a word before it",
            Self::Shape => "has the shape of private data",
            Self::Name => "a name or address, judged by the words around it",
            Self::Recognised => "found by the external recogniser",
            Self::Entropy => "a random value near a word such as `key`",
        }
    }
}

/// Condition on the characters next to a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchBounds {
    /// Anything.
    #[default]
    None,
    /// No letter, digit or `_` on either side.
    Word,
    /// No letter or digit before; anything after (a truncated token still leaks).
    Token,
}

/// A rule in `config/rules/*.yaml`: a `pattern`, the name of a `family` implemented in code, or both.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleData {
    /// Unique name, used as a metric label.
    pub name: String,
    /// `EMAIL` for `[EMAIL]`.
    pub placeholder: String,
    /// Its class.
    pub class: RuleClass,
    /// Whether it is enabled unless the configuration says otherwise.
    #[serde(default = "yes")]
    pub on: bool,
    /// Byte-oriented pattern (no look-around). With a group, the first group is the private part. A pattern that begins
    /// with a word of two letters or more is tried only at that word.
    pub pattern: String,
    /// For a pattern that does not begin with a fixed word: the runs of ASCII letters and digits, with at least one
    /// digit, at which it is tried.
    pub(crate) at_runs: Vec<RunShape>,
    /// The code that finds matches.
    pub(crate) family: Option<RuleFamily>,
    /// Keys (of JSON and similar notations, attributes, columns) whose whole value is private: the last segment, in
    /// snake case; plurals included. `*_phone` also matches after other words (`home_phone`).
    pub keys: Vec<String>,
    /// Required form of a key's value.
    pub value: KeyValueForm,
    /// The keys count only if one of these is a sibling or parent key, or comes before them in the same key.
    pub beside: Vec<String>,
    /// The keys do not count next to one of these.
    pub against: Vec<String>,
    /// Words that announce a family's values.
    pub cues: Vec<String>,
    /// Context words, one of which must be near a match: at most 35 bytes before or 15 after, on the same line. In
    /// lower case; a word that begins with a capital matches only in that spelling. Families of numbers have their own
    /// distances. A blank in a word also matches `_`, `-` and nothing.
    pub context: Vec<String>,
    /// Context words for a family of numbers that count only in prose, not inside keys: `call` is not found in
    /// `call_id`.
    pub prose: Vec<String>,
    /// Ids and their checks. One with `written` is found without a word, any other only beside a word of a rule whose
    /// `values` name this rule.
    pub ids: Vec<IdData>,
    /// Forms of the values that the context words announce.
    pub values: Vec<ValueData>,
    /// Condition on the characters next to the match.
    pub bounds: MatchBounds,
    /// Name of a further check.
    pub validator: Validator,
    /// Patterns of values that stay. One must fit all of the private part: the group, if `pattern` has one, else the
    /// match.
    pub allow: Vec<String>,
    /// Example texts with each private part in «…», used as tests. A running gateway does not keep them.
    #[cfg_attr(not(test), serde(deserialize_with = "skip_examples"))]
    pub hits: Vec<String>,
    /// Similar texts without private parts, used as tests.
    #[cfg_attr(not(test), serde(deserialize_with = "skip_examples"))]
    pub misses: Vec<String>,
}

/// A run of letters and digits by its length and a byte next to it, and where a match begins.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunShape {
    /// The ASCII character after the run, or before it.
    pub(crate) after: Option<char>,
    pub(crate) before: Option<char>,
    /// Least and greatest length.
    len: (usize, usize),
    /// Bytes of a match before the run.
    lead: usize,
    /// Bytes of a match up to the run's end, instead of `lead`.
    tail: usize,
}

impl RunShape {
    /// Where a match begins, if a run of this range has the shape.
    pub(crate) fn match_start(&self, run: &Range<usize>) -> Option<usize> {
        let (from, bytes) = if self.tail > 0 { (run.end, self.tail) } else { (run.start, self.lead) };
        (self.len.0..=self.len.1).contains(&run.len()).then(|| from.saturating_sub(bytes))
    }
}

/// Shapes of runs with the index of their rule, by the byte after the run, and by the byte before it.
#[derive(Default)]
pub(super) struct RunShapes([Vec<Vec<(RunShape, u16)>>; 2]);

impl RunShapes {
    pub(super) fn add(&mut self, shape: &RunShape, rule: u16) {
        for (by_byte, byte) in self.0.iter_mut().zip([shape.after, shape.before]) {
            by_byte.resize(128, Vec::new());
            let shapes = byte.and_then(|byte| by_byte.get_mut(byte as usize));
            shapes.into_iter().for_each(|shapes| shapes.push((shape.clone(), rule)));
        }
    }

    /// The shapes of runs before this byte, and after that.
    #[inline]
    pub(super) fn beside(&self, after: u8, before: u8) -> [&[(RunShape, u16)]; 2] {
        let [by_after, by_before] = &self.0;
        [(by_after, after), (by_before, before)]
            .map(|(by_byte, byte)| by_byte.get(usize::from(byte)).map(Vec::as_slice).unwrap_or_default())
    }
}

/// An id with a check.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdData {
    /// Its name, which the `validator` of a user's rule can use.
    pub name: String,
    /// The forms in which it is found without a word: `9` is a digit, `A` a capital, `X` either; all other characters
    /// stand for themselves. Blanks count only if no other digits are next to it.
    pub written: Vec<String>,
    /// Its check.
    pub check: IdCheck,
    /// Examples that pass the check, used as tests.
    #[cfg_attr(not(test), serde(deserialize_with = "skip_examples"))]
    pub valid: Vec<String>,
    /// Examples that fail, used as tests.
    #[cfg_attr(not(test), serde(deserialize_with = "skip_examples"))]
    pub invalid: Vec<String>,
}

/// A form of the values that context words announce.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValueData {
    /// Whether its digits are in groups, separated by blanks, dashes, dots or slashes. Otherwise a value has letters,
    /// digits and dashes.
    pub grouped: bool,
    /// Least and greatest length.
    pub len: Option<(usize, usize)>,
    /// Least and greatest number of digits.
    pub digits: Option<(usize, usize)>,
    /// Regular expression that the whole value must fit. Without one, values with many lower-case letters, hashes and
    /// dates do not count.
    pub pattern: String,
    /// Names of rules: the value must pass the check of one of their `ids`.
    pub ids: Vec<String>,
    /// How close the word has to be.
    pub reach: CueDistance,
}

/// How close a word is to a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CueDistance {
    /// On the same line.
    Near,
    /// Separated by small words only.
    #[default]
    Close,
    /// Part of the value's key.
    Key,
}

/// Skips the examples: they are half of the rule files and would waste an idle gateway's memory.
#[cfg(not(test))]
fn skip_examples<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| Vec::new())
}

fn yes() -> bool {
    true
}

/// Kinds of findings that code searches for. A rule that names a family is found by its code, and by its pattern if it
/// has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RuleFamily {
    Email,
    /// Values of `keys`.
    Keys,
    /// Persons' names after unambiguous words (`my name is`, `Mr.`).
    NameIntroduced,
    /// Persons' names after ambiguous words (`I am`, `named`).
    NameCued,
    NameGreeted,
    /// Persons' names below a closing formula.
    NameSigned,
    /// Persons' names next to an e-mail address.
    NameMail,
    /// Persons' names that were found elsewhere in the same text.
    NameRepeated,
    /// A listed given name before another name.
    NameListed,
    NameCjk,
    Street,
    PostBox,
    PhoneInternational,
    /// Phone numbers in the shape of a national plan.
    PhoneNational,
    PhoneCued,
    Card,
    CardCued,
    /// Card verification codes.
    CardCode,
    CardExpiry,
    Iban,
    /// Payment addresses of India's UPI: `name@okaxis`.
    Upi,
    /// One-time codes.
    OneTimeCode,
    /// Numbers of bank accounts, members, customers, policies.
    Account,
    Swift,
    Routing,
    Wallet,
    /// US social security numbers 3-2-4.
    Ssn,
    SsnCued,
    TaxShape,
    TaxCued,
    NationalShape,
    NationalCued,
    /// Passport numbers, and machine-readable passport lines.
    Passport,
    License,
    MedicalShape,
    MedicalCued,
    Birth,
    /// Public IPv4 addresses.
    Ipv4,
    /// Public IPv6 addresses.
    Ipv6,
    Mac,
    /// IMEIs and advertising ids.
    Device,
    Vin,
    /// Vehicle numbers announced by a word: VIN, plate.
    VehicleCued,
    Password,
    SecretValue,
    HeaderCredentials,
    /// `user:password` pairs, in base64 or after `-u`.
    BasicCredentials,
    Cookie,
    AwsSecret,
    /// Keys and client secrets of Azure.
    AzureKey,
    WebUserinfo,
    Userinfo,
    KeyBlock,
    ProviderValue,
    /// Tokens of Terraform Cloud.
    MarkedToken,
    /// Webhooks whose host contains the customer's name.
    HostedWebhook,
    SeedPhrase,
    /// Random tokens near words such as "API key" in prose.
    Entropy,
    /// Findings of an external recogniser; nothing here searches for them.
    Recognised,
}

/// The rule of each enabled family.
#[derive(Clone, Copy)]
pub(super) struct FamilyRules([Option<u16>; 64]);

impl Default for FamilyRules {
    fn default() -> Self {
        Self([None; 64])
    }
}

impl FamilyRules {
    /// The rule of a family, if it is enabled.
    #[inline]
    pub(super) fn rule(&self, family: RuleFamily) -> Option<u16> {
        self.0.get(family as usize).copied().flatten()
    }

    /// Sets the rule of a family.
    pub(super) fn set(&mut self, family: RuleFamily, rule: u16) {
        if let Some(slot) = self.0.get_mut(family as usize) {
            *slot = Some(rule);
        }
    }
}

impl RuleFamily {
    /// The family's bit in a set of families.
    pub(super) fn bit(self) -> u64 {
        1_u64.checked_shl(self as u32).unwrap_or(0)
    }
}

/// Required form of a key's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyValueForm {
    /// Anything except words for "no value".
    #[default]
    Any,
    /// A few words, without digits or characters of code, for keys that are about a person.
    Words,
    /// One to five words that may be a person's name.
    Name,
    /// Like [`Self::Name`], and the first word is a listed given name.
    Listed,
    /// A postal address: words with a digit, or several words.
    Street,
    /// Letters and digits, at least five (three if masked), one of them a digit.
    Code,
    /// At least three digits, and otherwise only separators.
    Digits,
    /// Twelve to nineteen digits, and otherwise only separators.
    Card,
    /// A date, or a year.
    Date,
    /// A telephone number.
    Phone,
    /// Contains an `@`.
    Email,
    /// An amount of money: digits and few letters (`72.000 EUR`).
    Amount,
    /// What a person has, believes or belongs to: words that are neither a state (`ok`) nor about a machine.
    Trait,
}

/// A redaction rule of your own: a pattern, keys, or both.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CustomRule {
    /// Placeholder without brackets, e.g. `ACCOUNT_ID`: capital letters, digits and `_`.
    pub name: String,
    /// Regular expression (linear time: no look-around, no back-references). With a group, only the first group is
    /// replaced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pattern: String,
    /// Keys of attributes, JSON and similar notations whose whole value is replaced: the last segment, in snake case.
    /// `*_account` also matches after other words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Words, one of which must be near a match of the pattern: at most 35 bytes before or 15 behind, on the same line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
    /// Words near which a match does not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_near: Vec<String>,
    /// Most bytes between a match and a word of `near` or `not_near`, on both sides, instead of 35 and 15.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<u8>,
    /// A further check: its name, e.g. `luhn` or `br_cpf`, or a check as data.
    #[serde(skip_serializing_if = "CustomValidator::is_none")]
    pub validator: CustomValidator,
    /// Patterns of values to leave in place. One must fit all of the private part: the group, if `pattern` has one,
    /// else the match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// The check of a user's rule.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum CustomValidator {
    /// A check of `config/rules`: `luhn`, or the name of an id, such as `br_cpf`.
    Name(String),
    /// A check as data.
    Check(IdCheck),
}

// By hand, because an error of an untagged enum would name no key.
impl<'de> Deserialize<'de> for CustomValidator {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormVisitor;
        impl<'de> serde::de::Visitor<'de> for FormVisitor {
            type Value = CustomValidator;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a check, such as `luhn`, or a check as data")
            }
            fn visit_str<E>(self, name: &str) -> Result<CustomValidator, E> {
                Ok(CustomValidator::Name(name.to_owned()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<CustomValidator, A::Error> {
                IdCheck::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(CustomValidator::Check)
            }
        }
        deserializer.deserialize_any(FormVisitor)
    }
}

impl Default for CustomValidator {
    fn default() -> Self {
        Self::Name(String::new())
    }
}

impl CustomValidator {
    /// Whether there is no check.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
