//! **What**: `vault replay`: a session in order of time: what was asked, answered, called, paid.
//! **Why**: an incident is understood by reading it, without calling a model again.
//! **Invariants**: nothing is left out but messages shown before, which are counted, and what is over the limit of memory, which
//! is an error; content is a line's only if its sealed bytes have the line's hash and it is what the line commits to; objects that are not in the index
//! yet are found by their names, and what no (signed) line means is marked and in no turn and no sum; what can't be read is said and hides nothing
//! else. **Not here**: how it is shown (`text`), turns and what changed between them (`turns`), the tree of calls (`tree`), JSON (`report`), proofs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::signed::Signed;
use vault::calls::{Calls, Telling, is_model_call, is_model_line};
use vault::document::Item;
use vault::names::Scope;
use vault::row::Row;

use super::hidden::Hidden;
use super::lines::{Indexed, Line, erased, line, of_others, rows, unindexed};
use super::{Fetched, Hashes, Inside, NOT_MEANT, Opened, Opener, Places, ReadError, Shut, Vault, whose};
use kernel::terminal::clean;

/// Narrows the search.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
    /// How much is read into memory.
    pub content: Content,
    /// What digests name: all else is marked. `None`: nobody looked.
    pub signed: Option<Arc<Signed>>,
    /// What they don't name counts in turns and sums like the rest.
    pub unsigned: bool,
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
    /// Tool calls, each once.
    pub tool_calls: u64,
    /// What failed, each once.
    pub failed: u64,
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
    /// Somebody looked which lines are signed.
    looked: bool,
    /// What is not counts all the same.
    counts_unsigned: bool,
    /// Lines of objects that no signed digest names.
    unsigned: BTreeSet<Line>,
}

/// What lines say of an object.
#[derive(Default)]
struct Meant {
    /// These lines are signed; else nobody looked, or nobody signed them.
    signed: bool,
    /// By the offset of their fragment.
    rows: BTreeMap<u64, Vec<Row>>,
    places: Places,
    hashes: Hashes,
}

impl Entry {
    /// A line whose content there is not, or that nobody could open.
    fn of_line(row: Row) -> Self {
        Self { at: row.tail.ts.clone(), leaf: row.leaf, row: Some(row), item: None, hidden: None }
    }

