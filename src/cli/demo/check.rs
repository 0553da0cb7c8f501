//! The checks of the demo, on what came in, what went out and what is on disk. A finding names places and counts, never
//! payload. `story` shows the results.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use memchr::memmem;

use super::captured::CapturedTelemetry;
use super::private_text_search::PrivateTextSearch;
use super::session::{ADDED_SECRETS, RecordedRequest};
use crate::cli::error::CommandError;

/// The start of a canary, which continues with a word, a separator and `CANARY_DIGITS` hex digits.
const CANARY: &[u8] = b"CANARY-";
const CANARY_DIGITS: usize = 16;

/// The canaries of a session: marks placed in every private text of the recording.
pub(super) fn find_canaries(requests: &[RecordedRequest]) -> BTreeSet<String> {
    let canary = |request: &RecordedRequest, at: usize| {
        let after_prefix = request.body.get(at + CANARY.len()..)?;
        let word_len =
            after_prefix.iter().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()).count();
        let mark = request.body.get(at..at + CANARY.len() + word_len + 1 + CANARY_DIGITS)?;
        let mark = std::str::from_utf8(mark).ok()?;
        mark.ends_with(|c: char| c.is_ascii_hexdigit()).then(|| mark.to_owned())
    };
    let find = |request: &RecordedRequest| -> Vec<String> {
        memmem::find_iter(&request.body, CANARY).filter_map(|at| canary(request, at)).collect()
    };
    requests.iter().flat_map(find).collect()
}

/// A search for the canaries and for the private texts that the demo adds.
///
/// # Errors
/// There are too many texts.
pub(super) fn build_search(canaries: &BTreeSet<String>) -> Result<PrivateTextSearch, CommandError> {
    PrivateTextSearch::new(canaries.iter().cloned().chain(ADDED_SECRETS.map(str::to_owned)).collect())
}

/// Whether the auditor has all marks. If there are no marks, nothing is proved.
pub(super) fn has_all(found: usize, total: usize) -> bool {
    total > 0 && found == total
}

/// The places searched for private texts, and the findings.
#[derive(Default)]
pub(super) struct LeakSearch {
    /// Number of bytes searched.
    pub(super) bytes: u64,
    /// Places with the private texts found there.
    pub(super) found: Vec<(String, BTreeSet<String>)>,
}

impl LeakSearch {
    /// Searches `bytes`, which come from `place`.
    pub(super) fn search_bytes(&mut self, search: &PrivateTextSearch, place: &str, bytes: &[u8]) {
        // The space that the spool preallocates on disk is all zeros.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let bytes = bytes.get(..end).unwrap_or_default();
        self.bytes += bytes.len() as u64;
        let found = search.find(bytes);
        if !found.is_empty() {
            self.found.push((place.to_owned(), found.into_iter().map(str::to_owned).collect()));
        }
    }

    /// Searches every file below `directory`.
    ///
    /// # Errors
    /// A file can't be read.
    pub(super) fn search_files(&mut self, search: &PrivateTextSearch, directory: &Path) -> Result<(), CommandError> {
        let mut folders = vec![directory.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let with_folder = |error: std::io::Error| format!("{}: {error}", folder.display());
            let entries = std::fs::read_dir(&folder).map_err(with_folder)?;
            let mut paths: Vec<PathBuf> =
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(with_folder)?;
            paths.sort();
            for path in paths {
                match read_unless_folder(&path) {
                    Ok(Some(bytes)) => self.search_bytes(search, &path.display().to_string(), &bytes),
                    Ok(None) => folders.push(path),
                    // The spool removes segments while this runs.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(CommandError::Failed(format!("{}: {error}", path.display()))),
                }
            }
        }
        Ok(())
    }
}

/// The contents of a file; `None` for a folder.
fn read_unless_folder(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    if std::fs::symlink_metadata(path)?.is_dir() { Ok(None) } else { std::fs::read(path).map(Some) }
}

/// Names of spans and log records that came in and did not go out.
pub(super) fn find_missing(incoming: &CapturedTelemetry, outgoing: &CapturedTelemetry) -> Vec<String> {
    let comparable = incoming.items().filter(|item| item.identity().is_some());
    comparable.filter(|item| outgoing.find_same(*item).is_none()).map(|item| item.name().to_owned()).collect()
}
