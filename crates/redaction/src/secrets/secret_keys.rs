//! Classifies keys: a password, another secret, a header with credentials, a cookie, or nothing. `api_key`, `apiKey`,
//! `API-KEY` and `aws.api.key.prod` are the same key; `max_tokens`, `token_endpoint` and `primary_key` name no secret.
//! A key is read from its last word, without allocation; all lists that contain a word are looked up at once, because a
//! word is checked against a dozen. `secret_value` checks values, `pairs` finds keys.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use serde::Deserialize;

use super::super::pairs::ends_with;
use super::value_facts::contains_any_case;
use crate::glued_words::FOREIGN_PASSWORD_WORDS;
use crate::rule::{FamilyRules, RuleFamily};
use crate::sets::{ByteSet, WordMap};
use crate::wordlists;

/// The kind of secret that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecretKind {
    /// A password; may be as short as four characters.
    Password,
    /// `pass` alone, which may also be a test result.
    Pass,
    /// A token, secret or key.
    Secret,
    /// `token` alone, which may also be a piece of text.
    Token,
    /// Rarely a secret, so the value must be random.
    Weak,
    /// `password_history` and similar: passwords, or data about them.
    Doubtful,
    /// A few digits.
    Pin,
    /// Credentials with a scheme: `Bearer …`.
    Header,
    /// `name=value` pairs.
    Cookie,
    /// A secret only as a parameter of a URL.
    Parameter,
}

/// Endings of words that name a password or another secret: `dbpassword`.
const PASSWORD_ENDS: &[&str] = &["password", "passwd", "passphrase", "pwd"];

/// Last words of keys that may describe a secret or hold it.
const DOUBTFUL: &str = "history settings on variable variables";

/// All words, each with the lists that contain it.
static WORDS: LazyLock<WordMap<u16>> = LazyLock::new(|| {
    let known = [
        (KeyWordList::Key, "key keys"),
        (KeyWordList::Token, "token tokens"),
        (KeyWordList::Pass, "pass"),
        (KeyWordList::Phrase, "phrase"),
        (KeyWordList::PhraseOf, "seed recovery pass secret"),
        (KeyWordList::Allow, "allow"),
        (KeyWordList::Password, wordlists::text("secrets.password_key_endings")),
        (KeyWordList::Secret, wordlists::text("secrets.secret_key_endings")),
        (KeyWordList::KeyOf, wordlists::text("secrets.secret_words_before_key")),
        (KeyWordList::KeyNot, wordlists::text("secrets.harmless_words_before_key")),
        (KeyWordList::TokenNot, wordlists::text("secrets.harmless_words_before_token")),
        (KeyWordList::About, wordlists::text("secrets.metadata_key_endings")),
        (KeyWordList::Doubtful, DOUBTFUL),
        (KeyWordList::Neutral, wordlists::text("secrets.ignored_key_endings")),
    ];
    build_word_map(known.into_iter().chain(FOREIGN_PASSWORD_WORDS.iter().map(|word| (KeyWordList::Password, *word))))
});

/// Words that have a meaning alone.
static STANDALONE: LazyLock<WordMap<SecretKind>> =
    LazyLock::new(|| WordMap::from_entries(standalone_words().collect()));

/// The words of the table, each with its kind.
pub(crate) fn standalone_words() -> impl Iterator<Item = (&'static str, SecretKind)> {
    wordlists::words_of_rows("secrets.key_kinds", wordlists::variant)
}

/// The lists that contain a word, as bits.
fn lists_of_word(word: &[u8]) -> u16 {
    WORDS.get(word).unwrap_or(0)
}

/// ASCII except letters and digits; and ASCII except letters.
static SEPARATORS: ByteSet = ByteSet::new(b"").and_alnum().and_non_ascii().complement();
static NOT_LETTERS: ByteSet = ByteSet::new(LETTERS).and_non_ascii().complement();
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The last word of `key`, and the text before it. Camel case separates words; trailing digits are ignored.
fn split_last_word(key: &[u8]) -> (&[u8], &[u8]) {
    let end = key.len() - NOT_LETTERS.count_trailing(key);
    let key = key.get(..end).unwrap_or_default();
    let mut start = 0;
    // The byte after the current one; at the end, any byte but a lower-case letter
    let mut next = b'_';
    for (at, byte) in key.iter().enumerate().rev() {
        if SEPARATORS.contains(*byte) {
            start = at + 1;
            break;
        }
        let before = at.checked_sub(1).and_then(|at| key.get(at)).copied().unwrap_or(b'_');
        let begins_word = byte.is_ascii_uppercase() && (!before.is_ascii_uppercase() || next.is_ascii_lowercase());
        if begins_word || SEPARATORS.contains(before) {
            start = at;
            break;
        }
        next = *byte;
    }
    key.split_at_checked(start).unwrap_or((b"", key))
}

