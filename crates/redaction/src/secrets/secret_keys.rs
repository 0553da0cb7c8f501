//! Classifies keys: a password, another secret, a header with credentials, a cookie, or nothing. `api_key`, `apiKey`,
//! `API-KEY` and `aws.api.key.prod` are the same key; `max_tokens`, `token_endpoint` and `primary_key` name no secret.
//! A key is read from its last word, without allocation. `value_checks` checks values, `pairs` finds keys.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::{PairReadCache, ends_with};
use super::key_word_lists::{KeyWordList, build_word_map};
use crate::glued_words::SCRIPTS;
use crate::sets::{ByteSet, WordMap};
use crate::wordlists;

/// The kind of secret that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretKind {
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

/// Endings of glued words with the same meaning.
const PASSWORD_ENDS: &[&str] = &["password", "passwd", "passphrase", "pwd"];
static SECRET_ENDS: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("secrets.joined_secret_endings").collect());

/// Last words of keys that describe or hold a secret; only random values count.
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
    build_word_map(known.into_iter().chain(SCRIPTS.iter().map(|word| (KeyWordList::Password, *word))))
});

/// Words that have a meaning alone.
static STANDALONE: LazyLock<WordMap<SecretKind>> =
    LazyLock::new(|| WordMap::from_entries(standalone_words().collect()));

/// The words of the table, each with its kind.
pub(super) fn standalone_words() -> impl Iterator<Item = (&'static str, SecretKind)> {
    let rows =
        wordlists::rows("secrets.key_kinds").filter_map(|(kind, words)| Some((SecretKind::from_name(kind)?, words)));
    rows.flat_map(|(kind, words)| words.split(' ').map(move |word| (word, kind)))
}

impl SecretKind {
    /// Looks up the name used in the table.
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "header" => Self::Header,
            "weak" => Self::Weak,
            "cookie" => Self::Cookie,
            "pin" => Self::Pin,
            "parameter" => Self::Parameter,
            _ => return None,
        })
    }
}

/// The lists that contain a word, as bits.
fn lists_of_word(word: &[u8]) -> u16 {
    WORDS.get(word).unwrap_or(0)
}

/// ASCII except letters and digits; and the same with digits.
static SEPARATOR: ByteSet = ByteSet::new(b"").and_alnum().and_non_ascii().complement();
static DULL: ByteSet = ByteSet::new(LETTERS).and_non_ascii().complement();
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The last word of `key`, and the text before it. Camel case separates words; trailing digits are ignored.
fn split_last_word(key: &[u8]) -> (&[u8], &[u8]) {
    let end = key.len() - DULL.count_trailing(key);
    let key = key.get(..end).unwrap_or_default();
    let mut start = 0;
    // The byte after the current one; at the end, not a lower-case letter
    let mut behind = b'_';
    for (at, byte) in key.iter().enumerate().rev() {
        if SEPARATOR.contains(*byte) {
            start = at + 1;
            break;
        }
        let before = at.checked_sub(1).and_then(|at| key.get(at)).copied().unwrap_or(b'_');
        let border = byte.is_ascii_uppercase() && (!before.is_ascii_uppercase() || behind.is_ascii_lowercase());
        if border || SEPARATOR.contains(before) {
            start = at;
            break;
        }
        behind = *byte;
    }
    key.split_at_checked(start).unwrap_or((b"", key))
}

fn ends_in(word: &[u8], list: &[&str]) -> bool {
    // All endings end in one of these letters
    let may = word.len() > 4 && word.last().is_some_and(|last| b"dtyne".contains(&(last | 0x20)));
    may && list.iter().any(|end| ends_with(word, end.as_bytes()))
}

/// A cache of classified keys, because the same ones occur again and again in a text.
#[derive(Default)]
pub(super) struct KeyKindCache {
    kinds: [(Range<usize>, Option<SecretKind>); 4],
    /// Cache for reading their values.
    pub(super) read: PairReadCache,
    /// A range without quotes, as far as calls were read.
    pub(super) unquoted: Range<usize>,
}

impl KeyKindCache {
    /// Like [`kind`], for a key in `text`.
    pub(super) fn classify(&mut self, text: &[u8], key: Range<usize>) -> Option<SecretKind> {
        let found = text.get(key.clone()).unwrap_or_default();
        let slot = usize::from(found.first().copied().unwrap_or_default() ^ found.len() as u8) % 4;
        let Some((known, announced)) = self.kinds.get_mut(slot) else { return classify_key(found) };
        if text.get(known.clone()) != Some(found) {
            (*known, *announced) = (key, classify_key(found));
        }
        *announced
    }
}

