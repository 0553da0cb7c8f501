//! The durable queue: sealed, append-only segments with group commit; consumers are cursors. A client gets its OK after
//! the fsync of its batch, and from then on nothing loses the batch. The invariants are in
//! `docs/decisions/0003-the-spool-on-disk.md`. Records are sent by `outlet` and uploaded by `vault/uploader`.

mod cipher;
mod commit;
pub mod config;
mod done;
mod encode;
mod handle;
mod index;
pub mod key;
mod meters;
mod open;
mod progress;
mod queue;
mod read;
mod record;
mod recover;
mod repack;
mod room;
mod scan;
mod segment;
pub mod status;
mod transaction;
mod upkeep;

#[cfg(test)]
mod tests;

pub use commit::Committer;
pub use config::{Config, Settings};
pub use handle::Spool;
pub use key::SpoolKey;
pub use room::Reservation;
pub use status::{ConsumerStatus, OpenError, ReadError, Status, Step};
pub use transaction::{MAX_HOLDERS, OnCommit, QUARANTINE, Record, RecordKind, Seq, Stored, Transaction, room_for};