fn ends_in(word: &[u8], list: &[&str]) -> bool {
    // All endings end in one of these letters
    let is_possible = word.len() > 4 && word.last().is_some_and(|last| b"dtyne".contains(&(last | 0x20)));
    is_possible && list.iter().any(|end| ends_with(word, end.as_bytes()))
}

/// A cache of classified keys, because the same ones occur again and again in a text.
#[derive(Default)]
pub(super) struct KeyKindCache {
    kinds: [(Range<usize>, Option<SecretKind>); 4],
}

impl KeyKindCache {
    /// Like [`classify_key`], for a key in `text`.
    pub(super) fn classify(&mut self, text: &[u8], key: Range<usize>) -> Option<SecretKind> {
        let content = text.get(key.clone()).unwrap_or_default();
        let slot = usize::from(content.first().copied().unwrap_or_default() ^ content.len() as u8) % 4;
        let Some((cached_key, cached_kind)) = self.kinds.get_mut(slot) else { return classify_key(content) };
        if text.get(cached_key.clone()) != Some(content) {
            (*cached_key, *cached_kind) = (key, classify_key(content));
        }
        *cached_kind
    }
}

/// Classifies a key; `None` if it names no secret.
pub(super) fn classify_key(key: &[u8]) -> Option<SecretKind> {
    let (mut rest, mut word) = split_last_word(key);
    let (mut is_weak, mut is_doubtful) = (false, false);
    for _ in 0..6 {
        let lists = lists_of_word(word);
        if let Some(kind) = classify_word(rest, word, lists) {
            return if is_weak && kind == SecretKind::Token {
                Some(SecretKind::Secret)
            } else {
                Some(kind).filter(|_| !word.is_empty())
            };
        }
        if KeyWordList::About.is_in(lists) || rest.is_empty() {
            // The secret id of an AppRole; other ids name secrets and are not random
            let is_role_secret =
                word.eq_ignore_ascii_case(b"id") && split_last_word(rest).1.eq_ignore_ascii_case(b"secret");
            return is_role_secret.then_some(SecretKind::Weak);
        }
        if !KeyWordList::Neutral.is_in(lists) {
            is_doubtful = KeyWordList::Doubtful.is_in(lists);
            break;
        }
        is_weak = true;
        (rest, word) = split_last_word(rest);
    }
    // `TOKEN_GITHUB`, `secret_for_x`: a word for a secret before other words
    for _ in 0..6 {
        if rest.is_empty() {
            return None;
        }
        (rest, word) = split_last_word(rest);
        match classify_word(rest, word, lists_of_word(word)) {
            Some(SecretKind::Password) if is_doubtful => return Some(SecretKind::Doubtful),
            Some(SecretKind::Password) => return Some(SecretKind::Pass),
            Some(SecretKind::Secret | SecretKind::Token) => return Some(SecretKind::Weak),
            _ => {}
        }
    }
    None
}

/// The kind of the word `key`, given the word before it.
fn classify_by_word_before(before: &[u8]) -> SecretKind {
    if before.is_empty() {
        SecretKind::Parameter
    } else if KeyWordList::KeyOf.is_in(lists_of_word(before)) {
        SecretKind::Secret
    } else {
        SecretKind::Weak
    }
}

