//! **What**: [`Place`]: a vault that somebody else than a gateway writes to: erasers, and auditors who make copies of
//! keys. **Invariants**: what is written goes through the same write-once store. **Not here**: what is written
//! (`erase`, `rewrap`).

use std::sync::Arc;
use std::time::Duration;

use super::error::ReadError;
use super::location::{Location, Site, Vault};
use vault::chain::note::VerifyKey;
use vault::store::settings::{Lock, LockMode};
use vault::store::{DirectoryStore, S3Store, VaultEraser, VaultHolder, VaultStore};

/// A vault with more rights than reading.
pub struct Place {
    /// To read from.
    pub vault: Vault,
    /// To write to.
    pub store: Arc<dyn VaultStore>,
    /// What destroys keys.
    pub eraser: Arc<dyn VaultEraser>,
    /// What sets legal holds.
    pub holder: Arc<dyn VaultHolder>,
    /// Public keys of the writers' signers: only what they signed tells which sessions a user has.
    pub keys: Vec<VerifyKey>,
}

impl Place {
    /// The vault at `location`; what is written there in S3 is locked for `days`, else as long as the bucket says. No
    /// I/O.
    ///
    /// # Errors
    /// When the location is none.
    pub fn at(location: &Location, days: Option<u32>) -> Result<Self, ReadError> {
        Ok(match location.site()? {
            Site::Folder(folder) => {
                let store = Arc::new(DirectoryStore::new(folder));
                Self {
                    vault: Vault::new(store.clone(), "", None),
                    store: store.clone(),
                    eraser: store.clone(),
                    holder: store,
                    keys: Vec::new(),
                }
            }
            Site::S3 { mut settings, prefix } => {
                let retention = |days| Duration::from_secs(u64::from(days) * 86_400);
                settings.lock = days.map(|days| Lock { mode: LockMode::Compliance, retention: retention(days) });
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
