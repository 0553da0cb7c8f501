//! Requests that several people sign ([`SignedRequest`]). A request file is a C2SP signed note whose text is the
//! request's JSON, so exactly the signed text is parsed. Two signatures by one key count as one. Neighbours:
//! `erase/request` and `openings` have the requests.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ReadError, Result};
use kernel::clock::UnixNanos;
use vault::chain::note::{self, SigningKey, VerifyKey};
use vault::object_names::parse_time;

/// Minimum number of signers.
pub const MIN_SIGNERS: usize = 2;
/// Longest validity of a request.
const MAX_VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// What kinds of requests have in common.
pub trait SignedRequest: Serialize + DeserializeOwned {
    /// The version that is written and read.
    const VERSION: u8;
    /// The error for a file that is no such request.
    const NOT_A_REQUEST: &'static str;
    /// The error for a request without valid signatures.
    const NOT_SIGNED: &'static str;
    fn version(&self) -> u8;
    /// Creation and expiry, RFC 3339.
    fn times(&self) -> (&str, &str);
    /// Checks the fields of this kind of request.
    fn check_fields(&self) -> Result<(), &'static str>;

    fn text(&self) -> String {
        // strings and numbers: serialising can't fail
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }
}

/// Parses and checks the request in a file's text, without its signatures; returns the request and the signed text.
pub fn read<R: SignedRequest>(file_text: &str) -> Result<(R, &str), &'static str> {
    // the first empty line ends the request, because indented JSON has none
    let text = match file_text.find("\n\n") {
        Some(end) => file_text.get(..=end).ok_or(R::NOT_A_REQUEST)?,
        None => file_text,
    };
    let request: R = serde_json::from_str(text).map_err(|_| R::NOT_A_REQUEST)?;
    if request.version() != R::VERSION {
        return Err("has an unsupported format version");
    }
    if request.text() != text {
        return Err("was reformatted or edited: sign the file exactly as it was made");
    }
    let (time, expires) = request.times();
    let validity = parse_time(expires).zip(parse_time(time)).map(|(expires, time)| expires.since(time));
    if validity.is_none_or(|validity| validity > MAX_VALIDITY) {
        return Err("is valid for more than 30 days, or has unreadable times");
    }
    request.check_fields()?;
    Ok((request, text))
}

/// Adds a signature to a request file's text.
///
/// # Errors
/// The text is not a valid request, has malformed signatures, or is already signed by this key.
pub fn sign<R: SignedRequest>(file_text: &str, key: &SigningKey) -> Result<String, &'static str> {
    let (_, text) = read::<R>(file_text)?;
    let is_signed = file_text.len() > text.len();
    if is_signed {
        let (_, signers) =
            note::verified_signers(file_text, std::slice::from_ref(key.public())).ok_or("has malformed signatures")?;
        if !signers.is_empty() {
            return Err("is already signed by this key: the second signature must come from another person");
        }
    }
    let line = key.sign_note(text).get(text.len() + 1..).map(str::to_owned).ok_or("can't be signed")?;
    Ok(if is_signed { format!("{file_text}{line}") } else { format!("{text}\n{line}") })
}

/// Checks that [`MIN_SIGNERS`] of `people` signed the request; returns the request and the signers' names.
///
/// # Errors
/// The text is not a valid request, or has too few valid signatures.
pub fn open<R: SignedRequest>(file_text: &str, people: &[VerifyKey]) -> Result<(R, Vec<String>)> {
    let (request, text) = read(file_text).map_err(ReadError::new)?;
    let verified = note::verified_signers(file_text, people).filter(|(signed_text, _)| *signed_text == text);
    let (_, signers) = verified.ok_or_else(|| ReadError::new(R::NOT_SIGNED))?;
    if signers.len() < MIN_SIGNERS {
        return Err(ReadError::new(format!(
            "is signed by {} of the given people, but needs {MIN_SIGNERS} with different keys",
            signers.len()
        )));
    }
    Ok((request, signers.iter().map(|key| key.name().to_owned()).collect()))
}

/// Checks that a request may be used now.
pub fn check_validity<R: SignedRequest>(request: &R, now: UnixNanos) -> Result<()> {
    let (time, expires) = request.times();
    if is_expired(expires, now) {
        return Err(ReadError::new(format!("expired at {expires}: make a new request")));
    }
    if Some(now) < parse_time(time) {
        return Err(ReadError::new(format!("was created in the future ({time}): check the clocks")));
    }
    Ok(())
}

/// Whether a request that expires at `expires` (RFC 3339) can't be used any more.
pub fn is_expired(expires: &str, now: UnixNanos) -> bool {
    Some(now) >= parse_time(expires)
}

/// Whether a line of this time is from the time in which the request may be used. Times of two zones are compared as
/// instants, not as texts.
pub(crate) fn is_valid_at<R: SignedRequest>(request: &R, ts: &str) -> bool {
    let ((time, expires), ts) = (request.times(), parse_time(ts));
    ts >= parse_time(time) && ts < parse_time(expires)
}