/// The kind of a key's last word; the most frequent words are checked first.
fn classify_word(rest: &[u8], last_word: &[u8], lists: u16) -> Option<SecretKind> {
    let before = || split_last_word(rest).1;
    let is_in = |list: KeyWordList| list.is_in(lists);
    // `publicToken`, `issuerKeyHash`: in code, not in settings, these names mean non-secrets
    let is_public = |word: &[u8]| word.eq_ignore_ascii_case(b"public") || word.eq_ignore_ascii_case(b"issuer");
    if (is_in(KeyWordList::Key) || is_in(KeyWordList::Token))
        && rest.last().is_some_and(u8::is_ascii_alphabetic)
        && is_public(before())
    {
        return None;
    }
    if is_in(KeyWordList::Key) {
        let before = before();
        return (!KeyWordList::KeyNot.is_in(lists_of_word(before))).then(|| classify_by_word_before(before));
    }
    if is_in(KeyWordList::Token) {
        let kind = if rest.is_empty() { SecretKind::Token } else { SecretKind::Secret };
        // The public key token of a .NET assembly
        let (before_key, before) = split_last_word(rest);
        if before.eq_ignore_ascii_case(b"key") && split_last_word(before_key).1.eq_ignore_ascii_case(b"public") {
            return None;
        }
        return (!KeyWordList::TokenNot.is_in(lists_of_word(before))).then_some(kind);
    }
    if is_in(KeyWordList::Password) || ends_in(last_word, PASSWORD_ENDS) {
        return Some(SecretKind::Password);
    }
    if is_in(KeyWordList::Pass) {
        return Some(if rest.is_empty() { SecretKind::Pass } else { SecretKind::Password });
    }
    if is_in(KeyWordList::Secret) || ends_in(last_word, word_list!("secrets.joined_secret_endings")) {
        return (!KeyWordList::Allow.is_in(lists_of_word(before()))).then_some(SecretKind::Secret);
    }
    if is_in(KeyWordList::Phrase) {
        return KeyWordList::PhraseOf.is_in(lists_of_word(before())).then_some(SecretKind::Password);
    }
    // `mot de passe`
    if last_word.eq_ignore_ascii_case(b"passe") && before().eq_ignore_ascii_case(b"de") {
        return Some(SecretKind::Password);
    }
    STANDALONE.get(last_word)
}

impl FamilyRules {
    /// The rule for a key's value.
    pub(super) fn rule_for_key(&self, kind: SecretKind, key: &[u8]) -> Option<u16> {
        let has = |word: &[u8]| contains_any_case(key, word);
        let is_aws = (has(b"aws") || (has(b"access") && has(b"secret"))) && !has(b"session");
        let is_azure = has(b"accountkey") || has(b"sharedaccess") || has(b"azure");
        let value_rule = self.rule(RuleFamily::SecretValue);
        match kind {
            SecretKind::Password | SecretKind::Pass | SecretKind::Pin | SecretKind::Doubtful => {
                self.rule(RuleFamily::Password)
            }
            _ if is_aws && has(b"secret") => self.rule(RuleFamily::AwsSecret).or(value_rule),
            _ if is_azure => self.rule(RuleFamily::AzureKey).or(value_rule),
            _ => value_rule,
        }
    }

    /// Whether any rule for passwords, secrets, provider values or key blocks is on.
    pub(super) fn has_secret_rules(&self) -> bool {
        use RuleFamily::{KeyBlock, Password, ProviderValue, SecretValue};
        [Password, SecretValue, ProviderValue, KeyBlock].into_iter().any(|family| self.rule(family).is_some())
    }
}

/// A list of words, used as a bit.
#[derive(Clone, Copy)]
enum KeyWordList {
    Key,
    Token,
    Pass,
    Phrase,
    /// Words before `phrase` that make it a secret.
    PhraseOf,
    /// `allow`: a key for permissions is a switch.
    Allow,
    Password,
    Secret,
    /// Words before `key` that make it a secret.
    KeyOf,
    /// Words before `key` that make it harmless.
    KeyNot,
    /// Words before `token` that make it harmless.
    TokenNot,
    /// Last words of keys that only describe a secret.
    About,
    /// Last words of keys that describe a secret or hold it.
    Doubtful,
    /// Last words that add nothing.
    Neutral,
}

impl KeyWordList {
    /// Whether the list is one of `lists`.
    fn is_in(self, lists: u16) -> bool {
        lists >> (self as u16) & 1 == 1
    }
}

/// The words of all lists, each with the lists that contain it.
fn build_word_map(lists: impl Iterator<Item = (KeyWordList, &'static str)>) -> WordMap<u16> {
    let mut words: BTreeMap<&'static str, u16> = BTreeMap::new();
    for (list, text) in lists {
        text.split_ascii_whitespace().for_each(|word| *words.entry(word).or_default() |= 1 << (list as u16));
    }
    WordMap::from_entries(words.into_iter().collect())
}
