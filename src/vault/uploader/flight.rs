//! **What**: one attempt to write one object, and the pause after a failure. **Why**: the bytes are read from the
//! spool at each attempt, so that a long outage takes no memory. **Invariants**: the same records give the same bytes.
//! **Not here**: what comes next (`shelf`).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::clock::UnixNanos;
use crate::pipeline::spool::Seq;
use crate::rng::Rng;
use crate::vault::record::{self, FragmentHeader, KeyHeader, SealHeader};
use crate::vault::store::{ObjectKind, Put, StoreError, VaultStore};

use super::journal::Journal;
use super::shelf::{Item, Part};

/// Longest hole that is filled with zeros, bytes.
const MAX_HOLE: u64 = 256 << 20;

/// An attempt that ended.
pub(super) struct Landed {
    pub(super) item: Item,
    pub(super) result: Result<Put, Failure>,
}

/// Why it failed.
pub(super) enum Failure {
    /// Its records are gone: an operator dropped them from the spool.
    Gone,
    /// The journal or the store.
    Store(StoreError),
}

impl Failure {
    /// The metric label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Store(error) => error.label(),
        }
    }
}

/// Reads the object's bytes and writes them.
pub(super) async fn fly(journal: Arc<dyn Journal>, store: Arc<dyn VaultStore>, item: Item, now: UnixNanos) -> Landed {
    let result = match bytes(&*journal, &item).await {
        Ok(bytes) => store.put_once(item.kind, &item.name, bytes, now).await.map_err(Failure::Store),
        Err(failure) => Err(failure),
    };
    Landed { item, result }
}

async fn bytes(journal: &dyn Journal, item: &Item) -> Result<Bytes, Failure> {
    match item.kind {
        ObjectKind::Key => whole::<KeyHeader>(journal, item.seq).await,
        ObjectKind::Index => whole::<SealHeader>(journal, item.seq).await,
        ObjectKind::Payload => {
            let mut out = BytesMut::with_capacity(item.parts.iter().map(|part| part.len as usize).sum());
            for part in &item.parts {
                match whole::<FragmentHeader>(journal, part.seq).await {
                    Ok(fragment) => {
                        fill_hole(&mut out, part, &item.name).map_err(Failure::Store)?;
                        out.extend_from_slice(&fragment);
                    }
                    Err(Failure::Gone) => {}
                    Err(failure) => return Err(failure),
                }
            }
            if out.is_empty() { Err(Failure::Gone) } else { Ok(out.freeze()) }
        }
    }
}

/// What stands behind a record's header.
async fn whole<H: serde::de::DeserializeOwned>(journal: &dyn Journal, seq: Seq) -> Result<Bytes, Failure> {
    let damaged = || StoreError::Corrupt("a record of the spool can't be understood".to_owned());
    let (_, rest): (H, _) = record::unpack(&body(journal, seq).await?).ok_or_else(|| Failure::Store(damaged()))?;
    Ok(rest)
}

/// Fragments are missing only when an operator dropped them from the spool: the others must keep their ranges.
fn fill_hole(out: &mut BytesMut, part: &Part, name: &str) -> Result<(), StoreError> {
    let hole = part.offset.saturating_sub(out.len() as u64);
    if part.offset < out.len() as u64 || hole > MAX_HOLE {
        return Err(StoreError::Corrupt("the fragments of an object overlap".to_owned()));
    }
    if hole > 0 {
        tracing::error!(
            object = name,
            bytes = hole,
            "fragments are missing from the spool; zeros stand in their place"
        );
        out.resize(out.len() + hole as usize, 0);
    }
    Ok(())
}

/// The body of one record.
pub(super) async fn body(journal: &dyn Journal, seq: Seq) -> Result<Bytes, Failure> {
    let after = seq.0.checked_sub(1).map(Seq);
    let read = journal.read(after, 1, 1).await.map_err(|why| Failure::Store(StoreError::Unavailable(why)))?;
    match read.into_iter().next() {
        Some(stored) if stored.seq == seq => Ok(stored.body),
        _ => Err(Failure::Gone),
    }
}

/// Waits after failures: 0.5 s, doubled up to a minute, with jitter; one attempt at a time meanwhile.
#[derive(Default)]
pub(super) struct Pause {
    failures: u32,
    until: Duration,
    said: Duration,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(60);
    const SAY_AGAIN: Duration = Duration::from_secs(60);

    /// Whether the last attempt failed.
    pub(super) fn failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether the next attempt may start.
    pub(super) fn over(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// How long to wait for the next attempt, at most `most`.
    pub(super) fn wait(&self, now: Duration, most: Duration) -> Duration {
        let left = self.until.saturating_sub(now);
        if left.is_zero() { most } else { left.min(most) }
    }

    /// The next attempt may start at once.
    pub(super) fn retry_now(&mut self) {
        self.until = Duration::ZERO;
    }

    /// An attempt failed. Whether it is time to say so.
    pub(super) fn failed(&mut self, now: Duration, rng: &dyn Rng) -> bool {
        let full = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::LONGEST);
        let mut byte = [0];
        rng.fill(&mut byte);
        let [byte] = byte;
        self.until = now + full / 2 + full * u32::from(byte) / 512;
        let say = self.failures == 0 || now.saturating_sub(self.said) >= Self::SAY_AGAIN;
        if say {
            self.said = now;
        }
        self.failures = self.failures.saturating_add(1);
        say
    }

    /// An attempt succeeded. Whether the one before had failed.
    pub(super) fn succeeded(&mut self) -> bool {
        let failed = self.failures > 0;
        *self = Self { said: self.said, ..Self::default() };
        failed
    }
}
