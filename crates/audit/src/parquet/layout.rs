//! **What**: where tables and states lie below their folder.

/// Start of the tables' paths below the folder.
pub(super) const TABLES: &str = "parquet/v1";
/// Start of the paths of what was done.
pub(super) const STATES: &str = "state/v1";

/// The part `key=value` of a path, decoded.
pub(super) fn part<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    path.split('/').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}
