//! **What**: [`VaultStore`]: where objects are written once; [`VaultReader`]: where readers find them; [`VaultEraser`]:
//! what destroys keys.
//! **Why**: writer and reader have different rights: a writer needs neither get nor list.
//! **Invariants**: a name is never overwritten; bytes are on stable storage when a put is done.
//! **Not here**: retries, order (`uploader`).

pub mod directory;
mod erase;
mod hold;
pub mod kinds;
mod limits;
mod object;
pub mod probe;
pub mod s3;
pub mod settings;
mod sweep;

pub use directory::{DIRECTORY_URI, DirectoryStore};
pub use erase::{Own, VaultEraser};
pub use hold::VaultHolder;
pub use limits::{Limits, Swept};
pub use object::{Held, ObjectKind, Put, StoreError, VaultReader, VaultStore, Version, VersionPage};
pub use s3::S3Store;

#[cfg(test)]
mod tests;
