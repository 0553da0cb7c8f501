//! **What**: the file in which an auditor's openings are noted: who opened what, when. **Why**: reading evidence is
//! itself an act that somebody may have to account for. **Invariants**: a line is written and synced before anything is
//! opened; a line that can't be written opens nothing; who wants no log says so; no content, no secret key. **Not
//! here**: what a key service logs.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde_json::json;

use super::error::CommandError;
use kernel::clock::{Clock, SystemClock};
use vault::names::rfc3339;

/// A file that lines are added to, or none.
pub(super) struct OpeningLog {
    file: Option<Mutex<File>>,
    store: String,
    /// Public keys of the identities in use.
    auditors: Vec<String>,
}

impl OpeningLog {
    /// The log that a caller asked for: a file, `none`, or by default one beside the first of the key files that open.
    ///
    /// # Errors
    /// One line: the file, the reason, and how to do without.
    pub(super) fn of(
        given: Option<&Path>,
        identities: &[PathBuf],
        store: &str,
        auditors: &[age::x25519::Identity],
    ) -> Result<Self, CommandError> {
        let beside = || {
            let mut name = identities.first()?.clone().into_os_string();
            name.push(".openings.jsonl");
            Some(PathBuf::from(name))
        };
        let path = match given {
            Some(path) => Some(path.to_owned()).filter(|path| path.as_os_str() != "none"),
            None => beside(),
        };
        let log = Self::open(path.as_deref(), store, auditors);
        log.map_err(|why| {
            CommandError::Failed(format!(
                "{why}; nothing is opened: give --log FILE, or --log none to open without a note"
            ))
        })
    }

    /// Opens or makes the file (0600).
    ///
    /// # Errors
    /// One line: the file, the reason.
    pub(super) fn open(
        path: Option<&Path>,
        store: &str,
        auditors: &[age::x25519::Identity],
    ) -> Result<Self, CommandError> {
        let file = path.map(|path| {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            file.map(Mutex::new)
                .map_err(|error| format!("the log of openings {} can't be written: {error}", path.display()))
        });
        let auditors = auditors.iter().map(|identity| identity.to_public().to_string()).collect();
        Ok(Self { file: file.transpose()?, store: store.to_owned(), auditors })
    }

    /// Notes what is about to be opened.
    ///
    /// # Errors
    /// The line can't be written: nothing may be opened.
    pub(super) fn note(&self, command: &str, what: &str) -> Result<(), CommandError> {
        let Some(file) = &self.file else { return Ok(()) };
        let time = rfc3339(SystemClock::new().now());
        let line =
            json!({"time": time, "command": command, "what": what, "store": self.store, "auditors": self.auditors});
        let mut file = file.lock();
        let wrote = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
        wrote.map_err(|error| {
            CommandError::Failed(format!("the log of openings can't be written, so nothing is opened: {error}"))
        })
    }
}

#[cfg(test)]
mod tests;
