//! Resolves `${env:X}`, `${env:X:-default}` and `${file:/path}` on parsed scalars. It never works on the text of the
//! file, so that a value can't change the structure. An unset variable is an error. Nodes record the files they name.
//! `$$` is a plain `$`.

use std::path::{Path, PathBuf};

use super::path_value::find_path_fault;
use super::problem::{Problem, SourcePosition};
use super::shell_syntax::{find_bare_variable, find_home_shorthand};
use super::tree::{NodeValue, TreeNode};

/// Maximum size of a file that `${file:…}` reads, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A variable of the process environment, if set and UTF-8. Only this function reads the environment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Why a file named by `${file:…}` was not read. The messages never contain the file's contents.
#[derive(Debug, thiserror::Error)]
pub enum SubstitutionFileError {
    /// The operating system's error.
    #[error(transparent)]
    Unreadable(std::io::Error),
    /// The file does not exist.
    #[error("no such file")]
    Missing,
    /// The file is larger than 1 MiB.
    #[error("larger than 1 MiB")]
    TooLarge,
    /// The file is not UTF-8.
    #[error("not text in UTF-8")]
    NotText,
    /// The file is on another machine, so its text is unknown. This is not a fault of the configuration.
    #[error("not read")]
    OtherMachine,
}

impl From<std::io::Error> for SubstitutionFileError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing,
            std::io::ErrorKind::InvalidData => Self::NotText,
            _ => Self::Unreadable(error),
        }
    }
}

/// The source of values for substitutions.
pub trait SubstitutionLookup {
    /// The value of an environment variable.
    fn var(&self, name: &str) -> Option<String>;
    /// The text of a file without its final line end.
    ///
    /// # Errors
    /// The file can't be read or is too large, or is on another machine.
    fn read_file(&self, path: &str) -> Result<String, SubstitutionFileError>;
    /// Whether the variables are set on another machine, so that one without a value is not a fault.
    fn is_other_machine(&self) -> bool {
        false
    }
}

/// Looks up the environment of the process and the file system.
pub struct ProcessLookup;

impl SubstitutionLookup for ProcessLookup {
    fn var(&self, name: &str) -> Option<String> {
        var(name)
    }

