//! **What**: `vault replay`: a session in order of time, as plain text: what was asked, answered, called, paid.
//! **Why**: an incident is understood by reading it, without calling a model again.
//! **Invariants**: nothing is left out but messages shown before, which are counted, and what is over the limit of memory, which
//! is an error; objects that are not in the index
//! yet are found by their names, and what no index line knows is marked; what can't be read is said and hides nothing
//! else. **Not here**: turns and what changed between them (`turns`), the tree of calls (`tree`), JSON (`report`), proofs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::vault::document::Item;
use crate::vault::names::Scope;
use crate::vault::row::Row;
use crate::vault::signed::Signed;

use super::hidden::{Hidden, words};
use super::lines::{Indexed, Line, erased, line, rows, unindexed};
use super::messages::{Said, said};
use super::terminal::clean;
use super::{Hashes, Opened, Opener, Places, ReadError, Shut, Vault, whose};

/// Narrows the search.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
    /// How much is read into memory.
    pub content: Content,
    /// What digests name: lines of other objects are marked. `None`: nobody looked.
    pub signed: Option<Arc<Signed>>,
}

/// The most content of a session, decompressed, that is read into memory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(pub u64);

impl Default for Content {
    fn default() -> Self {
        Self(1 << 30)
    }
}

/// One thing that happened.
pub(super) struct Entry {
    pub(super) at: String,
    leaf: u64,
    pub(super) row: Option<Row>,
    pub(super) item: Option<Item>,
    /// What the rules hide of its content downstream; `None`: it has none, or nobody looked.
    pub(super) hidden: Option<Hidden>,
}

/// Sums of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Model calls, each once.
    pub model_calls: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Model calls without a price.
    pub unpriced: u64,
    /// Exact decimal; null: too large to add.
    pub cost_usd: Option<String>,
}

/// A session.
pub struct Replay {
    session: String,
    accounts: BTreeSet<String>,
    entries: Vec<Entry>,
    /// Erasures that concern it, in words.
    erased: Vec<String>,
    /// Objects and fragments that could not be read, and why.
    closed: Vec<String>,
    /// How many of these take nothing away: what was erased by request, what nobody signed, what is no key.
    no_loss: usize,
    /// Signed index objects that are not there, and older than any that is.
    older: Option<String>,
    /// It is larger than what may be read into memory: fragments and lines that are left out.
    left_out: u64,
    /// Lines of objects that no signed digest names.
    unsigned: BTreeSet<Line>,
}

