//! Paths of tables and states below their folder.

/// Start of the tables' paths below the folder.
pub(super) const TABLES: &str = "parquet/v1";
/// Start of the states' paths below the folder.
pub(super) const STATES: &str = "state/v1";

/// The value in a path segment `key=value`, as it is written there.
pub(super) fn path_segment_value<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    path.split('/').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}
