//! [`ValueFacts`]: properties of a value, without its key or notation: words or random, a path, a sentence, the name of
//! a secret. `secret_value` decides with them.

use super::byte_counts::ByteCounts;
use super::word_score::{self, WordScore};
use crate::sets::ByteSet;

/// Properties of a value.
pub(super) struct ValueFacts<'v> {
    pub(super) value: &'v [u8],
    pub(super) counts: ByteCounts,
    score: WordScore,
}

impl<'v> ValueFacts<'v> {
    pub(super) fn of(value: &'v [u8]) -> Self {
        Self { value, counts: ByteCounts::count(value), score: WordScore::of(value) }
    }

    /// Whether the value is a token of at least sixteen bytes, eight different ones, two digits or capitals, and eight
    /// unusual trigrams, that is neither words nor a path.
    pub(super) fn is_random(&self) -> bool {
        static IN_TOKEN: ByteSet = ByteSet::new(b"-_.+/=~:!@#%^*$&?|").and_alnum();
        self.counts.len >= 16
            && self.counts.distinct >= 8
            && self.score.unusual() >= 8
            && self.counts.digits + self.counts.upper >= 2
            && !self.score.is_words()
            && self.value.iter().all(|byte| IN_TOKEN.contains(*byte))
            && !is_path(self.value)
    }

    /// Whether all four kinds of characters are in one word, as rules for passwords demand.
    pub(super) fn is_strong(&self) -> bool {
        self.counts.kind_count() == 4 && self.counts.marks > self.counts.joints && self.counts.blanks == 0
    }

    /// Whether there are digits among letters, or marks that do not join words.
    pub(super) fn is_mixed(&self) -> bool {
        self.has_digits_and_letters() || self.counts.marks > self.counts.joints
    }

    pub(super) fn has_digits_and_letters(&self) -> bool {
        self.counts.digits > 0 && self.counts.letters() > 0
    }

    pub(super) fn is_words(&self) -> bool {
        self.score.is_words()
    }

    /// Whether the value is a name in code: words, `_` and `.`, at most one digit, and not only a word before it.
    pub(super) fn is_identifier(&self) -> bool {
        let is_joint = |two: &[u8]| matches!(two, [b'_' | b'.', _] | [b'a'..=b'z', b'A'..=b'Z']);
        self.counts.digits < 2
            && self.score.is_words()
            && self.value.first().is_some_and(|first| !first.is_ascii_digit())
            && self.value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte))
            && (self.counts.digits == 0 || self.value.windows(2).any(is_joint))
    }

    /// Whether a word of the value, also of one in camel case, names a secret: `user.accessToken`, but not `monkey`.
    pub(super) fn has_secret_word(&self) -> bool {
        let ends_word = |a: &u8, b: &u8| {
            a.is_ascii_alphabetic() == b.is_ascii_alphabetic() && !(a.is_ascii_lowercase() && b.is_ascii_uppercase())
        };
        self.value.chunk_by(ends_word).any(|word| word_set!("secrets.secret_words_in_names").contains(word))
    }

    /// Whether the value names a secret rather than being one: `new-password`, `user.accessToken`.
    pub(super) fn names_a_secret(&self, is_quoted: bool) -> bool {
        let is_joined = self.value.iter().any(|byte| b"-_./#".contains(byte));
        let is_plain = self.value.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_./#".contains(byte));
        let is_member = || {
            let mut parts = self.value.split(|byte| *byte == b'.');
            let is_name =
                |part: &[u8]| !part.is_empty() && part.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            !is_quoted && self.counts.digits < 4 && self.value.contains(&b'.') && parts.all(is_name)
        };
        is_joined && (is_plain && self.score.is_words() || is_member()) && self.has_secret_word()
    }

    /// Whether a value is a sentence rather than a passphrase.
    pub(super) fn is_sentence(&self) -> bool {
        let begins = self.value.first().is_some_and(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
        is_prose(self.value)
            || self.counts.blanks >= 4 && begins && self.value.last().is_some_and(|byte| b".!?".contains(byte))
    }

    /// Whether a value is the name of an algorithm or encoding: `HS256`, `aes-256-cbc`, `utf8`.
    pub(super) fn is_algorithm(&self) -> bool {
        let begins_with =
            |name: &&[u8]| self.value.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        self.counts.len <= 24 && byte_list!("secrets.algorithms").iter().any(begins_with)
    }
}

/// Whether words of a sentence about secrets are in a value.
pub(super) fn is_prose(value: &[u8]) -> bool {
    let mut words = value.split(|byte| !byte.is_ascii_alphabetic() && *byte != b'\'');
    words.any(|word| word_set!("secrets.sentence_words").contains(word))
}

/// Whether a value is a path such as `a/b/c`, a host, or a file.
pub(super) fn is_path(value: &[u8]) -> bool {
    let slashes = value.iter().filter(|byte| **byte == b'/').count();
    slashes > 0
        && (value.starts_with(b"/") || value.starts_with(b".") || slashes * 12 > value.len())
        && value.split(|byte| *byte == b'/').any(|piece| piece.len() > 2 && word_score::is_words(piece))
}

/// Whether `text` contains `word`, ignoring case.
pub(crate) fn contains_any_case(text: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return false };
    text.windows(word.len().max(1)).any(|part| {
        part.first().is_some_and(|byte| byte.eq_ignore_ascii_case(first)) && part.eq_ignore_ascii_case(word)
    })
}

/// Whether the body of a token with a prefix is random and not an example. Of a body after a number only the variety of
/// its bytes counts.
pub(crate) fn is_token_body(token: &[u8]) -> bool {
    // The form after a number (`1234567890:AA…`, `1//0…`) is so rare that words in it are accidents
    let digits = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 && token.get(digits).is_some_and(|byte| b":|/".contains(byte)) {
        return ByteCounts::count(token.get(digits + 1..).unwrap_or_default()).distinct > 9;
    }
    let body_start = token.iter().position(|byte| b"-_.~:".contains(byte)).map_or(0, |at| at + 1);
    let body = token.get(body_start.min(12)..).unwrap_or_default();
    let is_example = [&b"EXAMPLE"[..], b"xxxxxx", b"your-", b"your_", b"_here", b"-here", b"redacted"]
        .iter()
        .any(|word| contains_any_case(token, word));
    let facts = ValueFacts::of(body);
    let tail = body.rsplit(|byte| b"-_.~".contains(byte)).next().unwrap_or(body);
    let is_masked = tail.len() > 8 && tail.iter().all(|byte| Some(byte) == tail.first());
    !is_example && !is_masked && facts.counts.distinct > 5 && !facts.is_words()
}

/// Whether a value is an id of Twilio (`AC…`): two capitals, 32 hex digits.
pub(super) fn is_twilio_id(value: &[u8]) -> bool {
    let is_lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    value.split_at_checked(2).is_some_and(|(kind, id)| {
        kind.iter().all(u8::is_ascii_uppercase) && id.len() == 32 && id.iter().all(is_lower_hex)
    })
}

/// Whether a value is a UUID: 8-4-4-4-12 hex digits.
pub(crate) fn is_uuid(value: &[u8]) -> bool {
    let is_expected = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    value.len() == 36 && value.iter().enumerate().all(is_expected)
}
