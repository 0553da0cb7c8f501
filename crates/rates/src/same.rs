//! **What**: [`same_model`]: whether two ids mean one model. **Why**: a call that another model answers is a fallback, one that
//! the same model answers at the second attempt is a retry; `gpt-5` and `gpt-5-mini` begin alike and are two.
//! **Invariants**: ids that the built-in table knows are compared by their rows; others by name, without path, date and revision.
//! **Not here**: which row an id means (`ids`).

use std::sync::{Arc, LazyLock};

use super::source::Source;
use super::table::Table;

/// The built-in table; None never happens in a released program.
static BUILTIN: LazyLock<Option<Arc<Table>>> = LazyLock::new(|| Source::builtin().and_then(|it| it.shared()).ok());

/// Whether two ids, as sent, mean the same model of `provider` ("" = not known). An id that is not told is no other model.
pub fn same_model(provider: &str, one: &str, other: &str) -> bool {
    if one.is_empty() || other.is_empty() || one.eq_ignore_ascii_case(other) {
        return true;
    }
    let row = |id: &str| {
        let table = BUILTIN.as_ref()?;
        let (found, _) = table.resolve(Some(provider), &[id]).or_else(|_| table.resolve(None, &[id])).ok()?;
        Some((found.provider, found.model))
    };
    match (row(one), row(other)) {
        (Some(one), Some(other)) => one == other,
        _ => bare(one) == bare(other),
    }
}

/// An id without path, `-latest`, date (`-20250929`, `-2025-09-29`, `-0613`, `@20250929`) and revision (`-001`, `-v1:0`).
fn bare(id: &str) -> String {
    let id = id.rsplit('/').next().unwrap_or(id).to_ascii_lowercase();
    let mut rest = id.split('@').next().unwrap_or(&id);
    loop {
        let Some((front, tail)) = rest.rsplit_once('-').filter(|(front, _)| !front.is_empty()) else { break };
        let revision = tail.strip_prefix('v').is_some_and(|number| !number.is_empty() && is_number(number, &[':']));
        if tail == "latest" || revision || is_stamp(tail) {
            rest = front;
            continue;
        }
        // the day of a date whose parts stand apart
        match front.rsplit_once('-').and_then(|(front, month)| Some((front.rsplit_once('-')?, month))) {
            Some(((name, year), month)) if [year.len(), month.len(), tail.len()] == [4, 2, 2] => {
                if ![year, month, tail].iter().all(|part| is_number(part, &[])) {
                    break;
                }
                rest = name;
            }
            _ => break,
        }
    }
    rest.to_owned()
}

/// `20250929`, `0613`, `001`.
fn is_stamp(tail: &str) -> bool {
    matches!(tail.len(), 3 | 4 | 8) && is_number(tail, &[])
}

fn is_number(text: &str, also: &[char]) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || also.contains(&c))
}
