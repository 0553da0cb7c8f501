//! The vault that each signed request of an erasure or opening names. People sign for one vault, so a request for
//! another one is worth a warning. It is no failure: copies and moved vaults keep the requests with the earlier name.
//! Neighbours: `erasures` and `openings` judge the requests.

use kernel::terminal::format_count;

use super::run_state::{NamedStore, VerificationRun};

impl VerificationRun<'_> {
    /// Adds the vault that a valid line's request names.
    pub(super) fn add_named_store(&mut self, store: &str, ts: &str, location: &str) {
        let line = (ts.to_owned(), location.to_owned());
        let named = self
            .named_stores
            .entry(store.to_owned())
            .or_insert_with(|| NamedStore { requests: 0, first: line.clone() });
        named.requests += 1;
        named.first = line.min(std::mem::take(&mut named.first));
    }

    /// Warns of requests for another vault than this one. The path of a folder does not identify a vault, so there the
    /// vault of the earliest request is the expected one.
    pub(super) fn report_other_stores(&mut self) {
        let stores = std::mem::take(&mut self.named_stores);
        let earliest = || stores.iter().min_by_key(|(_, named)| &named.first).map(|(store, _)| store.clone());
        let Some(expected) = self.vault.s3_location().or_else(earliest) else { return };
        for (store, NamedStore { requests, first: (_, location) }) in stores.iter().filter(|one| *one.0 != expected) {
            let requests = format_count(*requests, "signed request");
            let message = format!(
                "{requests} for the vault {store}, not for {expected}, the first in this line: expected in a copy or a \
                 moved vault; otherwise check who signed a request for another vault"
            );
            self.report.warn("other_store", location, message);
        }
    }
}
