//! [`Pseudonymizer`]: the keyed `h-…` that replaces an id, and [`IdPolicy`]: the form in which an id may be shown.
//! Spans, index lines and object names must show the same form of an id, and without the key a guessed id can't be
//! confirmed. Every shown id that starts with `h-` is a pseudonym: a client's id that starts so, or that is too long
//! for a name, becomes one. Subkeys differ by account. [`IdPolicy::object_name_segment`] returns one path segment,
//! never `.` or `..`. The redaction rules, wired in by the app, decide which ids are private.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::sha256::{HmacSha256, hmac_sha256};

#[cfg(test)]
mod tests;

/// The prefix of every pseudonym.
pub const PREFIX: &str = "h-";
/// Maximum length of an id that stays readable, in bytes; a longer one becomes a pseudonym.
pub const MAX_ID: usize = 128;
/// Maximum length of a percent-encoded name segment, in bytes (file systems stop at 255).
const MAX_SEGMENT: usize = 200;
const PSEUDONYM_BYTES: usize = 16;

/// The epoch of a first pseudonym key, whose pseudonyms don't name it.
pub const FIRST_EPOCH: u8 = 1;

/// Makes pseudonyms from one key, with a subkey per account.
#[derive(Clone)]
pub struct Pseudonymizer {
    /// The pseudorandom key that HKDF extracted.
    prk: Zeroizing<[u8; 32]>,
    epoch: u8,
}

impl Pseudonymizer {
    /// Creates a pseudonymizer from the configured key: any text, ideally 32 random bytes in base64 or hex. All
    /// replicas must use the same key.
    pub fn new(key: &Secret) -> Self {
        // HKDF's step `extract` (RFC 5869) is this HMAC.
        let prk = hmac_sha256(b"tollgate pseudonyms v1", key.expose().as_bytes());
        Self { prk: Zeroizing::new(prk), epoch: FIRST_EPOCH }
    }

    /// The same key as that of a later epoch.
    #[must_use]
    pub fn with_epoch(self, epoch: u8) -> Self {
        Self { epoch, ..self }
    }

    pub fn epoch(&self) -> u8 {
        self.epoch
    }

    /// Public id of the key: 16 hex digits. It confirms a guessed key no better than a pseudonym does.
    pub fn key_id(&self) -> String {
        let mac = keyed_hash(&*self.prk, &[b"key id"]);
        crate::hex::encode(mac.get(..8).unwrap_or(&mac))
    }

    /// `h-` and 32 hex digits: HMAC-SHA-256 of `text` under the account's subkey, cut to 16 bytes. From the second
    /// epoch on, the epoch's two hex digits precede them, so that a join over a change of keys is seen to be none.
    pub fn pseudonym(&self, account: &str, text: &str) -> String {
        let mac = keyed_hash(&*self.subkey(account), &[b"id", text.as_bytes()]);
        let mut out = String::with_capacity(PREFIX.len() + 2 + 2 * PSEUDONYM_BYTES);
        out.push_str(PREFIX);
        if self.epoch > FIRST_EPOCH {
            crate::hex::push(&mut out, &[self.epoch]);
        }
        crate::hex::push(&mut out, mac.get(..PSEUDONYM_BYTES).unwrap_or(&mac));
        out
    }

    /// Whether this key made the pseudonym of `text`, in whichever epoch.
    pub fn has_made(&self, account: &str, text: &str, pseudonym: &str) -> bool {
        let digits =
            |pseudonym: &str| pseudonym.get(pseudonym.len().saturating_sub(2 * PSEUDONYM_BYTES)..).map(str::to_owned);
        is_pseudonym(pseudonym) && digits(pseudonym) == digits(&self.pseudonym(account, text))
    }

    /// A fingerprint of `parts` (HMAC-SHA-256) that is comparable within the account and can't be guessed without the
    /// key.
    pub fn fingerprint(&self, account: &str, parts: &[&[u8]]) -> [u8; 32] {
        keyed_hash(&*self.subkey(account), parts)
    }

    fn subkey(&self, account: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(keyed_hash(&*self.prk, &[b"account", account.as_bytes()]))
    }
}

