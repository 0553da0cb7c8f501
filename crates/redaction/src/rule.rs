//! **What**: a rule as data. **Not here**: compiling (`compile`), the checks behind `validator` (`validate`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validate::Validator;

/// How sure a rule is: the order in which overlapping hits win, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Written by the user.
    #[default]
    Custom,
    /// The value of a key that says what it is.
    Key,
    /// A credential with a shape of its own.
    Secret,
    /// An id whose checksum was verified.
    Checksum,
    /// A value that a word before it announces.
    Cued,
    /// Shape alone.
    Shape,
    /// A name or postal address.
    Name,
    /// Named by an external recogniser.
    Recognised,
    /// Randomness alone, beside a word.
    Entropy,
}

impl Class {
    /// In words, for whoever asks why.
    pub fn why(self) -> &'static str {
        match self {
            Self::Custom => "a rule of the configuration",
            Self::Key => "its key says what it is",
            Self::Secret => "the shape of a credential",
            Self::Checksum => "its checksum is right",
            Self::Cued => "a word before it announces it",
            Self::Shape => "its shape",
            Self::Name => "a name or address by what stands around it",
            Self::Recognised => "the external recogniser named it",
            Self::Entropy => "random beside a word that tells",
        }
    }
}

/// What must stand beside a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// Anything.
    #[default]
    None,
    /// No letter, digit or `_` on either side.
    Word,
    /// No letter or digit before; anything after (a cut token still leaks).
    Token,
    /// As `Word`, and no `.`, `-`, `/` or `:` that goes on to another digit.
    Number,
    /// As `Word`, and no `.` or `-` that goes on to another digit: a port or path may follow.
    Address,
}

/// One rule of `config/rules/*.yaml`: either a `pattern`, or the name of a `family` that is code.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleData {
    /// Unique name; metric label.
    pub name: String,
    /// `EMAIL` for `[EMAIL]`.
    pub placeholder: String,
    /// Its class.
    pub class: Class,
    /// Used unless the configuration says otherwise.
    #[serde(default = "yes")]
    pub on: bool,
    /// Byte-oriented pattern (no look-around). With a group, the first group is what is private. One that begins with
    /// a word of two letters or more is tried where that word begins, and nowhere else.
    #[serde(default)]
    pub pattern: String,
    /// What is found by code.
    #[serde(default)]
    pub family: Option<Family>,
    /// Keys (of JSON and its likes, attributes, columns) whose whole value is private: last segment, in snake case;
    /// plurals are meant too. `*_phone` counts also behind other words (`home_phone`).
    #[serde(default)]
    pub keys: Vec<String>,
    /// What the value of a key must look like.
    #[serde(default)]
    pub value: KeyValue,
    /// The keys count only where one of these stands beside or above them, or before them in one key.
    #[serde(default)]
    pub beside: Vec<String>,
    /// They do not count where one of these does.
    #[serde(default)]
    pub against: Vec<String>,
    /// Words that announce what a family looks for.
    #[serde(default)]
    pub cues: Vec<String>,
    /// Words (in lower case; those that begin with a capital are found so alone) one of which must stand near a match:
    /// 35 bytes before or 15 behind, on its line. A family of numbers decides for itself how near. A blank in it also
    /// stands for `_`, `-` and nothing.
    #[serde(default)]
    pub context: Vec<String>,
    /// Words that count as context of a family of numbers only in prose, not within keys: `call` is no part of
    /// `call_id`.
    #[serde(default)]
    pub prose: Vec<String>,
    /// What must stand beside the match.
    #[serde(default)]
    pub bounds: Bounds,
    /// A further check by name.
    #[serde(default)]
    pub validator: Validator,
    /// Matches that are not private after all: patterns that must fit the whole match.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Example texts; each private part stands in «…». Each is a test; a gateway does not keep them.
    #[cfg_attr(test, serde(default))]
    #[cfg_attr(not(test), serde(default, deserialize_with = "skipped"))]
    pub hits: Vec<String>,
    /// Look-alikes that must stay. Each is a test.
    #[cfg_attr(test, serde(default))]
    #[cfg_attr(not(test), serde(default, deserialize_with = "skipped"))]
    pub misses: Vec<String>,
}

/// Reads examples without keeping them: they are half of the rule files, and an idle gateway would hold their memory.
#[cfg(not(test))]
fn skipped<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| Vec::new())
}

fn yes() -> bool {
    true
}

