//! The repository's own files, for tests that read them: [`files`], [`product`], and [`check_generated`] for files that a
//! test writes.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file; its path is relative to the repository.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Adds the files below `folder` whose names end with `ending`, in the order of their paths.
pub(crate) fn files(folder: &Path, ending: &str, out: &mut Vec<File>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, ending, out);
        } else if path.to_string_lossy().ends_with(ending) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            out.push(File { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

/// Product sources: without tests, test support and generated code.
pub(crate) fn product() -> Vec<File> {
    let mut all = Vec::new();
    files(&root().join("src"), ".rs", &mut all);
    files(&root().join("crates"), ".rs", &mut all);
    all.retain(|file| {
        let tests = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
        let support = file.path.contains("/testing/");
        !tests && !support && !file.path.starts_with("crates/otlp/src/gen/")
    });
    all
}

/// Compares the file `path` with its generated text; with `TOLLGATE_UPDATE`, writes it first.
pub(crate) fn check_generated(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("TOLLGATE_UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap_or_default() == text, "{path} is out of date: run with TOLLGATE_UPDATE=1");
}
