//! Classifies keys: a password, another secret, a header with credentials, a cookie, or nothing. `api_key`, `apiKey`,
//! `API-KEY` and `aws.api.key.prod` are the same key; `max_tokens`, `token_endpoint` and `primary_key` name no secret.
//! A key is read from its last word, without allocation. `values` checks values, `pairs` finds keys.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::{Read, ends_with};
use super::words::{List, lexicon};
use crate::glued::SCRIPTS;
use crate::sets::{Bytes, Map};
use crate::wordlists;

/// The kind of secret that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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
static SECRET_ENDS: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("secrets.secret_endings").collect());

/// Last words of keys that describe or hold a secret; only random values count.
const DOUBTFUL: &str = "history settings on variable variables";

/// All words, each with the lists that contain it.
static WORDS: LazyLock<Map<u16>> = LazyLock::new(|| {
    let known = [
        (List::Key, "key keys"),
        (List::Token, "token tokens"),
        (List::Pass, "pass"),
        (List::Phrase, "phrase"),
        (List::PhraseOf, "seed recovery pass secret"),
        (List::Allow, "allow"),
        (List::Password, wordlists::text("secrets.passwords")),
        (List::Secret, wordlists::text("secrets.secrets")),
        (List::KeyOf, wordlists::text("secrets.key_of")),
        (List::KeyNot, wordlists::text("secrets.key_not")),
        (List::TokenNot, wordlists::text("secrets.token_not")),
        (List::About, wordlists::text("secrets.about")),
        (List::Doubtful, DOUBTFUL),
        (List::Neutral, wordlists::text("secrets.neutral")),
    ];
    lexicon(known.into_iter().chain(SCRIPTS.iter().map(|word| (List::Password, *word))))
});

/// Words that have a meaning alone.
static ALONE: LazyLock<Map<Kind>> = LazyLock::new(|| Map::mapped(alone().collect()));

/// The words of the table, each with its kind.
pub(super) fn alone() -> impl Iterator<Item = (&'static str, Kind)> {
    let rows = wordlists::rows("secrets.key_kinds").filter_map(|(kind, words)| Some((Kind::named(kind)?, words)));
    rows.flat_map(|(kind, words)| words.split(' ').map(move |word| (word, kind)))
}

