//! Paths of tables and states below their folder.

/// Folder of all tables.
pub(super) const TABLES: &str = "parquet/v1";
/// Folder of all states.
pub(super) const STATES: &str = "state/v1";

/// The value of the first path segment `key=value`, still encoded.
pub(super) fn path_segment_value<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    path.split('/').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}