/// Reads a session: its id as the index shows it (`trace-…` for records without one).
///
/// # Errors
/// One line: the store fails, or there is no such session.
pub async fn replay(
    vault: &Vault,
    opener: &mut Opener<'_>,
    session: &str,
    filter: &Filter,
) -> Result<Replay, ReadError> {
    let Indexed { rows, erasures, closed, planted, older, left_out, unsigned } = rows(vault, session, filter).await?;
    let accounts: BTreeSet<&str> = rows.iter().map(|row| row.tail.account.as_str()).collect();
    if accounts.len() > 1 {
        return Err(whose("this session", accounts));
    }
    let mut objects: BTreeMap<String, (Places, Hashes)> = BTreeMap::new();
    for row in &rows {
        if let Some(name) = &row.object_key {
            let range = row.off.zip(row.tail.len).map(|range| (range, Scope::of(&row.tail)));
            let (places, hashes) = objects.entry(name.clone()).or_default();
            places.extend(range);
            hashes.add(row);
        }
    }
    let unindexed = unindexed(vault, session, filter, &rows).await?;
    let erased = erased(&erasures, session, &rows);
    let mut replay = Replay {
        session: session.to_owned(),
        accounts: BTreeSet::new(),
        entries: Vec::new(),
        erased,
        closed,
        no_loss: planted,
        older,
        left_out,
        unsigned,
    };
    let mut by_item = replay.take(rows);
    let mut room = filter.content.0;
    let nothing = <(Places, Hashes)>::default();
    let beside = unindexed.iter().filter(|name| !objects.contains_key(*name)).map(|name| (name, &nothing));
    // what is found beside a name is in no line itself
    let mut taken = BTreeSet::new();
    for (name, (known, hashes)) in objects.iter().chain(beside) {
        if taken.contains(name) {
            continue;
        }
        let (at, bytes) = opener.fetch(name, None, hashes).await;
        let opened = match bytes {
            Ok(bytes) => opener.documents(&at, &bytes, known, &mut room).await,
            Err(why) => Err(Shut::Other(why)),
        };
        taken.insert(at);
        for opened in opened.unwrap_or_else(|why| vec![Err(why)]) {
            match opened {
                Ok(opened) => replay.add(opened, &mut by_item),
                Err(Shut::NoRoom) => replay.left_out += 1,
                Err(why) => {
                    replay.no_loss += usize::from(matches!(why, Shut::NoKey(_)) && !replay.erased.is_empty());
                    replay.closed.push(why.into());
                }
            }
        }
        let bad = opener.bad_keys().into_iter();
        replay.no_loss += bad.len();
        replay.closed.extend(bad.map(|key| format!("{} among the session's keys: {}", key.name, key.why)));
    }
    // content that did not open still happened
    replay.entries.extend(by_item.into_values().map(|row| Entry {
        at: row.tail.ts.clone(),
        leaf: row.leaf,
        row: Some(row),
        item: None,
        hidden: None,
    }));
    if replay.entries.is_empty() {
        let none = format!("no session {session:?} in this vault (private ids stand there as h-…)");
        let closed = replay.closed.iter().chain(&replay.older).map(|why| clean(why));
        return Err(std::iter::once(none).chain(closed).collect::<Vec<_>>().join("\nnot read: "));
    }
    if replay.left_out > 0 {
        let most = filter.content.0 >> 20;
        replay.closed.push(format!(
            "{} fragments or lines: the session is larger than the {most} MiB that are read into memory; --content reads more",
            replay.left_out
        ));
    }
    replay.entries.sort_by(|a, b| (&a.at, a.leaf).cmp(&(&b.at, b.leaf)));
    Ok(replay)
}

impl Replay {
    /// Takes the session's lines: entries, or what waits for its content, by fragment and item.
    fn take(&mut self, rows: Vec<Row>) -> HashMap<(String, u32), Row> {
        let mut by_item: HashMap<(String, u32), Row> = HashMap::new();
        for row in rows {
            self.accounts.insert(format!("account {} · tenant {}", row.tail.account, row.tail.tenant));
            let planted = self.unsigned.contains(&line(&row));
            match row.tail.fragment.clone().zip(row.tail.item) {
                // what nobody signed takes no signed line's content
                Some(place) if !planted || !by_item.contains_key(&place) => drop(by_item.insert(place, row)),
                _ => self.entries.push(Entry {
                    at: row.tail.ts.clone(),
                    leaf: row.leaf,
                    row: Some(row),
                    item: None,
                    hidden: None,
                }),
            }
        }
        by_item
    }

    fn add(&mut self, opened: Opened, by_item: &mut HashMap<(String, u32), Row>) {
        let head = &opened.document.head;
        self.accounts.insert(format!("account {} · tenant {}", head.account, head.tenant));
        for (position, item) in (0..).zip(opened.document.items) {
            let row = by_item.remove(&(head.fragment.to_string(), position));
            let leaf = row.as_ref().map_or(u64::MAX, |row| row.leaf);
            self.entries.push(Entry { at: item.head.start.clone(), leaf, row, item: Some(item), hidden: None });
        }
    }

