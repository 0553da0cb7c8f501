//! Stores of the vault: [`VaultStore`] writes objects once, [`VaultReader`] reads them, [`VaultEraser`] destroys keys,
//! and [`VaultLegalHolds`] sets legal holds. The traits are separate because the roles have different rights: a writer
//! needs neither get nor list. A name is never overwritten, and bytes are on stable storage when a put returns.
//! Neighbour: `uploader` handles retries and order.

pub mod directory;
mod erase;
mod hold;
pub mod kinds;
mod object;
pub mod probe;
pub mod s3;
pub mod settings;
pub mod spec;
mod sweep;

pub use directory::DirectoryStore;
pub use erase::{ErasePredicate, VaultEraser};
pub use hold::VaultLegalHolds;
pub use object::{
    ObjectKind, ObjectVersion, PageStart, PutOutcome, StoreError, StoreFuture, SweepResult, VaultReader, VaultStore,
    VersionLock, VersionPage,
};
pub use s3::S3Store;
pub use settings::DirectoryLimits;

#[cfg(test)]
mod tests;
