//! Prints a session as plain text, and as one JSON document for other programs: everything that was read, and a list of
//! the parts that could not be read. In the text, input messages that an earlier entry showed are counted, not
//! repeated; entries without a (signed) line are marked; control characters never reach a terminal. Fields of the JSON
//! are only ever added; any other change increases `schema`. Neighbours: `replay`, `turns`, `call_tree`.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;

use super::call_tree::SessionTurn;
use super::masking::format_counts;
use super::messages::{MessagePart, extract_messages, part_messages};
use super::session::{RedactionCounts, ReplayedSession, SessionEntry, SessionTotal};
use crate::error::{ReadError, Result};
use kernel::terminal::{escape_unsafe, format_count};
use vault::document::DocumentItem;
use vault::index_row::IndexRow;

impl ReplayedSession {
    /// Writes the session as text.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "session {}", escape_unsafe(&self.session))?;
        for account in &self.accounts {
            writeln!(out, "{}", escape_unsafe(account))?;
        }
        for erasure in &self.erasures {
            writeln!(out, "{}", escape_unsafe(erasure))?;
        }
        let mut earlier: Vec<MessagePart> = Vec::new();
        for entry in &self.entries {
            writeln!(out)?;
            let mark = match (self.is_unsigned(entry), &entry.row) {
                (false, _) => "",
                (true, Some(_)) => "  UNSIGNED: no digest names this line",
                (true, None) => "  UNSIGNED: no index line refers to this content",
            };
            writeln!(out, "{}{mark}", escape_unsafe(&headline(entry)))?;
            if let Some(item) = &entry.item {
                write_content(item, &mut earlier, out)?;
            }
            if let Some(counts) = entry.redaction_counts.as_ref().and_then(format_counts) {
                writeln!(out, "  {:<11} {}", "redacted", escape_unsafe(&counts))?;
            }
        }
        for why in &self.unreadable {
            writeln!(out, "\nnot read: {}", escape_unsafe(why))?;
        }
        writeln!(out, "\n{}", self.total_line())
    }
}

fn headline(entry: &SessionEntry) -> String {
    let mut words: Vec<String> = vec![entry.at.get(..23).unwrap_or(&entry.at).replace('T', " ")];
    let mut push = |word: Option<&str>| words.extend(word.filter(|word| !word.is_empty()).map(str::to_owned));
    let head = entry.item.as_ref().map(|item| &item.head);
    let tail = entry.row.as_ref().map(|row| &row.tail);
    let action = tail.map(|tail| tail.action_type.as_deref().unwrap_or(&tail.call));
    push(head.map(|head| &*head.name).filter(|name| !name.is_empty()).or(action));
    let is_not_in_name = |word: &&str| !head.is_some_and(|head| head.name.contains(*word));
    let tool = head.and_then(|head| head.tool.as_deref()).or(tail.and_then(|tail| tail.tool_name.as_deref()));
    push(tool.filter(is_not_in_name));
    let model = head.and_then(|head| head.response_model.as_deref().or(head.request_model.as_deref()));
    push(model.or(tail.and_then(|tail| tail.model.as_deref())).filter(is_not_in_name));
    let tokens =
        head.map(|head| (head.tokens_in, head.tokens_out)).or(tail.map(|tail| (tail.tokens_in, tail.tokens_out)));
    if let Some((Some(input), Some(output))) = tokens {
        push(Some(&format!("{input} in {output} out")));
    }
    let report = entry.report();
    let unpriced = (report.cost_status == "unpriced").then_some("unpriced");
    push(report.cost_usd.map(|usd| format!("{usd} USD")).as_deref().or(unpriced));
    let turn = head.and_then(|head| head.turn.as_deref()).or(tail.and_then(|tail| tail.turn.as_deref()));
    push(turn.map(|turn| format!("turn {turn}")).as_deref());
    push(tail.map(|tail| &*tail.status).filter(|status| *status != "ok"));
    let budget = tail.and_then(|tail| tail.budget.as_ref()).map(|budget| budget.describe());
    push(tail.and_then(|tail| tail.decision.as_deref()));
    push(budget.as_deref());
    push(tail.is_none().then_some("(not in the index)"));
    words.join("  ")
}