/// Classifies a key; `None` if it names no secret.
pub(super) fn classify_key(key: &[u8]) -> Option<SecretKind> {
    let (mut rest, mut last) = split_last_word(key);
    let (mut weak, mut doubtful) = (false, false);
    for _ in 0..6 {
        let lists = lists_of_word(last);
        if let Some(kind) = classify_word(rest, last, lists) {
            return if weak && kind == SecretKind::Token {
                Some(SecretKind::Secret)
            } else {
                Some(kind).filter(|_| !last.is_empty())
            };
        }
        if KeyWordList::About.is_in(lists) || rest.is_empty() {
            // The secret id of an AppRole; other ids name secrets and are not random
            let role = last.eq_ignore_ascii_case(b"id") && split_last_word(rest).1.eq_ignore_ascii_case(b"secret");
            return role.then_some(SecretKind::Weak);
        }
        if !KeyWordList::Neutral.is_in(lists) {
            doubtful = KeyWordList::Doubtful.is_in(lists);
            break;
        }
        weak = true;
        (rest, last) = split_last_word(rest);
    }
    // `TOKEN_GITHUB`, `secret_for_x`: a word for a secret before other words
    for _ in 0..6 {
        if rest.is_empty() {
            return None;
        }
        (rest, last) = split_last_word(rest);
        match classify_word(rest, last, lists_of_word(last)) {
            Some(SecretKind::Password) if doubtful => return Some(SecretKind::Doubtful),
            Some(SecretKind::Password) => return Some(SecretKind::Pass),
            Some(SecretKind::Secret | SecretKind::Token) => return Some(SecretKind::Weak),
            _ => {}
        }
    }
    None
}

/// The kind of `key`, given the word before it.
fn classify_by_word_before(before: &[u8]) -> SecretKind {
    match lists_of_word(before) {
        _ if before.is_empty() => SecretKind::Parameter,
        lists if KeyWordList::KeyOf.is_in(lists) => SecretKind::Secret,
        _ => SecretKind::Weak,
    }
}

/// The kind of a key's last word; the most frequent words are checked first.
fn classify_word(rest: &[u8], last: &[u8], lists_of: u16) -> Option<SecretKind> {
    let before = || split_last_word(rest).1;
    let is = |list: KeyWordList| list.is_in(lists_of);
    // `publicToken`, `issuerKeyHash`: in code, not in settings, these names mean non-secrets
    let shown = |word: &[u8]| word.eq_ignore_ascii_case(b"public") || word.eq_ignore_ascii_case(b"issuer");
    if (is(KeyWordList::Key) || is(KeyWordList::Token))
        && rest.last().is_some_and(u8::is_ascii_alphabetic)
        && shown(before())
    {
        return None;
    }
    if is(KeyWordList::Key) {
        let before = before();
        return (!KeyWordList::KeyNot.is_in(lists_of_word(before))).then(|| classify_by_word_before(before));
    }
    if is(KeyWordList::Token) {
        let kind = if rest.is_empty() { SecretKind::Token } else { SecretKind::Secret };
        // The public key token of a .NET assembly
        let (names, before) = split_last_word(rest);
        if before.eq_ignore_ascii_case(b"key") && split_last_word(names).1.eq_ignore_ascii_case(b"public") {
            return None;
        }
        return (!KeyWordList::TokenNot.is_in(lists_of_word(before))).then_some(kind);
    }
    if is(KeyWordList::Password) || ends_in(last, PASSWORD_ENDS) {
        return Some(SecretKind::Password);
    }
    if is(KeyWordList::Pass) {
        return Some(if rest.is_empty() { SecretKind::Pass } else { SecretKind::Password });
    }
    if is(KeyWordList::Secret) || ends_in(last, &SECRET_ENDS) {
        return (!KeyWordList::Allow.is_in(lists_of_word(before()))).then_some(SecretKind::Secret);
    }
    if is(KeyWordList::Phrase) {
        return KeyWordList::PhraseOf.is_in(lists_of_word(before())).then_some(SecretKind::Password);
    }
    // `mot de passe`
    if last.eq_ignore_ascii_case(b"passe") && before().eq_ignore_ascii_case(b"de") {
        return Some(SecretKind::Password);
    }
    STANDALONE.get(last)
}
