//! [`VaultLegalHolds`]: legal holds on objects. A directory has no locks, so its holds are read from their notes. A
//! hold covers every version of an object. Neighbour: the crate `audit` decides which objects are held.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use aws_sdk_s3::types::{ObjectLockLegalHold, ObjectLockLegalHoldStatus};
use futures_util::future::BoxFuture;

use super::directory::{DirectoryStore, classify_io_error as io_error, read_regular};
use super::object::{ObjectKind, StoreError};
use super::s3::{S3Store, classify_sdk_error};
use crate::hold_note::{HOLDS_FOLDER, MAX_NOTE_BYTES, active_holds, drop_oversized, note_number};
use crate::object_names::ObjectName;

/// Sets and releases legal holds.
pub trait VaultLegalHolds: Send + Sync {
    /// Sets a hold on every version of an object, or releases it. False if the store has no holds of its own and relies
    /// on notes.
    fn set_hold<'a>(&'a self, kind: ObjectKind, name: &'a str, set: bool) -> BoxFuture<'a, Result<bool, StoreError>>;
}

impl VaultLegalHolds for S3Store {
    fn set_hold<'a>(&'a self, kind: ObjectKind, name: &'a str, set: bool) -> BoxFuture<'a, Result<bool, StoreError>> {
        let status = if set { ObjectLockLegalHoldStatus::On } else { ObjectLockLegalHoldStatus::Off };
        Box::pin(async move {
            for id in self.version_ids(kind, name).await? {
                let put =
                    self.client().await?.put_object_legal_hold().bucket(self.bucket(kind)).key(name).version_id(id);
                let hold = ObjectLockLegalHold::builder().status(status.clone()).build();
                put.legal_hold(hold).send().await.map_err(|error| classify_sdk_error(&error).into_store_error())?;
            }
            Ok(true)
        })
    }
}

impl VaultLegalHolds for DirectoryStore {
    fn set_hold<'a>(&'a self, _: ObjectKind, _: &'a str, _: bool) -> BoxFuture<'a, Result<bool, StoreError>> {
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
        let mut folders: Vec<PathBuf> = vec![self.path(&format!("{HOLDS_FOLDER}{held_path}"))?];
        while let Some(folder) = folders.pop() {
            let mut entries = match tokio::fs::read_dir(&folder).await {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error(error)),
            };
            let mut notes = BTreeMap::new();
            while let Some(entry) = entries.next_entry().await.map_err(io_error)? {
                let path = entry.path();
                if entry.file_type().await.map_err(io_error)?.is_dir() {
                    folders.push(path);
                } else if let Some(number) = path.file_name().and_then(|name| note_number(&name.to_string_lossy())) {
                    // an unreadable note counts as a hold
                    notes.insert(
                        number,
                        drop_oversized(read_regular(&path, MAX_NOTE_BYTES).await.unwrap_or_default().into()),
                    );
                }
            }
            if !active_holds(&notes).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
