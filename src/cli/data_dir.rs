//! Finds the data directory of the embedded default: `--data-dir`, then `TOLLGATE_DATA_DIR`, then the XDG state
//! directory. Without a home directory nothing is guessed.

use std::path::{Path, PathBuf};

use command::error::CommandError;
use config::env;

/// Returns `given`, or else the tollgate folder in the XDG state directory.
///
/// # Errors
/// There is no home directory; the message says what to set.
pub(super) fn resolve_data_dir(given: Option<&Path>) -> Result<PathBuf, CommandError> {
    if let Some(path) = given {
        return Ok(path.to_path_buf());
    }
    let absolute = |name: &str| env::var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("tollgate")).ok_or_else(|| {
        let why = "no data directory: neither HOME nor XDG_STATE_HOME is set; use --data-dir DIR or TOLLGATE_DATA_DIR";
        CommandError::Config(why.to_owned())
    })
}
