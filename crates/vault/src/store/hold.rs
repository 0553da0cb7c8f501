//! [`VaultLegalHolds`]: legal holds on objects. A directory has no locks, so its holds are read from their notes. A
//! hold covers every version of an object. Neighbour: the crate `audit` decides which objects are held.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{ObjectLockLegalHold, ObjectLockLegalHoldStatus};
use bytes::Bytes;

use super::directory::{DirectoryStore, read_regular};
use super::object::{ObjectKind, StoreError, StoreFuture};
use super::s3::{S3Store, to_store_error};
use crate::hold_note::{HOLDS_FOLDER, MAX_NOTE_BYTES, active_holds, drop_oversized, note_number};
use crate::object_names::ObjectName;

/// Sets and releases legal holds.
pub trait VaultLegalHolds: Send + Sync {
    /// Sets a hold on every version of an object, or releases it. False if the store has no holds of its own and relies
    /// on notes.
    fn set_hold<'a>(&'a self, kind: ObjectKind, name: &'a str, set: bool) -> StoreFuture<'a, bool>;
}

impl VaultLegalHolds for S3Store {
    fn set_hold<'a>(&'a self, kind: ObjectKind, name: &'a str, set: bool) -> StoreFuture<'a, bool> {
        let status = if set { ObjectLockLegalHoldStatus::On } else { ObjectLockLegalHoldStatus::Off };
        Box::pin(async move {
            for id in self.version_ids(kind, name).await? {
                let put =
                    self.client().await?.put_object_legal_hold().bucket(self.bucket(kind)).key(name).version_id(id);
                let hold = ObjectLockLegalHold::builder().status(status.clone()).build();
                put.legal_hold(hold).send().await.map_err(to_store_error)?;
            }
            Ok(true)
        })
    }
}

impl VaultLegalHolds for DirectoryStore {
    fn set_hold<'a>(&'a self, _: ObjectKind, _: &'a str, _: bool) -> StoreFuture<'a, bool> {
        Box::pin(async { Ok(false) })
    }
}

impl DirectoryStore {
    /// Whether a note holds the object: a note of its session, or for a packed object a note of any session of its
    /// account.
    pub(super) async fn is_held(&self, name: &str) -> Result<bool, StoreError> {
        let held_path = match name.strip_prefix("keys/") {
            Some(rest) => rest.split('/').take(3).collect::<Vec<_>>().join("/"),
            None => match ObjectName::parse(name) {
                None => return Ok(false),
                Some(ObjectName { scope: Some(scope), .. }) => {
                    format!("{}/{}/{}", scope.account, scope.tenant, scope.session)
                }
                Some(object) => object.account,
            },
        };
        let mut folders: BTreeMap<String, BTreeMap<u64, Bytes>> = BTreeMap::new();
        for (name, path) in self.walk_files(&format!("{HOLDS_FOLDER}{held_path}")).await? {
            let Some((folder, file)) = name.rsplit_once('/') else { continue };
            if let Some(number) = note_number(file) {
                // an unreadable note counts as a hold
                let note = read_regular(&path, MAX_NOTE_BYTES).await.unwrap_or_default();
                folders.entry(folder.to_owned()).or_default().insert(number, drop_oversized(note.into()));
            }
        }
        Ok(folders.values().any(|notes| !active_holds(notes).is_empty()))
    }
}