    /// What was read, in order of time.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.entries.iter().filter_map(|entry| entry.item.as_ref())
    }

    /// A session of these lines, whose content nobody opened.
    #[cfg(test)]
    pub(super) fn of_rows(session: &str, rows: Vec<Row>) -> Self {
        let entries = rows.into_iter().map(|row| Entry {
            at: row.tail.ts.clone(),
            leaf: row.leaf,
            row: Some(row),
            item: None,
            hidden: None,
        });
        let mut entries: Vec<Entry> = entries.collect();
        entries.sort_by(|a, b| (&a.at, a.leaf).cmp(&(&b.at, b.leaf)));
        let (accounts, erased, closed) = (BTreeSet::new(), Vec::new(), Vec::new());
        let unsigned = BTreeSet::new();
        let (session, older) = (session.to_owned(), None);
        Self { session, accounts, entries, erased, closed, no_loss: 0, older, left_out: 0, unsigned }
    }

    /// Everything that happened, in order of time.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, to be marked.
    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The session's id as it was asked for.
    pub fn id(&self) -> &str {
        &self.session
    }

    /// Accounts and tenants, in words.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().map(String::as_str)
    }

    /// Erasures that concern it, in words. They count once they are verified.
    pub fn erased(&self) -> &[String] {
        &self.erased
    }

    /// How many of its lines stand in objects that no signed digest names; 0 if nobody looked.
    pub fn unsigned(&self) -> usize {
        self.unsigned.len()
    }

    /// Whether the entry's line is one of these.
    pub(super) fn is_unsigned(&self, entry: &Entry) -> bool {
        entry.row.as_ref().is_some_and(|row| self.unsigned.contains(&line(row)))
    }

    /// Something was left out because the session is too large.
    pub fn is_cut(&self) -> bool {
        self.left_out > 0
    }

    /// Something of it should be here and could not be read.
    pub fn is_partial(&self) -> bool {
        self.closed.len() > self.no_loss
    }

    /// Objects and fragments that could not be read, and why.
    pub fn closed(&self) -> &[String] {
        &self.closed
    }

    /// That signed index objects are not there, which are older than any that is: what they told of it is missing.
    pub fn older(&self) -> Option<&String> {
        self.older.as_ref()
    }

    /// Writes it as text.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "session {}", clean(&self.session))?;
        for account in &self.accounts {
            writeln!(out, "{}", clean(account))?;
        }
        for erased in &self.erased {
            writeln!(out, "{}", clean(erased))?;
        }
        let mut before: Vec<Said> = Vec::new();
        for entry in &self.entries {
            writeln!(out)?;
            let mark = if self.is_unsigned(entry) { "  UNSIGNED: no digest names this line" } else { "" };
            writeln!(out, "{}{mark}", clean(&headline(entry)))?;
            if let Some(item) = &entry.item {
                body(item, &mut before, out)?;
            }
            if let Some(words) = entry.hidden.as_ref().and_then(words) {
                writeln!(out, "  {:<11} {}", "redacted", clean(&words))?;
            }
        }
        for why in &self.closed {
            writeln!(out, "\nnot read: {}", clean(why))?;
        }
        writeln!(out, "\n{}", self.total_line())
    }

    /// Calls and cost.
    pub fn total(&self) -> Total {
        let (mut calls, mut tools, mut unpriced, mut sum) = (0_u64, 0_u64, 0_u64, Some(Decimal::ZERO));
        for entry in &self.entries {
            let (call, status, usd) = facts(entry);
            calls += u64::from(call == "model" && !matches!(status, "deferred" | "not_counted"));
            tools += u64::from(call == "tool");
            unpriced += u64::from(status == "unpriced");
            let usd = usd.filter(|_| status == "priced").and_then(|usd| usd.parse::<Decimal>().ok());
            // index lines are anybody's claim until they are verified
            sum = sum.and_then(|sum| sum.checked_add(usd.unwrap_or_default()));
        }
        let cost_usd = sum.map(|sum| sum.normalize().to_string());
        Total { model_calls: calls, tool_calls: tools, unpriced, cost_usd }
    }

    pub(super) fn total_line(&self) -> String {
        let Total { model_calls, tool_calls, unpriced, cost_usd } = self.total();
        let open = if unpriced > 0 { format!(", {unpriced} without a price") } else { String::new() };
        let sum = cost_usd.map_or("too large to add".to_owned(), |usd| format!("{usd} USD"));
        format!("model calls: {model_calls}, tool calls: {tool_calls}, cost: {sum}{open}")
    }
}

/// What it was in the run, what became of its price, and the price.
fn facts(entry: &Entry) -> (&str, &str, Option<&str>) {
    match (&entry.row, &entry.item) {
        (Some(row), _) => {
            let status = row.tail.cost_status.as_deref().unwrap_or_default();
            (&row.tail.call, status, row.tail.cost_usd.as_deref())
        }
        (None, Some(item)) => {
            let status = item.head.cost_status.as_deref().unwrap_or_default();
            (&item.head.call, status, item.head.cost_usd.as_deref())
        }
        (None, None) => ("", "", None),
    }
}

