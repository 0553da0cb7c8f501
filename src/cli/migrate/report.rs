//! The report of a migration: what became of each component, and of each key that was not taken over as it is. An entry
//! names keys and lines, never values.

use serde_json::json;

use kernel::terminal::{escape_unsafe, format_count};

/// What became of a component or key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MigrationVerdict {
    /// It is in the result, if need be in tollgate's spelling.
    Mapped,
    /// It is not in the result, because tollgate works without it.
    NotNeeded,
    /// tollgate has no counterpart.
    Missing,
}
use MigrationVerdict::{Mapped, Missing, NotNeeded};

impl MigrationVerdict {
    fn heading(self) -> &'static str {
        match self {
            Mapped => "mapped",
            NotNeeded => "not needed, because tollgate does it in another way or works without it",
            Missing => "missing, because tollgate has no counterpart",
        }
    }

    /// The word in comments and JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Mapped => "mapped",
            NotNeeded => "not needed",
            Missing => "missing",
        }
    }
}

/// What became of one component or key.
#[derive(Clone)]
pub(super) struct MigrationEntry {
    /// The verdict.
    pub(super) verdict: MigrationVerdict,
    /// The component, such as `processors.batch`.
    pub(super) component: String,
    /// Path of a key below the component; empty for the component itself.
    pub(super) key: String,
    /// Line in the source; 0 if unknown.
    pub(super) line: usize,
    /// What it became, or why it is not in the result; may be empty if it is there unchanged.
    pub(super) reason: String,
}

impl MigrationEntry {
    fn path(&self) -> String {
        match self.key.as_str() {
            "" => self.component.clone(),
            key => format!("{}.{key}", self.component),
        }
    }

    fn is_component(&self) -> bool {
        self.key.is_empty() && self.component.contains('.') && !self.component.starts_with("service.")
    }
}

fn count(entries: &[MigrationEntry], verdict: Option<MigrationVerdict>, components: bool) -> usize {
    let is_counted =
        |entry: &&MigrationEntry| entry.is_component() == components && verdict.is_none_or(|one| one == entry.verdict);
    entries.iter().filter(is_counted).count()
}

/// The report for people. `name` is the source.
pub(super) fn render_text(name: &str, entries: &[MigrationEntry]) -> String {
    let of = |verdict| count(entries, Some(verdict), true);
    let mut lines = vec![format!(
        "{name}: {}: {} mapped, {} not needed, {} missing",
        format_count(count(entries, None, true), "component"),
        of(Mapped),
        of(NotNeeded),
        of(Missing)
    )];
    for verdict in [Mapped, NotNeeded, Missing] {
        let group = entries.iter().filter(|entry| entry.verdict == verdict);
        let rows: Vec<String> = group
            .map(|entry| {
                let reason = if entry.reason.is_empty() { String::new() } else { format!(": {}", entry.reason) };
                format!("  {name}:{}: {}{reason}", entry.line, entry.path())
            })
            .collect();
        if !rows.is_empty() {
            lines.push(format!("{}:", verdict.heading()));
            lines.extend(rows);
        }
    }
    if entries.iter().any(|entry| entry.verdict == Missing) {
        let help = "a Collector in front of tollgate or behind it can do the missing parts (docs/how-to/collector.md)";
        lines.push(help.to_owned());
    }
    lines.iter().map(|line| escape_unsafe(line)).collect::<Vec<_>>().join("\n")
}

/// The report for programs, in one line.
pub(super) fn render_json(name: &str, entries: &[MigrationEntry]) -> String {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            json!({
                "verdict": entry.verdict.word().replace(' ', "_"),
                "path": entry.path(),
                "line": entry.line,
                "reason": entry.reason,
            })
        })
        .collect();
    let of = |verdict| count(entries, Some(verdict), true);
    let components = json!({ "mapped": of(Mapped), "not_needed": of(NotNeeded), "missing": of(Missing) });
    json!({ "source": name, "components": components, "entries": rows }).to_string()
}