impl Kind {
    /// Looks up the name used in the table.
    fn named(name: &str) -> Option<Self> {
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
fn lists(word: &[u8]) -> u16 {
    WORDS.get(word).unwrap_or(0)
}

/// ASCII except letters and digits; and the same with digits.
static SEPARATOR: Bytes = Bytes::of(b"").and_alnum().and_high().others();
static DULL: Bytes = Bytes::of(LETTERS).and_high().others();
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The last word of `key`, and the text before it. Camel case separates words; trailing digits are ignored.
fn split_last(key: &[u8]) -> (&[u8], &[u8]) {
    let end = key.len() - DULL.trailing(key);
    let key = key.get(..end).unwrap_or_default();
    let mut start = 0;
    // The byte after the current one; at the end, not a lower-case letter
    let mut behind = b'_';
    for (at, byte) in key.iter().enumerate().rev() {
        if SEPARATOR.has(*byte) {
            start = at + 1;
            break;
        }
        let before = at.checked_sub(1).and_then(|at| key.get(at)).copied().unwrap_or(b'_');
        let border = byte.is_ascii_uppercase() && (!before.is_ascii_uppercase() || behind.is_ascii_lowercase());
        if border || SEPARATOR.has(before) {
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
pub(super) struct Asked {
    kinds: [(Range<usize>, Option<Kind>); 4],
    /// Cache for reading their values.
    pub(super) read: Read,
    /// A range without quotes, as far as calls were read.
    pub(super) unquoted: Range<usize>,
}

impl Asked {
    /// Like [`kind`], for a key in `text`.
    pub(super) fn kind(&mut self, text: &[u8], key: Range<usize>) -> Option<Kind> {
        let found = text.get(key.clone()).unwrap_or_default();
        let slot = usize::from(found.first().copied().unwrap_or_default() ^ found.len() as u8) % 4;
        let Some((known, announced)) = self.kinds.get_mut(slot) else { return kind(found) };
        if text.get(known.clone()) != Some(found) {
            (*known, *announced) = (key, kind(found));
        }
        *announced
    }
}

/// Classifies a key; `None` if it names no secret.
pub(super) fn kind(key: &[u8]) -> Option<Kind> {
    let (mut rest, mut last) = split_last(key);
    let (mut weak, mut doubtful) = (false, false);
    for _ in 0..6 {
        let lists = lists(last);
        if let Some(kind) = of_word(rest, last, lists) {
            return if weak && kind == Kind::Token {
                Some(Kind::Secret)
            } else {
                Some(kind).filter(|_| !last.is_empty())
            };
        }
        if List::About.is_in(lists) || rest.is_empty() {
            // The secret id of an AppRole; other ids name secrets and are not random
            let role = last.eq_ignore_ascii_case(b"id") && split_last(rest).1.eq_ignore_ascii_case(b"secret");
            return role.then_some(Kind::Weak);
        }
        if !List::Neutral.is_in(lists) {
            doubtful = List::Doubtful.is_in(lists);
            break;
        }
        weak = true;
        (rest, last) = split_last(rest);
    }
    // `TOKEN_GITHUB`, `secret_for_x`: a word for a secret before other words
    for _ in 0..6 {
        if rest.is_empty() {
            return None;
        }
        (rest, last) = split_last(rest);
        match of_word(rest, last, lists(last)) {
            Some(Kind::Password) if doubtful => return Some(Kind::Doubtful),
            Some(Kind::Password) => return Some(Kind::Pass),
            Some(Kind::Secret | Kind::Token) => return Some(Kind::Weak),
            _ => {}
        }
    }
    None
}

/// The kind of `key`, given the word before it.
fn of_key(before: &[u8]) -> Kind {
    match lists(before) {
        _ if before.is_empty() => Kind::Parameter,
        lists if List::KeyOf.is_in(lists) => Kind::Secret,
        _ => Kind::Weak,
    }
}

/// The kind of a key's last word; the most frequent words are checked first.
fn of_word(rest: &[u8], last: &[u8], lists_of: u16) -> Option<Kind> {
    let before = || split_last(rest).1;
    let is = |list: List| list.is_in(lists_of);
    // `publicToken`, `issuerKeyHash`: in code, not in settings, these names mean non-secrets
    let shown = |word: &[u8]| word.eq_ignore_ascii_case(b"public") || word.eq_ignore_ascii_case(b"issuer");
    if (is(List::Key) || is(List::Token)) && rest.last().is_some_and(u8::is_ascii_alphabetic) && shown(before()) {
        return None;
    }
    if is(List::Key) {
        let before = before();
        return (!List::KeyNot.is_in(lists(before))).then(|| of_key(before));
    }
    if is(List::Token) {
        let kind = if rest.is_empty() { Kind::Token } else { Kind::Secret };
        // The public key token of a .NET assembly
        let (names, before) = split_last(rest);
        if before.eq_ignore_ascii_case(b"key") && split_last(names).1.eq_ignore_ascii_case(b"public") {
            return None;
        }
        return (!List::TokenNot.is_in(lists(before))).then_some(kind);
    }
    if is(List::Password) || ends_in(last, PASSWORD_ENDS) {
        return Some(Kind::Password);
    }
    if is(List::Pass) {
        return Some(if rest.is_empty() { Kind::Pass } else { Kind::Password });
    }
    if is(List::Secret) || ends_in(last, &SECRET_ENDS) {
        return (!List::Allow.is_in(lists(before()))).then_some(Kind::Secret);
    }
    if is(List::Phrase) {
        return List::PhraseOf.is_in(lists(before())).then_some(Kind::Password);
    }
    // `mot de passe`
    if last.eq_ignore_ascii_case(b"passe") && before().eq_ignore_ascii_case(b"de") {
        return Some(Kind::Password);
    }
    ALONE.get(last)
}
