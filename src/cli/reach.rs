//! **What**: [`Reach`]: how commands reach the store of a vault.
//! **Why**: every command that reads a vault takes the same options. **Not here**: which vault, whose keys.

use std::path::{Path, PathBuf};

use clap::Args;

use audit::read::Location;

/// Options of a store in S3.
#[derive(Args)]
pub(super) struct Reach {
    /// Region of the buckets.
    #[arg(long, env = "AWS_REGION")]
    region: Option<String>,
    /// Address of a store that is not AWS.
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL", value_parser = server)]
    endpoint: Option<String>,
    /// Address buckets as `endpoint/bucket/key`.
    #[arg(long)]
    force_path_style: bool,
    /// PEM certificates to trust.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Read the first version of each object, not the newest: what was written over it, or hides it, is looked through
    /// (S3).
    #[arg(long)]
    oldest: bool,
}

/// An address as the client reads it, too; an empty variable is none.
pub(super) fn server(text: &str) -> Result<String, String> {
    if !text.is_empty() {
        config::address::url(text)?;
    }
    Ok(text.to_owned())
}

impl Reach {
    /// Certificates to trust, if any were given.
    pub(super) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The region that was given.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Where `store` is: a folder or `s3://bucket/prefix`; `keys` is the bucket of key objects, if it is another one.
    pub(super) fn location(&self, store: &str, keys: Option<&str>) -> Location {
        Location {
            store: store.to_owned(),
            keys: keys.map(str::to_owned),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            force_path_style: self.force_path_style,
            ca_file: self.ca_file.clone(),
            oldest: self.oldest,
        }
    }
}
