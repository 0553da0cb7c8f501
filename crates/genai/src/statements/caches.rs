//! Decides which part of a cache statement stays: the commands, without their arguments. An agent caches user messages
//! and its own answers, so the arguments are content.
//!
//! The result has one line per command, up to a maximum.

use crate::address::REMOVED_MARK;
use crate::words::LISTS;

/// Maximum number of commands kept from a pipeline.
const MAX_COMMANDS: usize = 64;

/// The part of a statement to a cache that stays. `None` if all of it stays.
pub(super) fn shorten_commands(text: &str) -> Option<String> {
    let mut lines: Vec<String> = text.lines().take(MAX_COMMANDS).map(shorten_command).collect();
    if text.lines().nth(MAX_COMMANDS).is_some() {
        lines.push(REMOVED_MARK.to_owned());
    }
    let out = lines.join("\n");
    (out != text.trim_end_matches('\n')).then_some(out)
}

/// `SET k v` → `SET […]`. Arguments that the client masked itself (`SET ? ?`, `[2 other arguments]`) stay.
fn shorten_command(text: &str) -> String {
    let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !is_command(command) {
        return REMOVED_MARK.to_owned();
    }
    let masked_rest = rest.strip_suffix(" other arguments]").and_then(|rest| rest.rsplit_once('['));
    let rest = match masked_rest {
        Some((before, count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => before,
        _ => rest,
    };
    match rest == REMOVED_MARK || rest.split_whitespace().all(|word| word == "?") {
        true => text.to_owned(),
        false => format!("{command} {REMOVED_MARK}"),
    }
}

/// Returns true if a statement whose system is not named looks like a cache command. Commands that are also SQL words
/// do not count.
pub(super) fn is_cache_statement(text: &str) -> bool {
    const SQL: [&str; 8] = ["SELECT", "DELETE", "REPLACE", "EXEC", "COPY", "MOVE", "LOAD", "SAVE"];
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    let equals = |word: &str, other: &str| word.eq_ignore_ascii_case(other);
    // `SET timezone TO …` and `SET x = …` are SQL.
    let is_sql_set =
        equals(first, "SET") && words.nth(1).is_some_and(|word| equals(word, "TO") || word.starts_with('='));
    !first.is_empty() && is_command(first) && !is_sql_set && !SQL.iter().any(|word| equals(first, word))
}

/// Returns true if a word is a known cache command.
fn is_command(word: &str) -> bool {
    word.is_empty() || LISTS.cache_commands.contains_in_any_case(word)
}
