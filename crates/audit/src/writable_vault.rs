//! [`WritableVault`]: write access to a vault for people, rather than gateways, who erase content, copy keys or set
//! holds. All objects are written through the same write-once store. Neighbours: `erase`, `rewrap` and `hold`.

use std::sync::Arc;
use std::time::Duration;

use super::error::ReadError;
use super::location::{Vault, VaultLocation};
use vault::chain::note::VerifyKey;
use vault::store::settings::{LockMode, ObjectLock};
use vault::store::spec::OpenedStore;
use vault::store::{VaultEraser, VaultLegalHolds, VaultStore};

/// A vault with the rights to read, write, erase and hold.
pub struct WritableVault {
    /// Read access.
    pub vault: Vault,
    /// Write access.
    pub store: Arc<dyn VaultStore>,
    /// Destroys keys.
    pub eraser: Arc<dyn VaultEraser>,
    /// Sets legal holds.
    pub holder: Arc<dyn VaultLegalHolds>,
    /// Public keys of the gateways' signers. Only lines signed by one of these keys show which sessions are a user's.
    pub keys: Vec<VerifyKey>,
}

impl WritableVault {
    /// The vault at `location`. Objects written to S3 are locked for `lock_days`, or by the bucket's default if `None`.
    /// The store is not contacted yet.
    pub fn from_location(location: &VaultLocation, lock_days: Option<u32>) -> Result<Self, ReadError> {
        let lock = lock_days.map(|days| ObjectLock {
            mode: LockMode::Compliance,
            retention: Duration::from_secs(u64::from(days) * 86_400),
        });
        let OpenedStore { store, prefix, bucket, .. } = location.open(false, lock)?;
        let vault = Vault::new(store.clone(), &prefix, bucket);
        Ok(Self { vault, store: store.clone(), eraser: store.clone(), holder: store, keys: Vec::new() })
    }
}
