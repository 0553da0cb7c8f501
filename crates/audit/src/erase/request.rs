//! [`Request`]: what is to be erased and why, signed by two people. Destroying a key can't be undone, so no one may do
//! it alone, and the signed text stays readable.
//!
//! A request file is a C2SP signed note whose text is the request's JSON, so the signed text is exactly what is parsed.
//! Two signatures by one key count as one. The sessions that a request names decide whose keys they are, never the keys
//! alone. Neighbours: `resolve` (finds keys), `execute` (destroys them).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::ReadError;
use crate::folders::{is_day, is_key_id, is_segment, segment};
use vault::chain::note::{self, SigningKey, VerifyKey};
use vault::names::{account_segment, rfc3339};
use vault::row::Shredded;

/// Version of the request format.
const VERSION: u8 = 1;
/// Minimum number of signers.
pub const SIGNERS: usize = 2;
/// Longest validity of a request.
pub const MAX_VALID: time::Duration = time::Duration::days(30);
/// Most keys in one request.
pub const MAX_KEYS: usize = 100_000;

/// Selects the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A session, as the index shows its id; `trace-…` for records without one.
    Session(String),
    /// Every session of a user, by pseudonym: `h-…`.
    User(String),
}

/// A request to destroy session keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Version of the format: [`Self::VERSION`].
    pub v: u8,
    /// The vault's location as the user gave it: `s3://bucket/prefix` or a folder.
    pub store: String,
    /// Account of the content.
    pub account: String,
    /// The content to erase.
    pub what: Target,
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
    pub keys: Vec<Shredded>,
    /// Objects of the sessions that were under legal hold at creation: these must be released before execution.
    pub holds: Vec<String>,
}

impl Request {
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
    fn fits(&self) -> Result<(), &'static str> {
        let mut sessions: BTreeSet<&str> = BTreeSet::new();
        for one in &self.sessions {
            let (tenant, session) = one.split_once('/').ok_or(ODD)?;
            if ![tenant, session].into_iter().all(is_segment) || !sessions.insert(one) {
                return Err(ODD);
            }
            if matches!(&self.what, Target::Session(id) if segment(id) != session) {
                return Err("names another session than the one that it asks for");
            }
        }
        let start = format!("{}keys/{}/", self.prefix(), account_segment(&self.account));
        let own = |key: &Shredded| {
            let below = key.folder.strip_prefix(&start).and_then(|rest| rest.strip_suffix('/'));
            let session = below.and_then(|below| below.rsplit_once('/')).filter(|(_, day)| is_day(day));
            session.is_some_and(|(session, _)| sessions.contains(session)) && is_key_id(&key.id)
        };
        let moment = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let valid = moment(&self.expires).zip(moment(&self.time)).map(|(expires, time)| expires - time);
        if valid.is_none_or(|valid| valid > MAX_VALID) {
            return Err("may be executed for longer than 30 days, or its times can not be read");
        }
        // without keys: a session whose keys are gone may have copies under other names
        if self.sessions.is_empty() || self.keys.len() > MAX_KEYS || !self.keys.iter().all(own) {
            return Err("names no sessions, keys of sessions that it does not name, or of another account");
        }
        Ok(())
    }
}

/// Error for an invalid or repeated session.
const ODD: &str = "names a session that is none, or one twice";

/// Parses the request in a file, whoever signed it, and returns its text; checks that the keys belong to the listed
/// sessions.
///
/// # Errors
/// What is wrong.
pub fn read(file: &str) -> Result<(Request, &str), &'static str> {
    const NONE: &str = "is no request of `tollgate vault erase --request`";
    // indented JSON has no empty line
    let text = match file.find("\n\n") {
        Some(end) => file.get(..=end).ok_or(NONE)?,
        None => file,
    };
    let request: Request = serde_json::from_str(text).map_err(|_| NONE)?;
    if request.v != VERSION {
        return Err("is a request of another version");
    }
    if request.text() != text {
        return Err("is a request that somebody has written anew: sign it as it was made");
    }
    request.fits()?;
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
            note::signers(file, std::slice::from_ref(key.public())).ok_or("has signatures that are none")?;
        if !known.is_empty() {
            return Err("is signed by this key already: another eraser signs it");
        }
    }
    let line = key.note(text).get(text.len() + 1..).map(str::to_owned).ok_or("can't be signed")?;
    Ok(if rest.is_empty() { format!("{text}\n{line}") } else { format!("{file}{line}") })
}

/// Checks that [`SIGNERS`] of `erasers` signed the request; returns it and their names.
///
/// # Errors
/// What is wrong.
pub fn open(file: &str, erasers: &[VerifyKey]) -> Result<(Request, Vec<String>), ReadError> {
    let (request, text) = read(file).map_err(ReadError::damaged)?;
    let signed = note::signers(file, erasers).filter(|(signed, _)| *signed == text);
    let (_, signers) = signed.ok_or_else(|| {
        ReadError::forbidden("has no signatures: two erasers sign it with `tollgate vault erase --sign`")
    })?;
    if signers.len() < SIGNERS {
        return Err(ReadError::forbidden(format!(
            "is signed by {} of the erasers given here: it takes {SIGNERS}, with different keys",
            signers.len()
        )));
    }
    Ok((request, signers.iter().map(|key| key.name().to_owned()).collect()))
}

/// Checks that a request may still be begun.
///
/// # Errors
/// What is wrong.
pub fn timely(request: &Request, now: kernel::clock::UnixNanos) -> Result<(), ReadError> {
    let now = rfc3339(now);
    if now >= request.expires {
        return Err(ReadError::invalid(format!("expired at {}: make another one", request.expires)));
    }
    if now < request.time {
        return Err(ReadError::invalid(format!("is from the future ({}): look at the clocks", request.time)));
    }
    Ok(())
}
