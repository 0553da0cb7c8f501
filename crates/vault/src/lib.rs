//! **What**: the audit vault: sealed fragments in write-once objects, their keys, their index. **Why**: content leaves
//! the telemetry and stays provable: tollgate can write it and can't read it. **Invariants**: nothing readable at rest;
//! a name is written once, with the same bytes at every attempt; keys are stored before the objects that need them,
//! objects before the index lines that point to them; an upload can be resumed from the spool alone. **Not here**:
//! reading a vault (the crate `audit`), what is content and how spans are stamped (`processors/vault`), redaction
//! rules.
//!
//! A payload object is one or more age files, end to end; each holds one zstd frame of JSON. Stock tools open it:
//!
//! ```bash
//! age -d -i auditor.key KEYS/keys/ACCOUNT/TENANT/SESSION/DATE/KEY_ID.age > session.key
//! # first-last of the range attribute (`10#`: its zeros are no octal); tail counts from 1
//! first=$((10#0000000612)) last=$((10#0000002047))
//! tail -c +$((first + 1)) OBJECT.agev | head -c $((last - first + 1)) | age -d -i session.key | zstd -dc | jq .
//! zstd -dc INDEX.ndjson.zst
//! ```

mod aws;
pub mod books;
pub mod calls;
pub mod chain;
pub mod delta;
pub mod document;
pub mod hold_note;
pub mod keygen;
pub mod keys;
pub mod kms;
pub mod names;
mod piece;
pub mod policy;
pub mod record;
pub mod row;
pub mod schema;
pub mod seal;
pub mod sessions;
pub mod store;
pub mod ticket;
pub mod uploader;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
