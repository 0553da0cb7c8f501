//! [`StoreAccessArgs`]: how commands connect to the store of a vault; every command that reads a vault shares these
//! options.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::read::VaultLocation;

/// Options of a store in S3.
#[derive(Args)]
pub struct StoreAccessArgs {
    /// Region of the buckets.
    #[arg(long, env = "AWS_REGION")]
    region: Option<String>,
    /// Address of an S3-compatible store other than AWS.
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL", value_parser = parse_server_url)]
    endpoint: Option<String>,
    /// Addresses buckets as `endpoint/bucket/key`.
    #[arg(long)]
    force_path_style: bool,
    /// PEM certificates to trust.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Reads the first version of each object instead of the newest, so that later versions and delete markers have no
    /// effect (S3).
    #[arg(long)]
    first_version: bool,
}

/// Checks an address by the client's rules; an empty variable counts as unset.
pub fn parse_server_url(text: &str) -> Result<String, String> {
    if !text.is_empty() {
        config::address::parse_url(text)?;
    }
    Ok(text.to_owned())
}

impl StoreAccessArgs {
    /// The certificates to trust, if given.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The region, if given.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The location of `store`, a folder or `s3://bucket/prefix`; `keys` is the bucket of key objects if it is another
    /// one.
    pub fn location(&self, store: &str, keys: Option<&str>) -> VaultLocation {
        VaultLocation {
            store: store.to_owned(),
            keys: keys.map(str::to_owned),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            force_path_style: self.force_path_style,
            ca_file: self.ca_file.clone(),
            oldest: self.first_version,
        }
    }
}