/// Order of parts, and the default speaker of each.
const PARTS: [(&str, &str); 6] = [
    ("system", "system"),
    ("tools", "tools"),
    ("input", "user"),
    ("tool_args", "arguments"),
    ("tool_result", "result"),
    ("output", "assistant"),
];

/// Writes the content of an item. First input messages that equal the `earlier` ones, and duplicate pieces, are only
/// counted.
fn write_content(item: &DocumentItem, earlier: &mut Vec<MessagePart>, out: &mut dyn Write) -> io::Result<()> {
    for (part, default_speaker) in PARTS {
        let speaker = if part == "output" && item.head.call == "tool" { "result" } else { default_speaker };
        let (messages, duplicates) = part_messages(item, part, speaker);
        let count_repeated = || messages.iter().zip(earlier.iter()).take_while(|(new, old)| new == old).count();
        let repeated = if part == "input" { count_repeated() } else { 0 };
        if repeated > 0 {
            writeln!(out, "  ({} as before)", format_count(repeated, "earlier message"))?;
        }
        messages.iter().skip(repeated).try_for_each(|message| message.write(' ', out))?;
        if duplicates > 0 {
            writeln!(out, "  (the same in {})", format_count(duplicates, "more place"))?;
        }
        match part {
            "input" if !messages.is_empty() => *earlier = messages,
            // the next call's history includes this answer
            "output" => earlier.extend(messages),
            _ => {}
        }
    }
    for piece in item.content.iter().filter(|piece| !PARTS.iter().any(|(part, _)| *part == piece.part)) {
        let speaker = piece.key.as_deref().unwrap_or("other");
        extract_messages(&piece.value, speaker).iter().try_for_each(|message| message.write(' ', out))?;
    }
    Ok(())
}

/// The JSON document.
#[derive(Serialize)]
struct ReplayReport<'r> {
    schema: u8,
    session: &'r str,
    /// Accounts and tenants under which the session was found.
    accounts: &'r BTreeSet<String>,
    /// Erasures of the session, with the requester.
    erasures: &'r [String],
    turns: Vec<SessionTurn>,
    /// All entries in order of time.
    entries: Vec<ReportEntry<'r>>,
    total: SessionTotal,
    /// Objects and fragments that could not be read, with reasons.
    unreadable: &'r [String],
}

/// One event of the session.
#[derive(Serialize)]
struct ReportEntry<'r> {
    time: &'r str,
    /// The index line; null if no line names the event (yet).
    line: Option<&'r IndexRow>,
    /// The item in the vault; null if the event had no content, or its content could not be opened.
    item: Option<&'r DocumentItem>,
    /// True if no signed digest names the line's object; absent if one does, or if signatures were not checked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unsigned: bool,
    /// Counts of the texts that the redaction rules hide from back ends, by placeholder; absent without content, or if
    /// the rules were not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<&'r RedactionCounts>,
}

impl ReplayedSession {
    /// The session as JSON.
    pub fn to_json(&self) -> Result<String> {
        let report = ReplayReport {
            schema: 1,
            session: &self.session,
            accounts: &self.accounts,
            erasures: &self.erasures,
            turns: self.tree(),
            entries: self
                .entries
                .iter()
                .map(|entry| ReportEntry {
                    time: &entry.at,
                    line: entry.row.as_ref(),
                    item: entry.item.as_ref(),
                    unsigned: self.is_unsigned(entry),
                    redacted: entry.redaction_counts.as_ref(),
                })
                .collect(),
            total: self.total(),
            unreadable: &self.unreadable,
        };
        serde_json::to_string_pretty(&report).map_err(|error| ReadError::new(error.to_string()))
    }
}
