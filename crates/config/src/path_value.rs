//! Finds secrets where a path belongs. Errors name files by their paths, so a key that was written or substituted in
//! place of its file's path would be printed by each of them. Such a value is refused before anything uses it.

use super::shell_syntax::ExpansionFault;
use super::snippet::is_path_key;

/// Settings of a file whose names do not end in `file`; also `signing_key` of a vault (that of alerts is a value).
const FILE_KEYS: [&str; 3] = ["certificate", "client_certificate", "client_key"];
/// How keys begin: PEM (RFC 7468), age, and signing keys (C2SP signed-note).
const KEY_BEGINNINGS: [&str; 2] = ["-----BEGIN", "PRIVATE+KEY+"];
const AGE_KEY_BEGINNING: &str = "AGE-SECRET-KEY-";
/// Most letters and digits that follow it in a file's name. A key has 58 or more.
const MAX_NAME_LETTERS: usize = 30;

/// Whether the text contains a key of a known form. Case is ignored, as age does.
pub fn contains_key(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let has_age_key = text.match_indices(AGE_KEY_BEGINNING).any(|(at, found)| {
        let rest = text.get(at + found.len()..).unwrap_or_default();
        let is_key_part = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
        rest.chars().take_while(is_key_part).count() > MAX_NAME_LETTERS
    });
    has_age_key || KEY_BEGINNINGS.iter().any(|beginning| text.contains(beginning))
}

/// The fault of `value` if the setting at `path` should be a path. `written` is its text in the file if a part was
/// substituted. A file's path that is nothing but a substitution must begin like a path: it could be a password.
pub(super) fn find_path_fault(path: &str, written: Option<&str>, value: &str) -> Option<ExpansionFault> {
    let key = path.rsplit('.').next().and_then(|key| key.split('[').next()).unwrap_or_default();
    let is_file = FILE_KEYS.contains(&key)
        || key == "file"
        || key.ends_with("_file")
        || (key == "signing_key" && path.starts_with("processors."));
    if !is_file && !is_path_key(key) {
        return None;
    }
    if contains_key(value) || value.contains(['\n', '\r']) {
        let hint = "write the text into a file of mode 0600, and the path of that file here";
        return Some(("this is the text of a file or key, not a path".to_owned(), hint.to_owned()));
    }
    let is_opaque = is_file && written.is_some_and(|written| is_whole_reference(written, value));
    (is_opaque && !["/", "./", "../"].iter().any(|start| value.starts_with(start))).then(|| {
        let hint = "this setting is the path of a file, not its text: the value must begin with `/`, `./` or `../`";
        ("the value of `${…}` is not recognised as a path".to_owned(), hint.to_owned())
    })
}

/// Whether the whole value comes from outside of the file. It does not if a `/` follows the reference, which is then a
/// folder, or if the value is the reference's default.
fn is_whole_reference(written: &str, value: &str) -> bool {
    let reference = written.strip_prefix("${").and_then(|written| written.split_once('}'));
    reference.is_some_and(|(name, rest)| !rest.contains('/') && !name.ends_with(&format!(":-{value}")))
}
