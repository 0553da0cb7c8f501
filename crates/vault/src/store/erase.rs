//! [`VaultEraser`]: destroys key objects with all their versions, and reports legal holds. Neither a writer nor an
//! auditor has these rights. The objects are destroyed when the call returns. S3 refuses to destroy objects under legal
//! hold; for a directory, the caller checks [`VaultEraser::is_on_hold`]. Neighbour: `audit/erase` decides what may be
//! destroyed.

use std::io::ErrorKind;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use futures_util::future::BoxFuture;

use super::directory::{DirectoryStore, classify_io_error as io_error, final_name, sync_folder};
use super::object::{ObjectKind, StoreError};
use super::s3::{S3Store, classify_sdk_error};

/// Destroys key objects.
pub trait VaultEraser: Send + Sync {
    /// Whether a version of the object is under legal hold.
    fn is_on_hold<'a>(&'a self, kind: ObjectKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Destroys all versions, and the delete markers over them, of the key objects whose names begin with `prefix` and
    /// satisfy `is_target`, at any depth. Returns how many there were; none is not an error.
    fn destroy<'a>(
        &'a self,
        prefix: &'a str,
        is_target: &'a ErasePredicate<'a>,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;
}

/// Whether an object of this name is to be destroyed.
pub type ErasePredicate<'o> = dyn Fn(&str) -> bool + Send + Sync + 'o;

impl VaultEraser for DirectoryStore {
    fn is_on_hold<'a>(&'a self, _: ObjectKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.is_held(name))
    }

    fn destroy<'a>(
        &'a self,
        prefix: &'a str,
        is_target: &'a ErasePredicate<'a>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let (top, mut destroyed) = (prefix.rsplit_once('/').map_or("", |(folder, _)| folder), 0);
            let mut folders = vec![(top.to_owned(), self.path(top)?)];
            while let Some((folder_name, folder)) = folders.pop() {
                let mut entries = match tokio::fs::read_dir(&folder).await {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(io_error(error)),
                };
                let destroyed_before = destroyed;
                while let Some(entry) = entries.next_entry().await.map_err(io_error)? {
                    let file = entry.file_name().to_string_lossy().into_owned();
                    if entry.file_type().await.map_err(io_error)?.is_dir() {
                        folders.push((format!("{folder_name}/{file}"), entry.path()));
                        continue;
                    }
                    // a temporary file left by a crashed writer holds the same secret
                    let name = format!("{folder_name}/{}", final_name(&file).unwrap_or(&file));
                    if name.starts_with(prefix) && is_target(&name) {
                        tokio::fs::remove_file(entry.path()).await.map_err(io_error)?;
                        destroyed += 1;
                    }
                }
                if destroyed > destroyed_before {
                    sync_folder(&folder).await.map_err(io_error)?;
                }
            }
            Ok(destroyed)
        })
    }
}

/// One version of an object, or a delete marker.
struct ListedVersion {
    name: String,
    id: String,
    is_marker: bool,
}

impl S3Store {
    /// Versions of the names that satisfy `is_target`, followed by the delete markers over them.
    async fn versions_of(
        &self,
        kind: ObjectKind,
        prefix: &str,
        is_target: &ErasePredicate<'_>,
    ) -> Result<Vec<ListedVersion>, StoreError> {
        let (mut listed, mut listed_markers) = (Vec::new(), Vec::new());
        let (mut key, mut version) = (None, None);
        loop {
            let list = self.client().await?.list_object_versions().bucket(self.bucket(kind)).prefix(prefix);
            let page = list.set_key_marker(key.take()).set_version_id_marker(version.take()).send().await;
            let page = page.map_err(|error| classify_sdk_error(&error).into_store_error())?;
            let select = |is_marker: bool, name: Option<String>, id: Option<String>| {
                Some(ListedVersion { name: name.filter(|name| is_target(name))?, id: id?, is_marker })
            };
            let versions = page.versions.unwrap_or_default().into_iter();
            listed.extend(versions.filter_map(|version| select(false, version.key, version.version_id)));
            let markers = page.delete_markers.unwrap_or_default().into_iter();
            listed_markers.extend(markers.filter_map(|marker| select(true, marker.key, marker.version_id)));
            (key, version) = (page.next_key_marker, page.next_version_id_marker);
            if page.is_truncated != Some(true) || key.is_none() {
                listed.append(&mut listed_markers);
                return Ok(listed);
            }
        }
    }

    pub(super) async fn version_ids(&self, kind: ObjectKind, name: &str) -> Result<Vec<String>, StoreError> {
        let versions = self.versions_of(kind, name, &|listed| listed == name).await?;
        Ok(versions.into_iter().filter(|version| !version.is_marker).map(|version| version.id).collect())
    }

    async fn is_any_version_held(&self, kind: ObjectKind, name: &str) -> Result<bool, StoreError> {
        for id in self.version_ids(kind, name).await? {
            let get = self.client().await?.get_object_legal_hold().bucket(self.bucket(kind)).key(name).version_id(id);
            match get.send().await {
                Ok(hold) => {
                    let status = hold.legal_hold.and_then(|hold| hold.status);
                    if status == Some(ObjectLockLegalHoldStatus::On) {
                        return Ok(true);
                    }
                }
                Err(error) if has_no_lock(&error) => {}
                Err(error) => return Err(classify_sdk_error(&error).into_store_error()),
            }
        }
        Ok(false)
    }

    async fn destroy_versions(&self, prefix: &str, is_target: &ErasePredicate<'_>) -> Result<u64, StoreError> {
        let mut destroyed = 0;
        // markers last: after an interrupted run, the next one still sees that there was something
        for ListedVersion { name, id, .. } in self.versions_of(ObjectKind::Key, prefix, is_target).await? {
            let delete = self.client().await?.delete_object().bucket(self.bucket(ObjectKind::Key)).key(name);
            let delete = delete.version_id(id).bypass_governance_retention(true).send().await;
            delete.map_err(|error| classify_sdk_error(&error).into_store_error())?;
            destroyed += 1;
        }
        Ok(destroyed)
    }
}

/// Whether the object or its bucket has no lock, so that the object can't be under legal hold.
fn has_no_lock<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    const CODES: [&str; 3] =
        ["NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"];
    matches!(error, SdkError::ServiceError(service) if CODES.contains(&service.err().code().unwrap_or_default()))
}

impl VaultEraser for S3Store {
    fn is_on_hold<'a>(&'a self, kind: ObjectKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.is_any_version_held(kind, name))
    }

    fn destroy<'a>(
        &'a self,
        prefix: &'a str,
        is_target: &'a ErasePredicate<'a>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(self.destroy_versions(prefix, is_target))
    }
}
