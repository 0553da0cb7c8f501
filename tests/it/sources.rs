//! The repository's own files, for tests that read them: [`files`], [`product`], [`manual`] with the [`blocks`] of its
//! pages, and [`check_generated`] for files that a test writes.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file; its path is relative to the repository.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn read(path: &str) -> Self {
        Self { path: path.to_owned(), text: fs::read_to_string(root().join(path)).unwrap() }
    }
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

/// The manual: README.md and the pages of `docs`.
pub(crate) fn manual() -> Vec<File> {
    let mut pages = vec![File::read("README.md")];
    files(&root().join("docs"), ".md", &mut pages);
    pages
}

/// A code block of a page.
pub(crate) struct Block {
    /// The words behind its opening fence, such as `sh`.
    pub(crate) kind: String,
    /// Its lines, without the indent of a block that is within a list.
    pub(crate) text: String,
}

/// The code blocks of a page.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut open): (Vec<Block>, Option<usize>) = (Vec::new(), None);
    for line in page.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, open) {
            (Some(kind), None) => {
                open = Some(line.len() - line.trim_start().len());
                found.push(Block { kind: kind.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => open = None,
            (None, Some(indent)) => {
                let block = found.last_mut().unwrap();
                block.text.push_str(line.get(indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end:\n{}", found.last().unwrap().text);
    found
}

/// The text of the blocks of this kind, in their order.
pub(crate) fn blocks_of(kind: &str, page: &str) -> Vec<String> {
    blocks(page).into_iter().filter(|block| block.kind == kind).map(|block| block.text).collect()
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
