//! **What**: [`Request`]: what is to be erased and why, as two people sign it. **Why**: destroying a key is the one thing that
//! can't be undone, so that nobody does it alone, and everybody can read later what was signed.
//! **Invariants**: a file is a C2SP signed note whose text is the request's JSON: what is signed is what is read; two
//! signatures of one key count as one. **Not here**: which keys there are (`resolve`), destroying them (`execute`).

use serde::{Deserialize, Serialize};

use crate::vault::chain::note::{self, SigningKey, VerifyKey};
use crate::vault::names::rfc3339;
use crate::vault::row::Shredded;

/// The format.
const VERSION: u8 = 1;
/// Signers of a request, at least.
pub const SIGNERS: usize = 2;
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
}

/// The request in a file, whoever signed it, and its text.
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
pub fn open(file: &str, erasers: &[VerifyKey]) -> Result<(Request, Vec<String>), String> {
    let (request, text) = read(file)?;
    let signed = note::signers(file, erasers).filter(|(signed, _)| *signed == text);
    let (_, signers) = signed.ok_or("has no signatures: two erasers sign it with `tollgate vault erase --sign`")?;
    if signers.len() < SIGNERS {
        return Err(format!(
            "is signed by {} of the erasers given here: it takes {SIGNERS}, with different keys",
            signers.len()
        ));
    }
    Ok((request, signers.iter().map(|key| key.name().to_owned()).collect()))
}

/// Whether a request may still be begun.
///
/// # Errors
/// What is wrong.
pub fn timely(request: &Request, now: crate::clock::UnixNanos) -> Result<(), String> {
    let now = rfc3339(now);
    if now >= request.expires {
        return Err(format!("expired at {}: make another one", request.expires));
    }
    if now < request.time {
        return Err(format!("is from the future ({}): look at the clocks", request.time));
    }
    Ok(())
}
