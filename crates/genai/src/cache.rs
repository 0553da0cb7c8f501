//! **What**: what of a statement to a cache stays on an agent's item: its commands. **Why**: what an agent writes to a
//! cache is what somebody said to it and what it answered; a query of a database has its own key for its parameters.
//! **Invariants**: a second pass changes nothing; one line for each command, and not many of them.

use super::address::GONE;

/// Longest command, bytes, and most commands of a pipeline.
const COMMAND: usize = 24;
const LINES: usize = 64;

/// What stays of a statement, if that is less.
pub(super) fn shown(text: &str) -> Option<String> {
    let mut lines: Vec<String> = text.lines().take(LINES).map(line).collect();
    if text.lines().nth(LINES).is_some() {
        lines.push(GONE.to_owned());
    }
    let out = lines.join("\n");
    (out != text.trim_end_matches('\n')).then_some(out)
}

/// `SET k v` → `SET […]`; what the client masked itself (`SET ? ?`, `[2 other arguments]`) stays.
fn line(text: &str) -> String {
    let masked = |rest: &str| {
        let rest =
            rest.strip_suffix(" other arguments]").and_then(|rest| Some(rest.rsplit_once('[')?.0)).unwrap_or(rest);
        rest == GONE || rest.split_whitespace().all(|word| word == "?")
    };
    let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_command =
        command.len() <= COMMAND && command.bytes().all(|byte| byte.is_ascii_alphabetic() || b"._".contains(&byte));
    match (is_command, masked(rest)) {
        (true, true) => text.to_owned(),
        (true, false) => format!("{command} {GONE}"),
        (false, _) => GONE.to_owned(),
    }
}

#[cfg(test)]
mod tests;
