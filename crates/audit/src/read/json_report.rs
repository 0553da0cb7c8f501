//! A session as one JSON document, for other programs: everything that was read, and a list of the parts that could not
//! be read. Fields are only ever added; any other change increases `schema`. Neighbours: `replay`, `call_tree`.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::error::{ReadError, Result};
use vault::document::DocumentItem;
use vault::index_row::IndexRow;

use super::call_tree::SessionTurn;
use super::session::{RedactionCounts, ReplayedSession, SessionTotal};

/// The JSON document.
#[derive(Serialize)]
struct ReplayReport<'r> {
    schema: u8,
    session: &'r str,
    /// Accounts and tenants under which the session was found.
    accounts: &'r BTreeSet<String>,
    /// Erasures of the session, with the requester.
    erasures: &'r [String],
    turns: Vec<SessionTurn>,
    /// All entries in order of time.
    entries: Vec<ReportEntry<'r>>,
    total: SessionTotal,
    /// Objects and fragments that could not be read, with reasons.
    unreadable: &'r [String],
}

/// One event of the session.
#[derive(Serialize)]
struct ReportEntry<'r> {
    time: &'r str,
    /// The index line; null if no line names the event (yet).
    line: Option<&'r IndexRow>,
    /// The item in the vault; null if the event had no content, or its content could not be opened.
    item: Option<&'r DocumentItem>,
    /// True if no signed digest names the line's object; absent if one does, or if signatures were not checked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unsigned: bool,
    /// Counts of the texts that the redaction rules hide from back ends, by placeholder; absent without content, or if
    /// the rules were not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<&'r RedactionCounts>,
}

impl ReplayedSession {
    /// The session as JSON.
    pub fn to_json(&self) -> Result<String> {
        let report = ReplayReport {
            schema: 1,
            session: &self.session,
            accounts: &self.accounts,
            erasures: &self.erasures,
            turns: self.tree(),
            entries: self
                .entries
                .iter()
                .map(|entry| ReportEntry {
                    time: &entry.at,
                    line: entry.row.as_ref(),
                    item: entry.item.as_ref(),
                    unsigned: self.is_unsigned(entry),
                    redacted: entry.redaction_counts.as_ref(),
                })
                .collect(),
            total: self.total(),
            unreadable: &self.unreadable,
        };
        serde_json::to_string_pretty(&report).map_err(|error| ReadError::new(error.to_string()))
    }
}