/// Whether `text` has the form of a pseudonym, of any epoch.
pub fn is_pseudonym(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let digits = text.strip_prefix(PREFIX).unwrap_or_default();
    [2 * PSEUDONYM_BYTES, 2 + 2 * PSEUDONYM_BYTES].contains(&digits.len()) && digits.bytes().all(is_hex)
}

/// Whether `text` contains something that looks like the result of [`Pseudonymizer::pseudonym`].
pub fn contains_pseudonym(text: &str) -> bool {
    let count_digits = |rest: &str| rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    text.split(PREFIX).skip(1).any(|rest| count_digits(rest) >= 2 * PSEUDONYM_BYTES)
}

/// Whether an id must always become a pseudonym, whatever the rules say: it looks like a pseudonym, is too long for a
/// name, or is a sentence. This gives the id the same form everywhere.
pub fn is_unfit(id: &str) -> bool {
    id.starts_with(PREFIX)
        || id.len() > MAX_ID
        || id.split_whitespace().nth(SENTENCE_WORDS - 1).is_some()
        || has_joined_sentence(id)
        || id.bytes().map(encoded_len).sum::<usize>() > MAX_SEGMENT
}

/// An id with at least this many words counts as a sentence; `Bank of New York Mellon` is a name.
const SENTENCE_WORDS: usize = 6;
/// An id with at least this many runs of three letters or more (`my_patient_has_…`) counts as a sentence.
const SENTENCE_RUNS: usize = 7;
const MIN_RUN_LETTERS: usize = 3;

fn has_joined_sentence(id: &str) -> bool {
    let is_same_run = |byte: &u8, next: &u8| {
        let is_camel = byte.is_ascii_lowercase() && next.is_ascii_uppercase();
        byte.is_ascii_alphabetic() && next.is_ascii_alphabetic() && !is_camel
    };
    let is_word = |run: &&[u8]| run.len() >= MIN_RUN_LETTERS;
    id.as_bytes().chunk_by(is_same_run).filter(is_word).nth(SENTENCE_RUNS - 1).is_some()
}

/// HMAC-SHA-256 of length-prefixed parts.
fn keyed_hash(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = HmacSha256::new(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize()
}

/// Decides how ids and short texts may be shown outside of the vault's ciphertext. The redaction rules implement it.
pub trait IdPolicy: Send + Sync {
    /// The id itself, or its `h-…` if a redaction rule matches it or it is unfit ([`is_unfit`]).
    fn shown_id<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str>;

    /// Applies the redaction rules to a text column of an index line.
    fn redact_column<'a>(&self, account: &str, text: &'a str) -> Cow<'a, str>;

    /// The `h-…` of `id`, always.
    fn pseudonym(&self, account: &str, id: &str) -> String;

    /// The id as one segment of an object name: its shown form, percent-encoded.
    fn object_name_segment<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str> {
        let shown = self.shown_id(account, id);
        match encode_segment(&shown) {
            None => shown,
            // A policy may show an unfit id, which still needs a valid name
            Some(encoded) if encoded.len() > MAX_SEGMENT => self.pseudonym(account, id).into(),
            Some(encoded) => encoded.into(),
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

fn encoded_len(byte: u8) -> usize {
    if is_plain(byte) { 1 } else { 3 }
}

/// Percent-encodes everything but `[A-Za-z0-9._-]`; `None` if nothing has to change. Empty text, `.` and `..` are
/// changed.
pub fn encode_segment(text: &str) -> Option<String> {
    let is_dots = matches!(text, "." | "..");
    if text.is_empty() {
        return Some("%empty".to_owned());
    }
    if !is_dots && text.bytes().all(is_plain) {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) && !is_dots {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(out)
}

/// The policy without redaction rules: it checks only for unfit ids. For tests and for a vault without `redact`.
#[derive(Clone)]
pub struct PlainIds(pub Pseudonymizer);

impl IdPolicy for PlainIds {
    fn shown_id<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str> {
        if is_unfit(id) { self.0.pseudonym(account, id).into() } else { id.into() }
    }

    fn redact_column<'a>(&self, _account: &str, text: &'a str) -> Cow<'a, str> {
        text.into()
    }

    fn pseudonym(&self, account: &str, id: &str) -> String {
        self.0.pseudonym(account, id)
    }
}
