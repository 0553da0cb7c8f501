//! [`VaultEraser`]: destroys key objects with all their versions, and reports legal holds. Neither a writer nor an
//! auditor has these rights. The objects are destroyed when the call returns. S3 refuses to destroy objects under legal
//! hold; for a directory, the caller checks [`VaultEraser::is_on_hold`]. Neighbour: `audit/erase` decides what may be
//! destroyed.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::ObjectLockLegalHoldStatus;

use super::directory::{DirectoryStore, classify_io_error as io_error, sync_folder};
use super::object::{ObjectKind, ObjectVersion, StoreError, StoreFuture};
use super::s3::{S3Store, to_store_error};
use kernel::files::final_name;

/// Destroys key objects.
pub trait VaultEraser: Send + Sync {
    /// Whether a version of the object is under legal hold.
    fn is_on_hold<'a>(&'a self, kind: ObjectKind, name: &'a str) -> StoreFuture<'a, bool>;

    /// Destroys all versions, and the delete markers over them, of the key objects whose names begin with `prefix` and
    /// satisfy `is_target`, at any depth. Returns how many there were; none is not an error.
    fn destroy<'a>(&'a self, prefix: &'a str, is_target: &'a ErasePredicate<'a>) -> StoreFuture<'a, u64>;
}

/// Whether an object of this name is to be destroyed.
pub type ErasePredicate<'o> = dyn Fn(&str) -> bool + Send + Sync + 'o;

impl VaultEraser for DirectoryStore {
    fn is_on_hold<'a>(&'a self, _: ObjectKind, name: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(self.is_held(name))
    }

    fn destroy<'a>(&'a self, prefix: &'a str, is_target: &'a ErasePredicate<'a>) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let top = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut destroyed = 0;
            for (listed, path) in self.walk_files(top).await? {
                // a temporary file left by a crashed writer holds the same secret
                let (folder, file) = listed.rsplit_once('/').unwrap_or(("", &listed));
                let name = format!("{folder}/{}", final_name(file).unwrap_or(file));
                if name.starts_with(prefix) && is_target(&name) {
                    tokio::fs::remove_file(&path).await.map_err(io_error)?;
                    sync_folder(path.parent().unwrap_or(&self.root)).await.map_err(io_error)?;
                    destroyed += 1;
                }
            }
            Ok(destroyed)
        })
    }
}

impl S3Store {
    /// Versions of the names that satisfy `is_target`, followed by the delete markers over them.
    async fn versions_of(
        &self,
        kind: ObjectKind,
        prefix: &str,
        is_target: &ErasePredicate<'_>,
    ) -> Result<Vec<ObjectVersion>, StoreError> {
        let mut listed = Vec::new();
        let mut select = |version: ObjectVersion| {
            if is_target(&version.name) && !version.id.is_empty() {
                listed.push(version);
            }
        };
        self.each_version(kind, prefix, &mut select).await?;
        listed.sort_by_key(|version| version.marker);
        Ok(listed)
    }

    pub(super) async fn version_ids(&self, kind: ObjectKind, name: &str) -> Result<Vec<String>, StoreError> {
        let versions = self.versions_of(kind, name, &|listed| listed == name).await?;
        Ok(versions.into_iter().filter(|version| !version.marker).map(|version| version.id).collect())
    }
}

/// Whether the object or its bucket has no lock, so that the object can't be under legal hold.
fn has_no_lock<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    const CODES: [&str; 3] =
        ["NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"];
    matches!(error, SdkError::ServiceError(service) if CODES.contains(&service.err().code().unwrap_or_default()))
}

impl VaultEraser for S3Store {
    fn is_on_hold<'a>(&'a self, kind: ObjectKind, name: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            for id in self.version_ids(kind, name).await? {
                let get = self.client().await?.get_object_legal_hold().bucket(self.bucket(kind)).key(name);
                match get.version_id(id).send().await {
                    Ok(hold) => {
                        let status = hold.legal_hold.and_then(|hold| hold.status);
                        if status == Some(ObjectLockLegalHoldStatus::On) {
                            return Ok(true);
                        }
                    }
                    Err(error) if has_no_lock(&error) => {}
                    Err(error) => return Err(to_store_error(error)),
                }
            }
            Ok(false)
        })
    }

    fn destroy<'a>(&'a self, prefix: &'a str, is_target: &'a ErasePredicate<'a>) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let mut destroyed = 0;
            // markers last: after an interrupted run, the next one still sees that there was something
            for ObjectVersion { name, id, .. } in self.versions_of(ObjectKind::Key, prefix, is_target).await? {
                let delete = self.client().await?.delete_object().bucket(self.bucket(ObjectKind::Key)).key(name);
                let delete = delete.version_id(id).bypass_governance_retention(true).send().await;
                delete.map_err(to_store_error)?;
                destroyed += 1;
            }
            Ok(destroyed)
        })
    }
}
