//! [`OpenSessions`]: the sessions of one chain whose session line is not written yet.
//!
//! The sessions cover the index lines of stored digests and are saved with the chain's position, so that each index
//! line counts once, even after a crash. Session lines go into a digest only if no earlier digest is in flight. At most
//! [`MAX_OPEN_SESSIONS`] are kept; beyond that, those idle for longest get their line early. Neighbour: the crate's
//! `sessions` defines a line's content.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use crate::call_dedup::CallDeduplicator;
use crate::index_row::IndexRow;
use crate::object_names::rfc3339;
use crate::sessions::{SessionIdentity, SessionLine};
use kernel::clock::UnixNanos;

pub(super) const MAX_OPEN_SESSIONS: usize = 8_192;
const MAX_LINES_PER_DIGEST: usize = 4_096;
/// A session that was idle this long is over.
pub(super) const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(1_800);
/// Largest object with lines, after decompression.
const MAX_DECOMPRESSED_BYTES: u64 = 256 << 20;
/// Capacity of the memory for reports of calls, for each chain.
const MAX_REMEMBERED_REPORTS: usize = 1 << 16;

/// Sessions without a session line (see the module).
pub(super) struct OpenSessions {
    lines: BTreeMap<SessionIdentity, SessionLine>,
    /// Not saved: a call that is reported both before and after a restart is counted twice.
    calls: CallDeduplicator,
}

impl Default for OpenSessions {
    fn default() -> Self {
        Self { lines: BTreeMap::new(), calls: CallDeduplicator::with_capacity(MAX_REMEMBERED_REPORTS) }
    }
}

impl OpenSessions {
    pub(super) fn restore(saved: Vec<SessionLine>) -> Self {
        Self { lines: saved.into_iter().map(|session| (session.own_session(), session)).collect(), ..Self::default() }
    }

    pub(super) fn to_saved(&self) -> Vec<SessionLine> {
        self.lines.values().cloned().collect()
    }

    /// The lines of sessions that are over at `now`, each ended by a line feed, and their number.
    pub(super) fn due_lines(&self, now: UnixNanos) -> (Vec<u8>, u64) {
        let idle_since = rfc3339(UnixNanos(
            now.0.saturating_sub(u64::try_from(SESSION_IDLE_TIMEOUT.as_nanos()).unwrap_or(u64::MAX)),
        ));
        let mut due: Vec<&SessionLine> =
            self.lines.values().filter(|session| session.ended || session.seen_ts < idle_since).collect();
        if let Some(excess) = self.lines.len().checked_sub(MAX_OPEN_SESSIONS + due.len()) {
            let mut not_due: Vec<&SessionLine> =
                self.lines.values().filter(|session| !session.ended && session.seen_ts >= idle_since).collect();
            not_due.sort_unstable_by(|first, second| first.seen_ts.cmp(&second.seen_ts));
            due.extend(not_due.into_iter().take(excess));
        }
        due.truncate(MAX_LINES_PER_DIGEST);
        let mut out = Vec::new();
        for session in &due {
            out.extend_from_slice(&serde_json::to_vec(session).unwrap_or_default()); // plain fields: can't fail
            out.push(b'\n');
        }
        (out, due.len() as u64)
    }

    /// Records a stored digest: its session lines are written, and its index lines count from now on. Both arguments
    /// are in stored form.
    pub(super) fn apply_stored_digest(&mut self, index: &[u8], sessions: &[u8]) {
        for line in decompress_lines(sessions) {
            if let Ok(session) = serde_json::from_slice::<SessionLine>(&line) {
                self.lines.remove(&session.own_session());
            }
        }
        for line in decompress_lines(index) {
            let Ok(row) = serde_json::from_slice::<IndexRow>(&line) else { continue };
            if let Some(identity) = SessionLine::session_of(&row) {
                self.lines.entry(identity).or_default().add(&row, &mut self.calls);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

fn decompress_lines(compressed: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    if !compressed.is_empty()
        && let Ok(decoder) = zstd::Decoder::new(compressed)
        && decoder.take(MAX_DECOMPRESSED_BYTES).read_to_end(&mut out).is_ok()
    {
        return out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    }
    Vec::new()
}