    fn read_file(&self, path: &str) -> Result<String, SubstitutionFileError> {
        let path = Path::new(path);
        let size = std::fs::metadata(path)?.len();
        if size > MAX_FILE_BYTES {
            return Err(SubstitutionFileError::TooLarge);
        }
        let text = std::fs::read_to_string(path)?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

/// Knows no variable and no file, because they are on the machine that will run the configuration.
pub struct OtherMachineLookup;

impl SubstitutionLookup for OtherMachineLookup {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn read_file(&self, _: &str) -> Result<String, SubstitutionFileError> {
        Err(SubstitutionFileError::OtherMachine)
    }

    fn is_other_machine(&self) -> bool {
        true
    }
}

/// Writes `${NAME}` and `${NAME:-default}`, which a Collector reads as variables, as `${env:…}`.
pub(super) fn qualify_variables(node: &mut TreeNode) {
    let NodeValue::Str(text) = &mut node.value else { return };
    let (mut out, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        out.push('$');
        rest = after;
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(tail) = after.strip_prefix('{') {
            let end = tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let (name, follows) = end.and_then(|end| tail.split_at_checked(end)).unwrap_or_default();
            let is_variable = !name.is_empty() && (follows.starts_with('}') || follows.starts_with(":-"));
            out.push_str(if is_variable { "{env:" } else { "{" });
            rest = tail;
        }
    }
    out.push_str(rest);
    *text = out;
}

/// Resolves every `${…}` below `root`. Returns all problems, and the positions of what could not be resolved: scalars,
/// and lists with such an item.
pub fn resolve_substitutions(
    root: &mut TreeNode,
    lookup: &dyn SubstitutionLookup,
) -> (Vec<Problem>, Vec<SourcePosition>) {
    let (mut problems, mut unresolved) = (Vec::new(), Vec::new());
    root.visit_strings("", &mut |path, node| {
        let NodeValue::Str(text) = &node.value else { return };
        let mut found = resolve_scalar(path, text, lookup).map(|resolved| resolved.apply_to(node));
        if let NodeValue::Str(value) = &node.value
            && let Some(fault) = find_path_fault(path, node.reference.as_deref(), value)
        {
            // No later check may read the value, because its error would print it.
            node.value = NodeValue::Null;
            found = Err(Some(fault));
        }
        if let Err(fault) = found {
            node.is_unknown = fault.is_none();
            unresolved.push(node.at);
            problems.extend(fault.map(|(what, hint)| Problem::error(Some(node.at), path, what).with_hint(hint)));
        }
    });
    if !unresolved.is_empty() {
        add_lists(root, &mut unresolved);
    }
    (problems, unresolved)
}

/// Adds the positions of lists with an unresolved item: a check of the whole list has judged the item too.
fn add_lists(node: &TreeNode, unresolved: &mut Vec<SourcePosition>) {
    match &node.value {
        NodeValue::Seq(items) => items.iter().for_each(|item| add_lists(item, unresolved)),
        NodeValue::Map(entries) => {
            for (key, child) in entries {
                let NodeValue::Seq(items) = &child.value else {
                    add_lists(child, unresolved);
                    continue;
                };
                if items.iter().any(|item| unresolved.contains(&item.at)) {
                    unresolved.extend([key.at, child.at]);
                }
                add_lists(child, unresolved);
            }
        }
        _ => {}
    }
}

/// A scalar after substitution; `value` is `None` if nothing in it was replaced.
struct ResolvedScalar {
    value: Option<String>,
    files: Vec<PathBuf>,
}

impl ResolvedScalar {
    fn apply_to(self, node: &mut TreeNode) {
        let Some(value) = self.value else { return };
        if let NodeValue::Str(written) = std::mem::replace(&mut node.value, NodeValue::Str(value)) {
            node.reference = Some(written);
        }
        node.files = self.files;
    }
}

fn resolve_scalar(
    path: &str,
    text: &str,
    lookup: &dyn SubstitutionLookup,
) -> Result<ResolvedScalar, SubstitutionFault> {
    let mut files = Vec::new();
    let value = if text.contains('$') {
        find_bare_variable(path, text).map_or(Ok(()), |fault| Err(Some(fault)))?;
        expand_substitutions(text, lookup, &mut files)?
    } else {
        None
    };
    match find_home_shorthand(path, value.as_deref().unwrap_or(text)) {
        Some(fault) => Err(Some(fault)),
        None => Ok(ResolvedScalar { value, files }),
    }
}

/// The fault and its remedy; `None` if the text is on another machine.
type SubstitutionFault = Option<(String, String)>;

/// Expands the substitutions in `text`; `Ok(None)` if it has none.
fn expand_substitutions(
    text: &str,
    lookup: &dyn SubstitutionLookup,
    files: &mut Vec<PathBuf>,
) -> Result<Option<String>, SubstitutionFault> {
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
            out.push_str(&resolve_reference(name, lookup)?);
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

fn resolve_reference(reference: &str, lookup: &dyn SubstitutionLookup) -> Result<String, SubstitutionFault> {
    if let Some(path) = reference.strip_prefix("file:") {
        return resolve_file(path, lookup);
    }
    let Some(name) = reference.strip_prefix("env:") else {
        let hint = "write `${env:NAME}` or `${file:/path}`; `$$` is a plain dollar sign".to_owned();
        return Err(Some(("`${…}` without `env:` or `file:`".to_owned(), hint)));
    };
    let (name, default) = name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
    let is_valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_valid {
        return Err(Some((
            "not the name of an environment variable".to_owned(),
            "a name may contain only letters, digits and `_`".to_owned(),
        )));
    }
    match (lookup.var(name).filter(|value| !value.is_empty()), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) if lookup.is_other_machine() => Err(None),
        (None, None) => {
            let state = if lookup.var(name).is_some() { "empty" } else { "not set" };
            Err(Some((
                format!("the environment variable `{name}` is {state}"),
                format!("set it, or give a default: `${{env:{name}:-…}}`"),
            )))
        }
    }
}

fn resolve_file(path: &str, lookup: &dyn SubstitutionLookup) -> Result<String, SubstitutionFault> {
    if let Some((what, _)) = find_home_shorthand("", path) {
        return Err(Some((what, "write the whole path: `${file:/…}`".to_owned())));
    }
    let fault = |why: &str, hint: &str| Some((format!("can't read `{path}`: {why}"), hint.to_owned()));
    match lookup.read_file(path) {
        Ok(text) if text.is_empty() => Err(fault("the file is empty", "write the value into the file")),
        Ok(text) => Ok(text),
        Err(SubstitutionFileError::OtherMachine) => Err(None),
        Err(error @ SubstitutionFileError::NotText) => {
            Err(fault(&error.to_string(), "base64-encode it: `base64 -w0 FILE`, for a key that may be base64"))
        }
        Err(error) => {
            let hint = "check that the file exists and is readable, or skip files with `validate --file-only`";
            Err(fault(&error.to_string(), hint))
        }
    }
}
