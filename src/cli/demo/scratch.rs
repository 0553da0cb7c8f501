//! [`ScratchDir`]: the demo's data directory. It is new, accessible to its owner only (0700), and removed on drop
//! unless it is to be kept.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::cli::error::CommandError;
use kernel::hex;
use kernel::rng::Rng;

/// A directory for one run.
pub(super) struct ScratchDir {
    path: PathBuf,
    keep: bool,
}

impl ScratchDir {
    /// Creates a directory in `parent`, or else in the system's temporary directory.
    ///
    /// # Errors
    /// The directory can't be created.
    pub(super) fn create(parent: Option<&Path>, keep: bool, rng: &dyn Rng) -> Result<Self, CommandError> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let creation_error = |path: &Path, error: std::io::Error| format!("can't create {}: {error}", path.display());
        std::fs::create_dir_all(&parent).map_err(|error| creation_error(&parent, error))?;
        let id = hex::encode(&rng.id());
        let path = parent.join(format!("tollgate-demo-{}", id.get(..8).unwrap_or(&id)));
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| creation_error(&path, error))?;
        Ok(Self { path, keep })
    }

    /// The directory's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if !self.keep {
            // An error can't be reported any more.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
