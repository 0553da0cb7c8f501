//! **What**: `${env:X}`, `${env:X:-default}` and `${file:/path}` on parsed scalars. **Why**: never by text
//! templating, so that a value can't change the structure. **Invariants**: an unset variable is an error; files
//! are noted where they were named. `$$` is a plain `$`. **Not here**: the tree (`tree`).

use std::path::{Path, PathBuf};

use super::problem::{At, Problem};
use super::tree::{Node, Val};

/// Largest file that `${file:…}` reads, bytes.
const MAX_FILE: u64 = 1 << 20;

/// A process environment variable, if set and UTF-8. The only place that reads the environment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Why a file that a configuration names was not read. No text holds the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// As the operating system says.
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
    /// Larger than what `${file:…}` reads.
    #[error("larger than 1 MiB")]
    TooLarge,
    /// This reader of configurations reads no files.
    #[error("no files here")]
    NotHere,
    /// The file is on another machine, so its text is unknown. That is no fault of the configuration.
    #[error("not read")]
    Elsewhere,
}

/// Where substitutions come from.
pub trait Lookup {
    /// An environment variable.
    fn var(&self, name: &str) -> Option<String>;
    /// The text of a file, without its last line end; `Err` says why not.
    ///
    /// # Errors
    /// The file can't be read, is too large, or files are not read here.
    fn file(&self, path: &str) -> Result<String, FileError>;
}

/// The process's environment and the file system.
pub struct Process;

impl Lookup for Process {
    fn var(&self, name: &str) -> Option<String> {
        var(name)
    }

    fn file(&self, path: &str) -> Result<String, FileError> {
        let path = Path::new(path);
        let size = std::fs::metadata(path)?.len();
        if size > MAX_FILE {
            return Err(FileError::TooLarge);
        }
        let text = std::fs::read_to_string(path)?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

/// Knows neither variables nor files: for configurations that must not depend on where they are read.
pub struct Nothing;

impl Lookup for Nothing {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> Result<String, FileError> {
        Err(FileError::NotHere)
    }
}

/// Resolves every `${…}` below `root`; returns all problems, and the scalars that could not be resolved.
pub fn resolve(root: &mut Node, lookup: &dyn Lookup) -> (Vec<Problem>, Vec<At>) {
    let (mut problems, mut unresolved) = (Vec::new(), Vec::new());
    root.visit_strings("", &mut |path, node| {
        let Val::Str(text) = &node.value else { return };
        if !text.contains('$') {
            return;
        }
        let mut files = Vec::new();
        match expand(text, lookup, &mut files) {
            Ok(Some(expanded)) => {
                node.value = Val::Str(expanded);
                node.files = files;
            }
            Ok(None) => {}
            Err(Some((what, hint))) => {
                unresolved.push(node.at);
                problems.push(Problem::error(Some(node.at), path, what).with_hint(hint));
            }
            Err(None) => unresolved.push(node.at),
        }
    });
    (problems, unresolved)
}

/// The fault and its remedy; none: the text stands in a file on another machine.
type Fault = Option<(String, String)>;

/// `None` = nothing to expand.
fn expand(text: &str, lookup: &dyn Lookup, files: &mut Vec<PathBuf>) -> Result<Option<String>, Fault> {
    let (mut out, mut rest, mut changed) = (String::with_capacity(text.len()), text, false);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            changed = true;
        } else if let Some(tail) = after.strip_prefix('{') {
            let Some((name, tail)) = tail.split_once('}') else {
                return Err(Some(("`${` without `}`".to_owned(), "write `$$` for a plain dollar sign".to_owned())));
            };
            out.push_str(&one(name, lookup)?);
            files.extend(name.strip_prefix("file:").map(PathBuf::from));
            rest = tail;
            changed = true;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(changed.then_some(out))
}

fn one(reference: &str, lookup: &dyn Lookup) -> Result<String, Fault> {
    if let Some(path) = reference.strip_prefix("file:") {
        let hint = || "see that it is there and may be read, or leave files out by `validate --file-only`".to_owned();
        return lookup.file(path).map_err(|error| match error {
            FileError::Elsewhere => None,
            error => Some((format!("can't read `{path}`: {error}"), hint())),
        });
    }
    let Some(name) = reference.strip_prefix("env:") else {
        let hint = "write `${env:NAME}` or `${file:/path}`; `$$` is a plain dollar sign".to_owned();
        return Err(Some(("`${…}` without `env:` or `file:`".to_owned(), hint)));
    };
    let (name, default) = name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
    let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        return Err(Some((
            "not the name of an environment variable".to_owned(),
            "a name has letters, digits and `_`".to_owned(),
        )));
    }
    match (lookup.var(name), default) {
        (Some(value), _) if !value.is_empty() || default.is_none() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (_, None) => Err(Some((
            format!("the environment variable `{name}` is not set"),
            format!("set it, or give a default: `${{env:{name}:-…}}`"),
        ))),
    }
}
