//! [`ErasureRequest`]: what is to be erased and why, signed by two people. Destroying a key can't be undone, so no one
//! may do it alone, and the signed text stays readable.
//!
//! A request file is a C2SP signed note whose text is the request's JSON, so the signed text is exactly what is parsed.
//! Two signatures by one key count as one. The sessions that a request names decide whose keys they are, never the keys
//! alone. Neighbours: `resolve` (finds keys), `execute` (destroys them).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::ReadError;
use crate::folders::{encode_segment, is_day, is_key_id, is_segment};
use vault::chain::note::{self, SigningKey, VerifyKey};
use vault::index_row::ShreddedKey;
use vault::object_names::{account_segment, rfc3339};

/// Version of the request format.
const VERSION: u8 = 1;
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
    /// Time after which it can't be begun.
    pub expires: String,
    /// Random value; ensures that a request is executed only once.
    pub nonce: String,
    /// Sessions that can't be opened afterwards, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    /// Keys of the sessions.
    pub keys: Vec<ShreddedKey>,
    /// Objects of the sessions that were under legal hold at creation: these must be released before execution.
    pub holds: Vec<String>,
}

impl ErasureRequest {
    /// The text that is signed.
    pub fn text(&self) -> String {
        // strings and numbers: serialising can't fail
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// Version of the format that is written.
    pub const VERSION: u8 = VERSION;

    /// Prefix of all names in its vault: empty, or ends in `/`.
    fn prefix(&self) -> String {
        let below = self.store.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        match below.map_or("", |(_, prefix)| prefix.trim_matches('/')) {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    /// Checks that the keys belong to the listed sessions, and these to the requested target: signers are shown
    /// sessions, but keys are destroyed. Only the index knows a user's sessions (`execute` checks them).
    ///
    /// # Errors
    /// The mismatch.
    fn check_keys(&self) -> Result<(), &'static str> {
        let mut sessions: BTreeSet<&str> = BTreeSet::new();
        for one in &self.sessions {
            let (tenant, session) = one.split_once('/').ok_or(INVALID_SESSION)?;
            if ![tenant, session].into_iter().all(is_segment) || !sessions.insert(one) {
                return Err(INVALID_SESSION);
            }
            if matches!(&self.what, ContentTarget::Session(id) if encode_segment(id) != session) {
                return Err("lists another session than the one to be erased");
            }
        }
        let start = format!("{}keys/{}/", self.prefix(), account_segment(&self.account));
        let own = |key: &ShreddedKey| {
            let below = key.folder.strip_prefix(&start).and_then(|rest| rest.strip_suffix('/'));
            let session = below.and_then(|below| below.rsplit_once('/')).filter(|(_, day)| is_day(day));
            session.is_some_and(|(session, _)| sessions.contains(session)) && is_key_id(&key.id)
        };
        let moment = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let valid = moment(&self.expires).zip(moment(&self.time)).map(|(expires, time)| expires - time);
        if valid.is_none_or(|valid| valid > MAX_VALIDITY) {
            return Err("is valid for more than 30 days, or has unreadable times");
        }
        // without keys: a session whose keys are gone may have copies under other names
        if self.sessions.is_empty() || self.keys.len() > MAX_KEYS || !self.keys.iter().all(own) {
            return Err("has no sessions, too many keys, or keys outside its sessions or account");
        }
        Ok(())
    }
}

/// Error for an invalid or repeated session.
const INVALID_SESSION: &str = "has an invalid or repeated session";

/// Parses the request in a file, whoever signed it, and returns its text; checks that the keys belong to the listed
/// sessions.
///
/// # Errors
/// What is wrong.
pub fn read(file: &str) -> Result<(ErasureRequest, &str), &'static str> {
    const NONE: &str = "was not made by `tollgate vault erase --request`";
    // indented JSON has no empty line
    let text = match file.find("\n\n") {
        Some(end) => file.get(..=end).ok_or(NONE)?,
        None => file,
    };
    let request: ErasureRequest = serde_json::from_str(text).map_err(|_| NONE)?;
    if request.v != VERSION {
        return Err("has an unsupported format version");
    }
    if request.text() != text {
        return Err("was reformatted or edited: sign the file exactly as it was made");
    }
    request.check_keys()?;
    Ok((request, text))
}

/// Adds a signature to the file.
///
/// # Errors
/// What is wrong.
pub fn sign(file: &str, key: &SigningKey) -> Result<String, &'static str> {
    let (_, text) = read(file)?;
    let rest = file.get(text.len()..).unwrap_or_default();
    if !rest.is_empty() {
        let (_, known) =
            note::verified_signers(file, std::slice::from_ref(key.public())).ok_or("has malformed signatures")?;
        if !known.is_empty() {
            return Err("is already signed by this key: the second signature must come from another eraser");
        }
    }
    let line = key.sign_note(text).get(text.len() + 1..).map(str::to_owned).ok_or("can't be signed")?;
    Ok(if rest.is_empty() { format!("{text}\n{line}") } else { format!("{file}{line}") })
}

/// Checks that [`MIN_SIGNERS`] of `erasers` signed the request; returns it and their names.
///
/// # Errors
/// What is wrong.
pub fn open(file: &str, erasers: &[VerifyKey]) -> Result<(ErasureRequest, Vec<String>), ReadError> {
    let (request, text) = read(file).map_err(ReadError::damaged)?;
    let signed = note::verified_signers(file, erasers).filter(|(signed, _)| *signed == text);
    let (_, signers) = signed.ok_or_else(|| {
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

/// Checks that a request may still be begun.
///
/// # Errors
/// What is wrong.
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