/// What is found by code rather than by a pattern. Each row of a family is one kind of finding of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Addresses of RFC 5321.
    Email,
    /// Values of `keys`.
    Keys,
    /// Persons' names behind words that leave no doubt (`my name is`, `Mr.`).
    NameIntroduced,
    /// Persons' names behind words that may announce other things too (`I am`, `named`).
    NameCued,
    /// Persons' names behind a greeting.
    NameGreeted,
    /// Persons' names below a closing formula.
    NameSigned,
    /// Persons' names at their place in a line of a record (vCard, HL7).
    NameRecord,
    /// Persons' names beside an e-mail address.
    NameMail,
    /// Persons' names that were found elsewhere in the same text.
    NameCarried,
    /// A given name of the list before another name.
    NameListed,
    /// Persons' names in Chinese, Japanese and Korean beside their titles.
    NameEastern,
    /// House number and street, in any order.
    Street,
    /// Post office boxes.
    PostBox,
    /// Phone numbers with a country code.
    PhoneInternational,
    /// Phone numbers in the shape of a national plan.
    PhoneNational,
    /// Phone numbers that a word announces.
    PhoneCued,
    /// Payment cards by Luhn and issuer.
    Card,
    /// Payment cards that a word announces.
    CardCued,
    /// Card verification codes.
    CardCode,
    /// Expiry dates of cards.
    CardExpiry,
    /// IBANs by country, length and mod 97.
    Iban,
    /// Payment addresses of India: `name@okaxis`.
    Upi,
    /// One-time codes.
    OneTimeCode,
    /// Bank accounts, members, customers, policies.
    Account,
    /// Business identifier codes of banks.
    Swift,
    /// Routing numbers of US banks.
    Routing,
    /// Wallets of crypto currencies.
    Wallet,
    /// US social security numbers 3-2-4.
    Ssn,
    /// The same that a word announces.
    SsnCued,
    /// Tax ids whose shape and check say so.
    TaxShape,
    /// Tax ids that a word announces.
    TaxCued,
    /// National ids whose shape and check say so.
    NationalShape,
    /// National ids that a word announces.
    NationalCued,
    /// Passports, also their machine readable lines.
    Passport,
    /// Driving licences.
    License,
    /// Medical ids whose shape and check say so.
    MedicalShape,
    /// Medical ids that a word announces.
    MedicalCued,
    /// Dates of birth.
    Birth,
    /// Public IPv4 addresses.
    Ipv4,
    /// Public IPv6 addresses.
    Ipv6,
    /// Hardware addresses.
    Mac,
    /// IMEIs and advertising ids.
    Device,
    /// Vehicle identification numbers by check digit.
    Vin,
    /// Vehicles that a word announces: VIN, plate.
    VehicleCued,
    /// Values of keys that say password.
    Password,
    /// Values of keys that say secret, token or key.
    SecretValue,
    /// Credentials of `Authorization` headers.
    HeaderCredentials,
    /// `user:password`, in base64 or behind `-u`.
    BasicCredentials,
    /// Values of cookies.
    Cookie,
    /// Secrets of AWS beside a key id or their name.
    AwsSecret,
    /// Keys and client secrets of Azure.
    AzureKey,
    /// `user:password@` of web addresses.
    WebUserinfo,
    /// `user:password@` of other URLs.
    Userinfo,
    /// Private keys in PEM, OpenPGP and PuTTY form.
    KeyBlock,
    /// Random values beside a provider's name.
    ProviderValue,
    /// `123456789:AA…`.
    TelegramToken,
    /// 32 hex digits and `-us1`.
    MailchimpKey,
    /// Three parts, the first of which begins with `M`, `N` or `O`.
    DiscordToken,
    /// Hashes of passwords as crypt writes them.
    PasswordHash,
    /// Webhooks whose host has a name of the customer's.
    HostedWebhook,
    /// Words that a wallet's keys are made from.
    SeedPhrase,
    /// Random tokens beside words such as "API key" in prose.
    Entropy,
    /// What an external recogniser names; searched for by nobody here.
    Recognised,
}

/// The rule of each family that is on.
#[derive(Clone, Copy)]
pub(super) struct Families([Option<u16>; 64]);

impl Default for Families {
    fn default() -> Self {
        Self([None; 64])
    }
}

impl Families {
    /// The rule of a family, if it is on.
    #[inline]
    pub(super) fn rule(&self, family: Family) -> Option<u16> {
        self.0.get(family as usize).copied().flatten()
    }

    /// Says which rule a family has.
    pub(super) fn set(&mut self, family: Family, rule: u16) {
        if let Some(slot) = self.0.get_mut(family as usize) {
            *slot = Some(rule);
        }
    }
}

impl Family {
    /// Its bit in a set of families.
    pub(super) fn bit(self) -> u64 {
        1_u64.checked_shl(self as u32).unwrap_or(0)
    }
}

/// What the value of a key must look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyValue {
    /// Anything but what says "no value".
    #[default]
    Any,
    /// A few words, with no digit or sign of code: the key is about a person.
    Words,
    /// One to five words that a person's name may have.
    Name,
    /// As `Name`, and the first is a given name of the list.
    Listed,
    /// A postal address: words with a digit, or several words.
    Street,
    /// At least four digits, or letters and digits.
    Code,
    /// At least three digits and nothing but them and signs.
    Digits,
    /// Twelve to nineteen digits and nothing but them and signs.
    Card,
    /// A date, or a year.
    Date,
    /// A telephone number.
    Phone,
    /// Holds an `@`.
    Email,
}

/// A rule in a user's configuration: a pattern, keys, or both.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Custom {
    /// Placeholder without brackets, e.g. `ACCOUNT_ID`: capital letters, digits and `_`.
    pub name: String,
    /// Regular expression (linear time: no look-around, no back-references). With a group, the first group goes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pattern: String,
    /// Keys of attributes, JSON and its likes whose whole value goes: last segment, in snake case; `*_account` also
    /// behind other words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Words one of which must stand near a match of the pattern: 35 bytes before or 15 behind, on its line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
    /// A further check by name, as `config/rules` use them, e.g. `credit_card`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub validator: String,
    /// Matches that stay: patterns that must fit the whole match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}
