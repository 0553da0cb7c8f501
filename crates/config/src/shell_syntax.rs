//! Finds values that rely on an expansion which tollgate does not do: `$NAME` of shells and old Collectors, and `~` for
//! the home directory. Sent as they are, a header would hold the text `$TOKEN`. Patterns are left alone: there `$` and
//! `~` have their own meaning. Substitution of `${…}` is in `env`.

use super::snippet::PATTERN_KEYS;

/// A fault of a value, and its remedy.
pub(super) type ExpansionFault = (String, String);

/// Whether the value at `path` may begin with `~` or contain `$NAME`: patterns, and the values of attribute actions.
fn is_free_text(path: &str) -> bool {
    let key = path.rsplit('.').next().unwrap_or_default();
    let key = key.split('[').next().unwrap_or_default();
    key == "value" || PATTERN_KEYS.contains(&key)
}

/// The first `$NAME` in the text as written. Only capital names count, because a password may contain `$`.
pub(super) fn find_bare_variable(path: &str, written: &str) -> Option<ExpansionFault> {
    if is_free_text(path) {
        return None;
    }
    let (mut before, mut rest) = (' ', written);
    while let Some((head, after)) = rest.split_once('$') {
        before = head.chars().next_back().unwrap_or(before);
        if let Some(tail) = after.strip_prefix('$') {
            (before, rest) = ('$', tail);
            continue;
        }
        let end = after.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let (name, tail) = after.split_at_checked(end.unwrap_or(after.len()))?;
        let is_variable = name.len() > 1 && !name.starts_with(|c: char| c.is_ascii_digit());
        if is_variable && !before.is_alphanumeric() && !tail.starts_with(char::is_alphanumeric) {
            let hint = format!("write `${{env:{name}}}` for the variable, or `$$` for a plain dollar sign");
            return Some((format!("`${name}` without braces is not replaced"), hint));
        }
        (before, rest) = ('$', after);
    }
    None
}

/// The fault of a value that begins with `~`, if it looks like a path.
pub(super) fn find_home_shorthand(path: &str, value: &str) -> Option<ExpansionFault> {
    let user = value.strip_prefix('~')?.split('/').next().unwrap_or_default();
    let is_user_name = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let is_home = is_user_name && (value.contains('/') || user.is_empty()) && !is_free_text(path);
    is_home.then(|| {
        let hint = "write `${env:HOME}/…`, or the whole path".to_owned();
        ("`~` is not replaced by the home directory".to_owned(), hint)
    })
}