    /// What it tells of a call.
    pub(super) fn told(&self) -> Option<Telling<'_>> {
        let told = match (&self.row, &self.item) {
            (Some(row), _) => Telling::of(row),
            (None, item) => Telling::of_head(&item.as_ref()?.head),
        };
        Some(told.of_one_session())
    }

    /// Whether it is a model call that nothing else tells.
    pub(super) fn is_model_call(&self) -> bool {
        let (call, status, _) = facts(self);
        self.row.as_ref().map_or_else(|| is_model_call(call, Some(status)), |row| is_model_line(&row.tail))
    }
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
    let of_signed = rows.iter().filter(|row| !unsigned.contains(&line(row)));
    let mut accounts: BTreeSet<String> = of_signed.map(|row| row.tail.account.clone()).collect();
    let unindexed = unindexed(vault, session, filter, &accounts).await?;
    accounts.extend(rows.iter().map(|row| row.tail.account.clone()));
    if accounts.len() > 1 {
        return Err(whose("this session", accounts));
    }
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
        looked: filter.signed.is_some(),
        counts_unsigned: filter.unsigned,
        unsigned,
    };
    let mut objects = replay.take(rows);
    for name in unindexed {
        objects.entry(name).or_default();
    }
    let of_others = of_others(vault, session, filter, objects.keys().map(String::as_str)).await?;
    // what somebody planted takes no room from the rest
    let mut objects: Vec<(String, Meant)> = objects.into_iter().collect();
    let order = |(name, meant): &(String, Meant)| (!meant.signed, meant.rows.is_empty(), name.clone());
    objects.sort_by_cached_key(order);
    let mut room = filter.content.0;
    // what is found beside a name is in no line itself
    let (mut taken, none) = (BTreeSet::new(), BTreeSet::new());
    for (name, meant) in objects {
        if !taken.contains(&name) || !meant.rows.is_empty() {
            let strange = of_others.get(&name).unwrap_or(&none);
            taken.insert(replay.read(opener, &name, meant, strange, &mut room).await);
        }
    }
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
    /// Takes the session's lines: entries, or what waits for its content, by object. A line that nobody signed means nothing of an
    /// object that a signed one names.
    fn take(&mut self, rows: Vec<Row>) -> BTreeMap<String, Meant> {
        let mut objects: BTreeMap<String, Meant> = BTreeMap::new();
        // signed ones come first
        for row in rows {
            let signed = self.looked && !self.unsigned.contains(&line(&row));
            if signed || !self.looked {
                self.accounts.insert(format!("account {} · tenant {}", row.tail.account, row.tail.tenant));
            }
            let content = row.object_key.clone().zip(row.off).filter(|_| row.tail.fragment.is_some());
            let taken = |name: &String| !signed && objects.get(name).is_some_and(|meant| meant.signed);
            match content {
                Some((name, off)) if !taken(&name) => {
                    let meant = objects.entry(name).or_default();
                    meant.signed |= signed;
                    meant.places.extend(row.tail.len.map(|len| ((off, len), Scope::of(&row.tail))));
                    meant.hashes.add(&row);
                    meant.rows.entry(off).or_default().push(row);
                }
                _ => self.entries.push(Entry::of_line(row)),
            }
        }
        objects
    }

    /// Reads an object that lines mean, and says where it stood. `strange`: where fragments of other sessions begin.
    async fn read(
        &mut self,
        opener: &mut Opener<'_>,
        name: &str,
        meant: Meant,
        strange: &BTreeSet<u64>,
        room: &mut u64,
    ) -> String {
        let Meant { signed, mut rows, places, hashes } = meant;
        let Fetched { at, bytes, found } = opener.fetch(name, None, &hashes).await;
        let mut seen = BTreeSet::new();
        let opened = match bytes {
            Ok(bytes) => opener.documents(&at, &bytes, &places, room).await,
            Err(why) => Err(Shut::Other(why)),
        };
        for opened in opened.unwrap_or_else(|why| vec![Err(why)]) {
            match opened {
                Ok(opened) => {
                    seen.insert(opened.offset);
                    let waiting = rows.entry(opened.offset).or_default();
                    let inside = Inside::read(&opened.plain);
                    let is_it = |row: &mut Row| {
                        let sealed = row.off.zip(row.tail.len).and_then(|place| found.get(&place));
                        let agrees = || inside.as_ref().is_ok_and(|inside| inside.agree([&*row]).is_ok());
                        sealed.is_some() && sealed == row.tail.ct_sha256.as_ref() && agrees()
                    };
                    let own = waiting.extract_if(.., is_it).collect();
                    self.add(opened, own);
                }
                Err(Shut::Untold(_, offset)) if strange.contains(&offset) => {}
                // what nobody signed takes no room that is missed
                Err(Shut::NoRoom) if signed || !self.looked => self.left_out += 1,
                Err(why) => {
                    let erased = matches!(why, Shut::NoKey(_)) && !self.erased.is_empty();
                    self.not_read(why.into(), erased || (self.looked && !signed));
                }
            }
        }
        for (off, rows) in rows {
            if seen.contains(&off) && !rows.is_empty() {
                let why = format!("{at} at {off}: {NOT_MEANT}");
                self.not_read(why, self.looked && !signed);
            }
            // content that did not open still happened
            self.entries.extend(rows.into_iter().map(Entry::of_line));
        }
        for key in opener.bad_keys() {
            self.not_read(format!("{} among the session's keys: {}", key.name, key.why), true);
        }
        at
    }

    /// Something could not be read; `no_loss`: nothing is missing for it.
    fn not_read(&mut self, why: String, no_loss: bool) {
        self.no_loss += usize::from(no_loss);
        self.closed.push(why);
    }

    /// Adds the items of a document; `rows` are the lines that mean it.
    fn add(&mut self, opened: Opened, rows: Vec<Row>) {
        let head = &opened.document.head;
        if !rows.is_empty() || !self.looked {
            self.accounts.insert(format!("account {} · tenant {}", head.account, head.tenant));
        }
        let mut of_item: BTreeMap<u32, Row> = BTreeMap::new();
        for row in rows {
            match row.tail.item {
                Some(item) if !of_item.contains_key(&item) => drop(of_item.insert(item, row)),
                _ => self.entries.push(Entry::of_line(row)),
            }
        }
        for (position, item) in (0..).zip(opened.document.items) {
            let row = of_item.remove(&position);
            let leaf = row.as_ref().map_or(u64::MAX, |row| row.leaf);
            self.entries.push(Entry { at: item.head.start.clone(), leaf, row, item: Some(item), hidden: None });
        }
        self.entries.extend(of_item.into_values().map(Entry::of_line));
    }

    /// What was read and counts, in order of time.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.counted().filter_map(|entry| entry.item.as_ref())
    }

    /// What turns and sums are made of: not what nobody signed, where somebody looked, unless that was asked for.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| self.counts_unsigned || !self.is_unsigned(entry))
    }

    /// A session of these lines, whose content nobody opened.
    #[cfg(test)]
    pub(super) fn of_rows(session: &str, rows: Vec<Row>) -> Self {
        let mut entries: Vec<Entry> = rows.into_iter().map(Entry::of_line).collect();
        entries.sort_by(|a, b| (&a.at, a.leaf).cmp(&(&b.at, b.leaf)));
        let (accounts, erased, closed) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self {
            session: session.to_owned(),
            accounts,
            entries,
            erased,
            closed,
            no_loss: 0,
            older: None,
            left_out: 0,
            looked: false,
            counts_unsigned: false,
            unsigned: BTreeSet::new(),
        }
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

    /// How much of it no signed digest names, lines and content without one; 0 if nobody looked.
    pub fn unsigned(&self) -> usize {
        self.entries.iter().filter(|entry| self.is_unsigned(entry)).count()
    }

    /// Whether the entry is one of these.
    pub(super) fn is_unsigned(&self, entry: &Entry) -> bool {
        match &entry.row {
            Some(row) => self.unsigned.contains(&line(row)),
            None => self.looked,
        }
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

    /// Calls and cost.
    pub fn total(&self) -> Total {
        let (mut calls, mut tools, mut failed, mut unpriced) = (0_u64, 0_u64, 0_u64, 0_u64);
        let (mut seen, mut sum) = (Calls::default(), Some(Decimal::ZERO));
        for entry in self.counted() {
            let (_, status, usd) = facts(entry);
            calls += u64::from(entry.is_model_call());
            if let Some(told) = entry.told() {
                tools += u64::from(seen.is_new_tool(&told));
                failed += u64::from(seen.is_new_failure(&told));
            }
            unpriced += u64::from(status == "unpriced");
            let usd = usd.filter(|_| status == "priced").and_then(|usd| usd.parse::<Decimal>().ok());
            // index lines are anybody's claim until they are verified
            sum = sum.and_then(|sum| sum.checked_add(usd.unwrap_or_default()));
        }
        let cost_usd = sum.map(|sum| sum.normalize().to_string());
        Total { model_calls: calls, tool_calls: tools, failed, unpriced, cost_usd }
    }

    pub(super) fn total_line(&self) -> String {
        let Total { model_calls, tool_calls, failed, unpriced, cost_usd } = self.total();
        let failed = if failed > 0 { format!(", failed: {failed}") } else { String::new() };
        let open = if unpriced > 0 { format!(", {unpriced} without a price") } else { String::new() };
        let sum = cost_usd.map_or("too large to add".to_owned(), |usd| format!("{usd} USD"));
        format!("model calls: {model_calls}, tool calls: {tool_calls}{failed}, cost: {sum}{open}")
    }
}

/// What it was in the run, what became of its price, and the price.
pub(super) fn facts(entry: &Entry) -> (&str, &str, Option<&str>) {
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
