//! The audit vault: content leaves the telemetry as sealed fragments in write-once objects, with session keys and a
//! signed index. tollgate can write content but cannot read it back.
//!
//! Content is never stored readable. An object name is written once, with the same bytes at every attempt. Keys are
//! stored before the objects that need them, and objects before the index lines that point to them. An upload can be
//! resumed from the spool alone.
//!
//! Neighbours: the crate `audit` reads a vault; `processors/vault` decides what is content and stamps spans.
//!
//! A payload object is one or more age files, end to end; each holds one zstd frame of JSON. Stock tools open it:
//!
//! ```bash
//! age -d -i auditor.key KEYS/keys/ACCOUNT/TENANT/SESSION/DATE/KEY_ID.age > session.key
//! # first-last of the range attribute (`10#`: leading zeros do not mean octal); tail counts from 1
//! first=$((10#0000000612)) last=$((10#0000002047))
//! tail -c +$((first + 1)) OBJECT.agev | head -c $((last - first + 1)) | age -d -i session.key | zstd -dc | jq .
//! zstd -dc INDEX.ndjson.zst
//! ```

mod age_file;
pub mod aws;
pub mod call_dedup;
pub mod chain;
pub mod delta;
pub mod document;
mod fast_recipient;
pub mod hold_note;
pub mod index_row;
pub mod key_ring;
pub mod key_shares;
pub mod keygen;
pub mod kms;
pub mod object_names;
mod piece;
pub mod policy;
pub mod recipients;
pub mod schema;
pub mod seal;
pub mod sessions;
pub mod spool_record;
pub mod store;
pub mod ticket;
pub mod uploader;
pub mod vault_writer;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
