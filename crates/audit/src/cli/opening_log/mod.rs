//! The log of an auditor's openings: what was opened, when, with which keys. Auditors may have to account for their own
//! reading. A line is written and synced before anything is opened; if that fails, nothing is opened. The log can
//! be disabled explicitly. It contains no content and no secret keys. KMS has a log of its own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::json;

use command::error::{CommandError, Result};
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::escape_json;
use vault::object_names::rfc3339;

/// An append-only log file, or a disabled log.
pub(super) struct OpeningLog {
    file: Option<Mutex<File>>,
    store: String,
    /// Public keys of the identities in use.
    auditors: Vec<String>,
}

impl OpeningLog {
    /// The requested log: a file, `none`, or by default a file beside the first key file. Creates the file (mode 0600).
    ///
    /// # Errors
    /// The file can't be opened; the message says how to do without it.
    pub(super) fn open_requested(
        requested: Option<&Path>,
        first_identity: Option<&Path>,
        store: &str,
        auditors: &[age::x25519::Identity],
    ) -> Result<Self> {
        let default_path = || {
            let mut name = first_identity?.as_os_str().to_owned();
            name.push(".openings.jsonl");
            Some(PathBuf::from(name))
        };
        let path = match requested {
            Some(path) => Some(path.to_owned()).filter(|path| path.as_os_str() != "none"),
            None => default_path(),
        };
        // the name beside a key can be guessed, so another user may have put a link there
        let flags = if requested.is_none() { OFlags::NOFOLLOW | OFlags::NONBLOCK } else { OFlags::empty() };
        let file = path.map(|path| {
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
            options.open(&path).map(Mutex::new).map_err(|error| {
                let place = format!("the log of openings {}", path.display());
                let why = match error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
                    true => format!("{place} is a symbolic link that somebody may have planted: remove it"),
                    false => format!("{place} can't be written: {error}"),
                };
                CommandError::Failed(format!(
                    "{why}; nothing was opened: use --log FILE for another log, or --log none to open without logging"
                ))
            })
        });
        let auditors = auditors.iter().map(|identity| identity.to_public().to_string()).collect();
        Ok(Self { file: file.transpose()?, store: store.to_owned(), auditors })
    }

    /// Writes a line about content that is about to be opened, for `client` if that is another person than the one who
    /// runs the command.
    ///
    /// # Errors
    /// The line can't be written, so nothing may be opened.
    pub(super) fn record_opening(&self, client: Option<&str>, command: &str, content: &str) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let time = rfc3339(SystemClock::new().now());
        let mut line = json!({
            "time": time, "command": command, "target": content, "store": self.store, "auditors": self.auditors,
        });
        if let Some((line, client)) = line.as_object_mut().zip(client) {
            line.insert("client".to_owned(), client.into());
        }
        let mut file = file.lock();
        let written =
            file.write_all(format!("{}\n", escape_json(&line.to_string())).as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|error| {
            CommandError::Failed(format!("the log of openings can't be written, so nothing was opened: {error}"))
        })
    }
}

#[cfg(test)]
mod tests;
