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
    while let Some((front, tail)) = rest.rsplit_once('-').filter(|(front, _)| !front.is_empty()) {
        let revision = tail.strip_prefix('v').is_some_and(|number| !number.is_empty() && is_number(number, &[':']));
        let stamped = (tail == "latest" || revision || is_stamp(tail)).then_some(front);
        let Some(name) = stamped.or_else(|| undated(front, tail)) else { break };
        rest = name;
    }
    rest.to_owned()
}

/// What is before a date whose parts stand apart: `gpt-5` of `gpt-5-2025-08` and `07`.
fn undated<'i>(front: &'i str, day: &str) -> Option<&'i str> {
    let (front, month) = front.rsplit_once('-')?;
    let (name, year) = front.rsplit_once('-')?;
    let parts = [(year, 4), (month, 2), (day, 2)];
    parts.iter().all(|(part, length)| part.len() == *length && is_number(part, &[])).then_some(name)
}

/// `20250929`, `0613`, `001`.
fn is_stamp(tail: &str) -> bool {
    matches!(tail.len(), 3 | 4 | 8) && is_number(tail, &[])
}

fn is_number(text: &str, also: &[char]) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || also.contains(&c))
}
