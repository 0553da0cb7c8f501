//! [`WritableVault`]: write access to a vault for people rather than gateways: erasers, and auditors who copy keys. All
//! writes go through the same write-once store. Neighbours: `erase` and `rewrap` decide what is written.

use std::sync::Arc;
use std::time::Duration;

use super::error::ReadError;
use super::location::{ParsedLocation, Vault, VaultLocation};
use vault::chain::note::VerifyKey;
use vault::store::settings::{LockMode, ObjectLock};
use vault::store::{DirectoryStore, S3Store, VaultEraser, VaultLegalHolds, VaultStore};

/// A vault with more rights than reading.
pub struct WritableVault {
    /// Read access.
    pub vault: Vault,
    /// Write access.
    pub store: Arc<dyn VaultStore>,
    /// Destroys keys.
    pub eraser: Arc<dyn VaultEraser>,
    /// Sets legal holds.
    pub holder: Arc<dyn VaultLegalHolds>,
    /// Public keys of the writers' signers. Only lines that they signed count as evidence of a user's sessions.
    pub keys: Vec<VerifyKey>,
}

impl WritableVault {
    /// The vault at `location`. Objects written to S3 are locked for `days`, or else by the bucket's default. No I/O.
    ///
    /// # Errors
    /// The location is not valid.
    pub fn from_location(location: &VaultLocation, days: Option<u32>) -> Result<Self, ReadError> {
        Ok(match location.parse()? {
            ParsedLocation::Folder(folder) => {
                let store = Arc::new(DirectoryStore::new(folder));
                Self {
                    vault: Vault::new(store.clone(), "", None),
                    store: store.clone(),
                    eraser: store.clone(),
                    holder: store,
                    keys: Vec::new(),
                }
            }
            ParsedLocation::S3 { mut settings, prefix } => {
                let retention = |days| Duration::from_secs(u64::from(days) * 86_400);
                settings.lock = days.map(|days| ObjectLock { mode: LockMode::Compliance, retention: retention(days) });
                let bucket = settings.bucket.clone();
                let store = Arc::new(S3Store::new(*settings));
                Self {
                    vault: Vault::new(store.clone(), &prefix, Some(bucket)),
                    store: store.clone(),
                    eraser: store.clone(),
                    holder: store,
                    keys: Vec::new(),
                }
            }
        })
    }
}
