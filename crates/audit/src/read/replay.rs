//! `vault replay`: reads a session in order of time, with its prompts, answers, tool calls and costs, so that an
//! incident can be understood without calling a model again.
//!
//! Nothing is left out, except messages shown before, which are counted, and content beyond the memory limit, which is
//! an error. Content belongs to a line only if its sealed bytes have the line's hash and it matches the line's
//! commitment. Objects not yet in the index are found by their names. Content without a (signed) line is marked, and in
//! no turn or sum. Unreadable parts are reported and hide nothing else. Neighbours: `text`, `turns`, `tree` and
//! `report` (output).

use std::collections::{BTreeMap, BTreeSet};

use vault::names::Scope;
use vault::row::Row;

use super::aside::{Fetched, Hashes};
use super::inside::{Inside, NOT_MEANT};
use super::lines::{Indexed, erased, of_others, rows, unindexed};
use super::opener::{Opened, Opener, Places};
use super::session::{Entry, Filter, Replay, line};
use super::shut::Shut;
use crate::error::{ReadError, several_accounts};
use crate::location::Vault;
use kernel::terminal::clean;

/// The lines that refer to an object.
#[derive(Default)]
struct Meant {
    /// Whether the lines are signed; false also if signatures were not checked.
    signed: bool,
    /// Lines by the offset of their fragment.
    rows: BTreeMap<u64, Vec<Row>>,
    places: Places,
    hashes: Hashes,
}

/// Reads a session by its id as the index shows it (`trace-…` for records without one).
///
/// # Errors
/// The store fails, or there is no such session.
pub async fn replay(
    vault: &Vault,
    opener: &mut Opener<'_>,
    session: &str,
    filter: &Filter,
) -> Result<Replay, ReadError> {
    let mut indexed = rows(vault, session, filter).await?;
    opener.claims = indexed.claims(session);
    let Indexed { rows, erasures, closed, planted, older, left_out, unsigned, .. } = indexed;
    let of_signed = rows.iter().filter(|row| !unsigned.contains(&line(row)));
    let mut accounts: BTreeSet<String> = of_signed.map(|row| row.tail.account.clone()).collect();
    let unindexed = unindexed(vault, session, filter, &accounts).await?;
    accounts.extend(rows.iter().map(|row| row.tail.account.clone()));
    if accounts.len() > 1 {
        return Err(several_accounts("this session", accounts));
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
    // a planted object must not take memory from the others
    let mut objects: Vec<(String, Meant)> = objects.into_iter().collect();
    let order = |(name, meant): &(String, Meant)| (!meant.signed, meant.rows.is_empty(), name.clone());
    objects.sort_by_cached_key(order);
    let mut room = filter.content.0;
    // an object read under an alternative name has no line of its own
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
        return Err(ReadError::NotFound(std::iter::once(none).chain(closed).collect::<Vec<_>>().join("\nnot read: ")));
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
    /// Takes the session's lines. Lines without content become entries; the others are returned by object. An unsigned
    /// line is ignored for an object that a signed line names.
    fn take(&mut self, rows: Vec<Row>) -> BTreeMap<String, Meant> {
        let mut objects: BTreeMap<String, Meant> = BTreeMap::new();
        // signed lines come first
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

    /// Reads an object and its lines, and returns the name under which it was read. `strange` are offsets of other
    /// sessions' fragments.
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
                // leaving out an unsigned object is no loss
                Err(Shut::NoRoom) if signed || !self.looked => self.left_out += 1,
                Err(why) => {
                    let erased = matches!(why, Shut::NoKey(_)) && !self.erased.is_empty();
                    self.not_read(ReadError::from(why).to_string(), erased || (self.looked && !signed));
                }
            }
        }
        for (off, rows) in rows {
            if seen.contains(&off) && !rows.is_empty() {
                let why = format!("{at} at {off}: {NOT_MEANT}");
                self.not_read(why, self.looked && !signed);
            }
            // the lines' events happened even if their content did not open
            self.entries.extend(rows.into_iter().map(Entry::of_line));
        }
        for why in opener.keys_back() {
            self.not_read(why, false);
        }
        for key in opener.bad_keys() {
            self.not_read(format!("{} among the session's keys: {}", key.name, key.why), true);
        }
        at
    }

    /// Records a failure; `no_loss` if nothing of the session is missing because of it.
    fn not_read(&mut self, why: String, no_loss: bool) {
        self.no_loss += usize::from(no_loss);
        self.closed.push(why);
    }

    /// Adds the items of a document; `rows` are its lines.
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
}
