//! **What**: [`Request`]: what is to be erased and why, as two people sign it. **Why**: destroying a key is the one
//! thing that can't be undone, so that nobody does it alone, and everybody can read later what was signed.
//! **Invariants**: a file is a C2SP signed note whose text is the request's JSON: what is signed is what is read; two
//! signatures of one key count as one; whose keys they are is told by the sessions that it names, never by keys alone.
//! **Not here**: which keys there are (`resolve`), destroying them (`execute`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::ReadError;
use crate::folders::{is_day, is_key_id, is_segment, segment};
use vault::chain::note::{self, SigningKey, VerifyKey};
use vault::names::{account_segment, rfc3339};
use vault::row::Shredded;

/// The format.
const VERSION: u8 = 1;
/// Signers of a request, at least.
pub const SIGNERS: usize = 2;
/// Longest time that a request may wait.
pub const MAX_VALID: time::Duration = time::Duration::days(30);
/// Keys in one request.
pub const MAX_KEYS: usize = 100_000;

/// Whose content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A session, as the index shows its id; `trace-…` for records without one.
    Session(String),
    /// Every session of a user: the pseudonym, `h-…`.
    User(String),
}

/// A request to destroy session keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `VERSION`.
    pub v: u8,
    /// The vault, as it was given: `s3://bucket/prefix` or a folder.
    pub store: String,
    /// Account.
    pub account: String,
    /// Whose content.
    pub what: Target,
    /// Who asks for it: a role or a name that may stand in the vault for years.
    pub who: String,
    /// Why: a ticket, a paragraph.
    pub why: String,
    /// When it was made, RFC 3339.
    pub time: String,
    /// From then on it can't be begun any more.
    pub expires: String,
    /// Random: a request is executed once.
    pub nonce: String,
    /// Sessions that can't be opened afterwards, as `tenant/session` in names.
    pub sessions: Vec<String>,
    /// Their keys.
    pub keys: Vec<Shredded>,
    /// Objects of theirs that were under legal hold when it was made: it can't be executed before these are released.
    pub holds: Vec<String>,
}

impl Request {
    /// A request's text: what is signed.
    pub fn text(&self) -> String {
        // strings and numbers: can't fail
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// The format that is written.
    pub const VERSION: u8 = VERSION;

    /// Start of all names in its vault: empty, or ends in `/`.
    fn prefix(&self) -> String {
        let below = self.store.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        match below.map_or("", |(_, prefix)| prefix.trim_matches('/')) {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    /// Whether its keys are those of its sessions, and these what it asks for: who signs is shown sessions, and what is
    /// destroyed is keys. Which sessions a user has only the index knows (`execute` asks it).
    ///
    /// # Errors
    /// What does not fit.
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
        // a session whose keys are gone may have copies under other names
        if self.sessions.is_empty() || self.keys.len() > MAX_KEYS || !self.keys.iter().all(own) {
            return Err("names no sessions, keys of sessions that it does not name, or of another account");
        }
        Ok(())
    }
}

/// What a request's sessions may be wrong with.
const ODD: &str = "names a session that is none, or one twice";

/// The request in a file, whoever signed it, and its text: one whose keys are those of the sessions that it names.
///
/// # Errors
/// What is wrong.
pub fn read(file: &str) -> Result<(Request, &str), &'static str> {
    const NONE: &str = "is no request of `tollgate vault erase --request`";
    // an indented document of JSON has no empty line
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

/// The file with one more signature.
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

/// A request that [`SIGNERS`] of `erasers` signed, and their names.
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

/// Whether a request may still be begun.
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