fn headline(entry: &Entry) -> String {
    let mut words: Vec<String> = vec![entry.at.get(..23).unwrap_or(&entry.at).replace('T', " ")];
    let mut push = |word: Option<&str>| words.extend(word.filter(|word| !word.is_empty()).map(str::to_owned));
    let head = entry.item.as_ref().map(|item| &item.head);
    let tail = entry.row.as_ref().map(|row| &row.tail);
    let action = tail.map(|tail| tail.action_type.as_deref().unwrap_or(&tail.call));
    push(head.map(|head| &*head.name).filter(|name| !name.is_empty()).or(action));
    let named = |word: &&str| !head.is_some_and(|head| head.name.contains(*word));
    let tool = head.and_then(|head| head.tool.as_deref()).or(tail.and_then(|tail| tail.tool_name.as_deref()));
    push(tool.filter(named));
    let model = head.and_then(|head| head.response_model.as_deref().or(head.request_model.as_deref()));
    push(model.or(tail.and_then(|tail| tail.model.as_deref())).filter(named));
    let tokens =
        head.map(|head| (head.tokens_in, head.tokens_out)).or(tail.map(|tail| (tail.tokens_in, tail.tokens_out)));
    if let Some((Some(input), Some(output))) = tokens {
        push(Some(&format!("{input} in {output} out")));
    }
    let (_, status, usd) = facts(entry);
    push(usd.map(|usd| format!("{usd} USD")).as_deref().or(Some(status).filter(|status| *status == "unpriced")));
    let turn = head.and_then(|head| head.turn.as_deref()).or(tail.and_then(|tail| tail.turn.as_deref()));
    push(turn.map(|turn| format!("turn {turn}")).as_deref());
    push(tail.map(|tail| &*tail.status).filter(|status| *status != "ok"));
    push(tail.and_then(|tail| tail.decision.as_deref()));
    push(tail.is_none().then_some("(not in the index)"));
    words.join("  ")
}

/// Order of parts, and who speaks where a part does not say.
const PARTS: [(&str, &str); 6] = [
    ("system", "system"),
    ("tools", "tools"),
    ("input", "user"),
    ("tool_args", "arguments"),
    ("tool_result", "result"),
    ("output", "assistant"),
];

/// The content of an item; what was shown before is only counted: earlier input, and pieces that say the same again.
fn body(item: &Item, before: &mut Vec<Said>, out: &mut dyn Write) -> io::Result<()> {
    for (part, who) in PARTS {
        let who = if part == "output" && item.head.call == "tool" { "result" } else { who };
        let (mut pieces, mut again): (Vec<Vec<Said>>, _) = (Vec::new(), 0_usize);
        for piece in item.content.iter().filter(|piece| piece.part == part) {
            let said = said(&piece.value, who);
            if pieces.contains(&said) { again += 1 } else { pieces.push(said) }
        }
        let said: Vec<Said> = pieces.into_iter().flatten().collect();
        let known =
            if part == "input" { said.iter().zip(before.iter()).take_while(|(a, b)| a == b).count() } else { 0 };
        if known > 0 {
            writeln!(out, "  ({known} earlier {} as before)", if known == 1 { "message" } else { "messages" })?;
        }
        said.iter().skip(known).try_for_each(|said| speak(said, out))?;
        if again > 0 {
            writeln!(out, "  (the same in {again} more {})", if again == 1 { "place" } else { "places" })?;
        }
        match part {
            "input" if !said.is_empty() => *before = said,
            // the next call's history has this answer too
            "output" => before.extend(said),
            _ => {}
        }
    }
    for piece in item.content.iter().filter(|piece| !PARTS.iter().any(|(part, _)| *part == piece.part)) {
        let who = piece.key.as_deref().unwrap_or("other");
        said(&piece.value, who).iter().try_for_each(|said| speak(said, out))?;
    }
    Ok(())
}

fn speak(said: &Said, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = said.text.lines();
    writeln!(out, "  {:<11} {}", clean(&said.who), clean(lines.next().unwrap_or_default()))?;
    lines.try_for_each(|line| writeln!(out, "  {:<11} {}", "", clean(line)))
}
