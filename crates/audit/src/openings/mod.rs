//! Openings that need a request: auditors who open keys together give a share only against a request that two people
//! signed, and a line in a chain of its own (`ledger`) says so before the share is opened.
//!
//! A request is for one session of one vault and is used once by each auditor. What auditors open with their own tools
//! is in no chain. Neighbours: `shares` opens the shares, `signed_request` has the request's
//! file, `verify/key_lines` checks the lines.

use std::collections::BTreeMap;

use age::x25519::Identity;
use serde::{Deserialize, Serialize};

use crate::error::{ReadError, Result};
use crate::folders::KeySelection;
use crate::ledger::{Ledger, LedgerEntry};
use crate::location::Vault;
use crate::read::{IndexLines, each_row};
use crate::signed_index::SignedIndex;
use crate::signed_request::{SignedRequest, check_validity, open};
use vault::chain::note::VerifyKey;
use vault::index_row::{IndexRow, OpeningRecord, RowKind};

/// Longest text of a request's field, bytes.
const MAX_FIELD: usize = 1024;
/// Longest name of an account, bytes.
const MAX_ACCOUNT: usize = 64;
/// Longest request with its signatures, bytes. It becomes part of an index line.
const MAX_REQUEST: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningRequest {
    /// Version of the format.
    pub v: u8,
    /// The vault's location as the user gave it: `s3://bucket/prefix` or a folder.
    pub store: String,
    pub account: String,
    /// The session to open, as the index shows its id; `trace-…` for records without one.
    pub open_session: String,
    /// The reason: a ticket or a sentence.
    pub why: String,
    /// Time of creation, RFC 3339.
    pub time: String,
    /// Time (RFC 3339) after which no share is given.
    pub expires: String,
    /// Random value; ensures that each auditor uses the request only once.
    pub nonce: String,
}

impl OpeningRequest {
    pub fn selection(&self) -> KeySelection {
        KeySelection {
            account: Some(self.account.clone()),
            session: Some(self.open_session.clone()),
            ..KeySelection::default()
        }
    }
}

impl SignedRequest for OpeningRequest {
    const VERSION: u8 = 1;
    const NOT_A_REQUEST: &'static str = "was not made by `tollgate vault open-request`";
    const NOT_SIGNED: &'static str =
        "has no valid signatures: two openers must sign it, with `tollgate vault open-request` and `vault approve`";

    fn version(&self) -> u8 {
        self.v
    }

    fn times(&self) -> (&str, &str) {
        (&self.time, &self.expires)
    }

    fn check_fields(&self) -> Result<(), &'static str> {
        let texts = [&self.store, &self.account, &self.open_session, &self.why, &self.nonce];
        if !texts.iter().all(|text| (1..=MAX_FIELD).contains(&text.len())) {
            return Err("has an empty field, or one that is too long");
        }
        // the rule of gateways; a name that breaks it would only put private text into the vault
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match self.account.len() <= MAX_ACCOUNT && self.account.bytes().all(is_allowed) {
            true => Ok(()),
            false => Err("names an account that can't exist: use at most 64 letters, digits, `.`, `_` or `-`"),
        }
    }
}

/// Records that `auditors` open their shares of the requested session, and returns which keys that is. The caller opens
/// them only afterwards. If a killed run began this line before the request expired, the line is finished, so that it
/// does not block the chain, but nothing may be opened.
///
/// # Errors
/// The request is not valid here, has expired or was used, or the line can't be written. Then nothing may be opened.
pub async fn record_opening(
    ledger: &mut Ledger<'_>,
    signed_request: &str,
    openers: &[VerifyKey],
    store: &str,
    auditors: &[Identity],
) -> Result<KeySelection> {
    let with_subject = |error: ReadError| error.map_message(|why| format!("the request {why}"));
    if signed_request.len() > MAX_REQUEST {
        return Err(ReadError::new("the request is larger than 64 KiB"));
    }
    let (request, signers) = open::<OpeningRequest>(signed_request, openers).map_err(with_subject)?;
    if ledger.account != request.account {
        return Err(ReadError::new("the request was made for another account"));
    }
    if request.store != store {
        return Err(ReadError::new(format!(
            "the request was made for another vault, {}: check --store",
            request.store
        )));
    }
    let mut auditors: Vec<String> = auditors.iter().map(|auditor| auditor.to_public().to_string()).collect();
    auditors.sort_unstable();
    auditors.dedup();
    let record = OpeningRecord {
        nonce: request.nonce.clone(),
        why: request.why.clone(),
        session: request.open_session.clone(),
        signers,
        auditors,
        request: signed_request.to_owned(),
    };
    if record.uses().any(|use_name| ledger.is_done(&use_name)) {
        let message = "one of these auditors has used this request, as the chain records: make a new request";
        return Err(ReadError::new(message));
    }
    let entry = LedgerEntry::Opening(record);
    let Err(expired) = check_validity(&request, ledger.now).map_err(with_subject) else {
        ledger.append(entry).await?;
        return Ok(request.selection());
    };
    if !ledger.has_begun_in_time(&request, &entry).await? {
        return Err(expired);
    }
    ledger.finish_begun(entry).await?;
    Err(expired.map_message(|why| {
        format!("the opening that a killed command began is recorded now, but nothing was opened: {why}")
    }))
}

/// Messages about lines that use a request again for the same auditor. A writer's own chain can't have such lines, but
/// the chains of two writers can.
pub fn find_repeated_uses(rows: &[IndexRow]) -> Vec<String> {
    let (mut used, mut messages) = (BTreeMap::new(), Vec::new());
    for row in rows {
        for use_name in row.tail.opening.iter().flat_map(|opening| opening.uses()) {
            let first = used.entry(use_name).or_insert(row);
            if !std::ptr::eq(*first, row) {
                messages.push(format!("{}: {}", line_name(row), describe_repeated_use(&line_name(first))));
            }
        }
    }
    messages
}

/// The fault of a line whose request one of its auditors had used before, in the line `first`.
pub(crate) fn describe_repeated_use(first: &str) -> String {
    format!("one of its auditors used its request before, in {first}")
}

/// Where a line is: `writer/epoch/leaf`.
pub(crate) fn line_name(row: &IndexRow) -> String {
    format!("{}/{}/{}", row.tail.writer, row.tail.epoch, row.leaf)
}

/// The lines about openings in objects that signed digests name, in order of time, and what could not be read.
pub async fn list_openings(
    vault: &Vault,
    signed: &SignedIndex,
    account: Option<&str>,
) -> Result<(Vec<IndexRow>, Vec<String>)> {
    let mut rows = Vec::new();
    let mut visit = |_: &str, row: IndexRow| {
        if row.tail.kind == Some(RowKind::Opening) {
            rows.push(row);
        }
    };
    let unread = each_row(vault, account, &|_| true, IndexLines::Signed(signed), &mut visit).await?;
    let mut unreadable = unread.unreadable;
    unreadable.extend_from_slice(&signed.unreadable);
    unreadable.extend(unread.older_missing);
    rows.sort_by(|one, other| one.tail.ts.cmp(&other.tail.ts));
    Ok((rows, unreadable))
}

#[cfg(test)]
pub(crate) mod tests;
