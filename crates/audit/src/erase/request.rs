//! [`ErasureRequest`]: the content to erase and the reason, signed by two people, because destroying a key can't be
//! undone. A request file is a C2SP signed note whose text is the request's JSON, so exactly the signed text is parsed.
//! Two signatures by one key count as one. Every key of a request must belong to a session that the request lists.
//! Neighbours: `resolve` (finds keys), `execute` (destroys them).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::ReadError;
use crate::folders::{encode_segment, is_day, is_key_id, is_segment};
use vault::chain::note::{self, SigningKey, VerifyKey};
use vault::index_row::ShreddedKey;
use vault::object_names::{account_segment, rfc3339};

/// Minimum number of signers.
pub const MIN_SIGNERS: usize = 2;
/// Longest validity of a request.
pub const MAX_VALIDITY: time::Duration = time::Duration::days(30);
/// Most keys in one request.
pub const MAX_KEYS: usize = 100_000;

/// Selects the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentTarget {
    /// A session, as the index shows its id; `trace-…` for records without one.
    Session(String),
    /// Every session of a user, by pseudonym: `h-…`.
    User(String),
}

/// A request to destroy session keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureRequest {
    /// Version of the format: [`Self::VERSION`].
    pub v: u8,
    /// The vault's location as the user gave it: `s3://bucket/prefix` or a folder.
    pub store: String,
    /// Account of the content.
    pub account: String,
    /// The content to erase.
    pub what: ContentTarget,
    /// Who requests the erasure: a role or a name that may stay in the vault for years.
    pub who: String,
    /// The reason: a ticket, a paragraph.
    pub why: String,
    /// Time of creation, RFC 3339.
    pub time: String,
    /// Time (RFC 3339) after which the erasure can't be begun.
    pub expires: String,
    /// Random value; ensures that a request is executed only once.
    pub nonce: String,
    /// Sessions whose content becomes unreadable, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    /// Keys of the sessions.
    pub keys: Vec<ShreddedKey>,
    /// Objects of the sessions that were under legal hold at creation; their holds must be released before execution.
    pub holds: Vec<String>,
}

impl ErasureRequest {
    /// Version of the format that is written.
    pub const VERSION: u8 = 1;

    /// The text that is signed.
    pub fn text(&self) -> String {
        // strings and numbers: serialising can't fail
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// Prefix of all names in the request's vault: empty, or ends in `/`.
    fn prefix(&self) -> String {
        let path = self.store.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        match path.map_or("", |(_, prefix)| prefix.trim_matches('/')) {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    /// Checks the times, and that the keys belong to the listed sessions and these to the target: signers are shown
    /// sessions, but keys are destroyed. `execute` checks a user's sessions, because only the index contains them.
    fn check_fields(&self) -> Result<(), &'static str> {
        let mut sessions: BTreeSet<&str> = BTreeSet::new();
        for path in &self.sessions {
            let (tenant, session) = path.split_once('/').ok_or(INVALID_SESSION)?;
            if ![tenant, session].into_iter().all(is_segment) || !sessions.insert(path) {
                return Err(INVALID_SESSION);
            }
            if matches!(&self.what, ContentTarget::Session(id) if encode_segment(id) != session) {
                return Err("lists another session than the one to be erased");
            }
        }
        let account_prefix = format!("{}keys/{}/", self.prefix(), account_segment(&self.account));
        let is_in_sessions = |key: &ShreddedKey| {
            let path = key.folder.strip_prefix(&account_prefix).and_then(|rest| rest.strip_suffix('/'));
            let session = path.and_then(|path| path.rsplit_once('/')).filter(|(_, day)| is_day(day));
            session.is_some_and(|(session, _)| sessions.contains(session)) && is_key_id(&key.id)
        };
        let parse_time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let validity = parse_time(&self.expires).zip(parse_time(&self.time)).map(|(expires, time)| expires - time);
        if validity.is_none_or(|validity| validity > MAX_VALIDITY) {
            return Err("is valid for more than 30 days, or has unreadable times");
        }
        // the list of keys may be empty: a session whose keys are gone may have copies of them under other names
        if self.sessions.is_empty() || self.keys.len() > MAX_KEYS || !self.keys.iter().all(is_in_sessions) {
            return Err("has no sessions, too many keys, or keys outside its sessions or account");
        }
        Ok(())
    }
}

const INVALID_SESSION: &str = "has an invalid or repeated session";

/// Parses and checks the request in a file's text, without its signatures; returns the request and the signed text.
///
/// # Errors
/// The text is not a valid request.
pub fn read(file_text: &str) -> Result<(ErasureRequest, &str), &'static str> {
    const NOT_A_REQUEST: &str = "was not made by `tollgate vault erase --request`";
    // the first empty line ends the request, because indented JSON has none
    let text = match file_text.find("\n\n") {
        Some(end) => file_text.get(..=end).ok_or(NOT_A_REQUEST)?,
        None => file_text,
    };
    let request: ErasureRequest = serde_json::from_str(text).map_err(|_| NOT_A_REQUEST)?;
    if request.v != ErasureRequest::VERSION {
        return Err("has an unsupported format version");
    }
    if request.text() != text {
        return Err("was reformatted or edited: sign the file exactly as it was made");
    }
    request.check_fields()?;
    Ok((request, text))
}

/// Adds a signature to a request file's text.
///
/// # Errors
/// The text is not a valid request, has malformed signatures, or is already signed by this key.
pub fn sign(file_text: &str, key: &SigningKey) -> Result<String, &'static str> {
    let (_, text) = read(file_text)?;
    let is_signed = file_text.len() > text.len();
    if is_signed {
        let (_, signers) =
            note::verified_signers(file_text, std::slice::from_ref(key.public())).ok_or("has malformed signatures")?;
        if !signers.is_empty() {
            return Err("is already signed by this key: the second signature must come from another eraser");
        }
    }
    let line = key.sign_note(text).get(text.len() + 1..).map(str::to_owned).ok_or("can't be signed")?;
    Ok(if is_signed { format!("{file_text}{line}") } else { format!("{text}\n{line}") })
}

/// Checks that [`MIN_SIGNERS`] of `erasers` signed the request; returns the request and the signers' names.
///
/// # Errors
/// The text is not a valid request, or has too few valid signatures.
pub fn open(file_text: &str, erasers: &[VerifyKey]) -> Result<(ErasureRequest, Vec<String>), ReadError> {
    let (request, text) = read(file_text).map_err(ReadError::damaged)?;
    let verified = note::verified_signers(file_text, erasers).filter(|(signed_text, _)| *signed_text == text);
    let (_, signers) = verified.ok_or_else(|| {
        ReadError::forbidden("has no valid signatures: two erasers must sign it with `tollgate vault erase --sign`")
    })?;
    if signers.len() < MIN_SIGNERS {
        return Err(ReadError::forbidden(format!(
            "is signed by {} of the given erasers, but needs {MIN_SIGNERS} with different keys",
            signers.len()
        )));
    }
    Ok((request, signers.iter().map(|key| key.name().to_owned()).collect()))
}

/// Checks that an erasure may be begun now.
///
/// # Errors
/// The request has expired, or was created in the future.
pub fn check_validity(request: &ErasureRequest, now: kernel::clock::UnixNanos) -> Result<(), ReadError> {
    let now = rfc3339(now);
    if now >= request.expires {
        return Err(ReadError::invalid(format!("expired at {}: make a new request", request.expires)));
    }
    if now < request.time {
        return Err(ReadError::invalid(format!("was created in the future ({}): check the clocks", request.time)));
    }
    Ok(())
}
