//! Resolves `${env:X}`, `${env:X:-default}` and `${file:/path}` on parsed scalars. It never works on the text of the
//! file, so that a value can't change the structure. An unset variable is an error. Nodes record the files they name.
//! `$$` is a plain `$`.

use std::path::{Path, PathBuf};

use super::problem::{At, Problem};
use super::tree::{Node, Val};

/// The largest file that `${file:…}` reads, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A variable of the process environment, if set and UTF-8. Only this function reads the environment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Why a file named by `${file:…}` was not read. The messages never contain the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system's error.
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
    /// The file is larger than 1 MiB.
    #[error("larger than 1 MiB")]
    TooLarge,
    /// This [`Lookup`] reads no files.
    #[error("no files here")]
    NotHere,
    /// The file is on another machine, so its text is unknown. This is not a fault of the configuration.
    #[error("not read")]
    Elsewhere,
}

/// The source of values for substitutions.
pub trait Lookup {
    /// The value of an environment variable.
    fn var(&self, name: &str) -> Option<String>;
    /// The text of a file without its final line end.
    ///
    /// # Errors
    /// The file can't be read, is too large, or this lookup reads no files.
    fn file(&self, path: &str) -> Result<String, FileError>;
}

/// Looks up the environment of the process and the file system.
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

/// Finds no variable and no file: for configurations that must not depend on the machine that reads them.
pub struct Nothing;

impl Lookup for Nothing {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> Result<String, FileError> {
        Err(FileError::NotHere)
    }
}

/// Resolves every `${…}` below `root`. Returns all problems, and the scalars that could not be resolved.
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

/// The fault and its remedy; `None` if the text is in a file on another machine.
type Fault = Option<(String, String)>;

/// Expands the substitutions in `text`; `Ok(None)` if it has none.
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
