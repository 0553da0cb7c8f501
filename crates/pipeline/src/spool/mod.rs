//! The durable queue: sealed, append-only segments with group commit. Each consumer reads in order and marks records as
//! done; a record is kept until all its consumers are done with it. A client gets its OK after the fsync of its batch,
//! and from then on no crash loses the batch. The invariants are in `docs/decisions/0003-the-spool-on-disk.md`. Records
//! are sent by `outlet` and uploaded by `vault/uploader`.

mod cipher;
mod commit;
pub mod config;
mod encode;
mod index;
pub mod key;
mod maintenance;
mod open;
mod progress;
mod queue;
mod read;
mod record;
mod recover;
mod repack;
mod scan;
mod segment;
mod space;
mod spool_handle;
mod spool_metrics;
pub mod status;
mod transaction;

#[cfg(test)]
mod tests;

pub use commit::Committer;
pub use config::{SpoolConfig, SpoolSettings};
pub use key::SpoolKey;
pub use open::SpoolSnapshot;
pub use space::RoomReservation;
pub use spool_handle::Spool;
pub use status::{CommitStep, ConsumerStatus, SpoolOpenError, SpoolReadError, SpoolStatus};
pub use transaction::{
    MAX_HOLDERS, OnCommit, QUARANTINE, RecordKind, RecordSeq, SpoolRecord, StoredRecord, Transaction, bytes_to_reserve,
};
