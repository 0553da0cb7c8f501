#![no_main]

#[path = "../bodies/spool.rs"]
mod spool;

use std::path::PathBuf;
use std::sync::LazyLock;

/// Filled once. `TOLLGATE_FUZZ_FOLDER` may name a folder in memory, which is faster than a disk.
static FOLDERS: LazyLock<(PathBuf, PathBuf)> = LazyLock::new(|| {
    let root = std::env::var_os("TOLLGATE_FUZZ_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let root = root.join(format!("tollgate-fuzz-{}", std::process::id()));
    let (filled, scratch) = (root.join("filled"), root.join("scratch"));
    spool::fill(&filled);
    (filled, scratch)
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| spool::body(&FOLDERS.0, &FOLDERS.1, data));
