//! **What**: a session that was read, as one JSON document. **Why**: other programs read sessions too. **Invariants**:
//! everything that was read stands in it, also what could not be read; fields are only added (`v` says when not). **Not
//! here**: reading (`replay`), the tree (`tree`).

use serde::Serialize;

use crate::error::ReadError;
use vault::document::Item;
use vault::row::Row;

use super::session::{Hidden, Replay, Total};
use super::tree::TurnOf;

/// The document.
#[derive(Serialize)]
struct Report<'r> {
    v: u8,
    session: &'r str,
    /// Accounts and tenants it was found under.
    accounts: Vec<&'r str>,
    /// What was erased of it, by whom.
    erased: &'r [String],
    /// Turns, and the calls in them.
    turns: Vec<TurnOf>,
    /// Everything in order of time.
    entries: Vec<Entry<'r>>,
    total: Total,
    /// Objects and fragments that could not be read, and why.
    not_read: &'r [String],
}

/// One thing that happened.
#[derive(Serialize)]
struct Entry<'r> {
    at: &'r str,
    /// The index line; null: no line knows it (yet).
    line: Option<&'r Row>,
    /// What the vault holds of it; null where it had no content, or that could not be opened.
    item: Option<&'r Item>,
    /// Its line stands in an object that no signed digest names; absent: it does, or nobody looked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unsigned: bool,
    /// What the rules hide of it downstream, by placeholder; absent: there is no content, or nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<&'r Hidden>,
}

impl Replay {
    /// The session as JSON.
    ///
    /// # Errors
    /// It can't be written down: none known.
    pub fn json(&self) -> Result<String, ReadError> {
        let entries = self.entries().iter();
        let report = Report {
            v: 1,
            session: self.id(),
            accounts: self.accounts().collect(),
            erased: self.erased(),
            turns: self.tree(),
            entries: entries
                .map(|entry| Entry {
                    at: &entry.at,
                    line: entry.row.as_ref(),
                    item: entry.item.as_ref(),
                    unsigned: self.is_unsigned(entry),
                    redacted: entry.hidden.as_ref(),
                })
                .collect(),
            total: self.total(),
            not_read: self.closed(),
        };
        serde_json::to_string_pretty(&report).map_err(|error| ReadError::Unavailable(error.to_string()))
    }
}
