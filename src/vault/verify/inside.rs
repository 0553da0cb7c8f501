//! **What**: opens fragments and holds what they say against their lines: place, ids, hashes, commitments.
//! **Why**: a fragment could be swapped for another whole one; only inside stands where it belongs. **Invariants**: what
//! was said is hashed, never shown. **Not here**: bytes (`content`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::vault::chain::tree::from_hex;
use crate::vault::document::commitment;
use crate::vault::names::Scope;
use crate::vault::read::{BadKey, Content, Opened, Opener, Places, ReadError, Shut};
use crate::vault::row::Row;

use super::Walk;
use super::content::Held;
use super::epoch::Epoch;

#[derive(Deserialize)]
struct Document<'a> {
    fragment: String,
    account: String,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
    content_sha256: String,
    context_sha256: Option<String>,
    salt: String,
}

#[derive(Deserialize)]
struct Piece<'a> {
    part: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

impl Walk<'_> {
    /// Opens an object's fragments, if there is a key; those in `lost` are not there.
    /// `over`: its retention is over, and so may be that of its keys.
    pub(super) async fn inside(
        &mut self,
        epoch: &mut Epoch,
        held: &Held,
        bytes: &Bytes,
        lost: &BTreeSet<u64>,
        over: bool,
    ) {
        let Some(opener) = &mut self.opener else { return };
        let mut rows: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
        for row in &held.rows {
            if let Some(off) = row.off.filter(|off| !lost.contains(off)) {
                rows.entry(off).or_default().push(row);
            }
        }
        if rows.is_empty() {
            return;
        }
        let known = rows.iter().filter_map(|(off, rows)| {
            let tail = &rows.first()?.tail;
            Some(((*off, tail.len?), Scope::of(tail)))
        });
        let known: Places = known.collect();
        let opened = documents(opener, held, bytes, &known, lost).await;
        for BadKey { name, why, archived } in opener.bad_keys() {
            match archived {
                true => self.report.counts.archived += 1,
                false => self.report.fail("key_unreadable", name, format!("among the session's keys, and none: {why}")),
            }
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(shut) => {
                epoch.unread += rows.len() as u64;
                return self.shut(&held.name, shut, over);
            }
        };
        for opened in opened {
            match opened {
                Err(shut) => {
                    epoch.unread += u64::from(matches!(shut, Shut::NoKey(_) | Shut::NoIdentity(_)));
                    self.shut(&held.name, shut, over);
                }
                Ok(opened) => {
                    let Some(rows) = rows.remove(&opened.offset) else { continue };
                    match agrees(&opened.plain, &rows) {
                        Ok(()) => self.report.counts.opened += 1,
                        Err(why) => self.report.fail("inside", format!("{} at {}", held.name, opened.offset), why),
                    }
                }
            }
        }
    }
}

impl Walk<'_> {
    /// A key is not there, or not for us, or could not be looked for.
    fn shut(&mut self, name: &str, shut: Shut, over: bool) {
        match shut {
            Shut::NoKey(why) if !over => self.report.fail("key_missing", name, why),
            Shut::NoKey(_) | Shut::NoIdentity(_) => {}
            Shut::NoRoom | Shut::Other(_) => self.report.fail("inside", name, ReadError::from(shut)),
        }
    }
}

/// The fragments of an object that can be there, opened.
async fn documents(
    opener: &mut Opener<'_>,
    held: &Held,
    bytes: &Bytes,
    known: &Places,
    lost: &BTreeSet<u64>,
) -> Result<Vec<Result<Opened, Shut>>, Shut> {
    let mut room = Content::default().0;
    if lost.is_empty() {
        return opener.documents(&held.name, bytes, known, &mut room).await;
    }
    // others, which can't be opened, stand between them
    let mut out = Vec::new();
    for ((off, len), scope) in known {
        let range = off.checked_add(*len).and_then(|end| Some(usize::try_from(*off).ok()?..usize::try_from(end).ok()?));
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            out.push(Err(Shut::Other(format!("{} at {off}: the index points outside of the object", held.name))));
            continue;
        };
        let alone = Places::from([((0, *len), scope.clone())]);
        let opened = opener.documents(&held.name, &bytes.slice(range), &alone, &mut room).await?;
        out.extend(opened.into_iter().map(|one| one.map(|one| Opened { offset: *off, ..one })));
    }
    Ok(out)
}

/// Whether a document says what its lines say.
fn agrees(plain: &[u8], rows: &[&Row]) -> Result<(), &'static str> {
    let document: Document<'_> = serde_json::from_slice(plain).map_err(|_| "it is not a document of the vault")?;
    for row in rows {
        let tail = &row.tail;
        if tail.fragment.as_ref() != Some(&document.fragment) || tail.account != document.account {
            return Err("it is another fragment than its line says");
        }
        let Some(position) = tail.item else { continue };
        let item = usize::try_from(position).ok().and_then(|position| document.items.get(position));
        let item = item.ok_or("it has not the item of its line")?;
        let content = Sha256::digest(item.content.get());
        if crate::hex::encode(&content) != item.content_sha256 {
            return Err("the hash of its content is not the one inside");
        }
        let salt = from_hex(&item.salt).ok_or("its salt is none")?;
        if tail.commitment.as_ref().is_some_and(|said| *said != commitment(&salt, &content.into())) {
            return Err("its content is not what its line commits to");
        }
        if context(item.content)? != item.context_sha256 {
            return Err("the hash of its context is not the one inside");
        }
    }
    Ok(())
}

/// The hash of what the model was given.
fn context(content: &RawValue) -> Result<Option<String>, &'static str> {
    let pieces: Vec<Piece<'_>> =
        serde_json::from_str(content.get()).map_err(|_| "its content is not a list of pieces")?;
    let mut context: Option<Sha256> = None;
    for piece in pieces.iter().filter(|piece| ["system", "tools", "input"].contains(&piece.part.as_str())) {
        let hash = context.get_or_insert_default();
        for bytes in [piece.part.as_bytes(), &[0], piece.value.get().as_bytes(), &[0]] {
            hash.update(bytes);
        }
    }
    Ok(context.map(|hash| crate::hex::encode(&hash.finalize())))
}
