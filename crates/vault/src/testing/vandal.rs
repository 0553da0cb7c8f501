//! [`Vandal`]: attacks by someone with every right on objects in S3. It writes another version over an object, hides an
//! object behind a delete marker, or destroys a version.

use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kernel::sha256::Sha256;

use crate::store::s3::to_store_error;
use crate::store::{ObjectKind, ObjectVersion, S3Store, StoreError, VaultReader};

/// Has every right on these buckets.
pub struct Vandal(pub S3Store);

impl Vandal {
    /// Writes a version, whatever exists.
    ///
    /// # Errors
    /// The store refuses, or is unavailable.
    pub async fn overwrite(&self, kind: ObjectKind, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.0.client().await?.put_object().bucket(self.0.bucket(kind)).key(name);
        let put = put.checksum_sha256(STANDARD.encode(Sha256::digest(&bytes))).body(ByteStream::from(bytes));
        put.send().await.map(drop).map_err(to_store_error)
    }

    /// Puts a delete marker over an object.
    ///
    /// # Errors
    /// The store refuses, or is unavailable.
    pub async fn hide(&self, kind: ObjectKind, name: &str) -> Result<(), StoreError> {
        let delete = self.0.client().await?.delete_object().bucket(self.0.bucket(kind)).key(name);
        delete.send().await.map(drop).map_err(to_store_error)
    }

    /// Destroys one version or marker, even under governance.
    ///
    /// # Errors
    /// The store refuses (compliance, a legal hold), or is unavailable.
    pub async fn destroy(&self, kind: ObjectKind, version: &ObjectVersion) -> Result<(), StoreError> {
        let delete = self.0.client().await?.delete_object().bucket(self.0.bucket(kind)).key(&version.name);
        let delete = delete.version_id(&version.id).bypass_governance_retention(true);
        delete.send().await.map(drop).map_err(to_store_error)
    }

    /// Every version and marker of names with this prefix, newest first for each name.
    ///
    /// # Errors
    /// The store refuses, or is unavailable.
    pub async fn versions(&self, kind: ObjectKind, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        let (mut versions, mut after) = (Vec::new(), None);
        while let Some(page) = self.0.versions(kind, prefix, after.take()).await? {
            versions.extend(page.versions);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(versions)
    }
}
