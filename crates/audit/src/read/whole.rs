//! Restores whole content in an object's documents that refer to earlier ones. A document that can't be restored hides
//! no other. Neighbours: `vault/delta` (the encoding), `opener`.

use std::collections::BTreeSet;

use bytes::Bytes;
use memchr::memmem;

use super::fragments;
use super::opener::{MAX_PLAIN, NO_DOCUMENT, Opened, Opener, open_fragment};
use super::shut::Shut;
use crate::error::ReadError;
use vault::delta::{LARGE, Rebuilder, Unbuilt};
use vault::names::{ObjectName, Scope};
use vault::store::ObjectKind;

/// A fragment's offset and its document as stored.
type Stored = (u64, Result<Vec<u8>, Shut>);

/// Marks a reference to earlier content; in a text the quotes would be escaped.
const REFERENCE: &[u8] = b"\"base\":{\"fragment\":";

fn refers(plain: &[u8]) -> bool {
    memmem::find(plain, REFERENCE).is_some()
}

impl Opener<'_> {
    /// The documents with whole content.
    pub(super) async fn whole(
        &mut self,
        name: &str,
        object: &ObjectName,
        scopes: &BTreeSet<&Scope>,
        stored: Vec<Stored>,
        room: &mut u64,
    ) -> Result<Vec<Result<Opened, Shut>>, Shut> {
        let mut rebuilder = Rebuilder::default();
        if stored.iter().any(|(_, plain)| plain.as_ref().is_ok_and(|plain| refers(plain))) {
            add(&mut rebuilder, &stored);
            if stored.iter().any(|one| lacks(&mut rebuilder, one)) {
                // only a part of the object was given: the referenced content precedes it
                let bytes = self.vault.fetch(ObjectKind::Payload, name, None).await.map_err(Shut::Other)?;
                add(&mut rebuilder, &self.all(object, scopes, &bytes, *room));
            }
        }
        let mut out = Vec::with_capacity(stored.len());
        for (offset, plain) in stored {
            let said = |why: &str| Shut::Other(ReadError::damaged(why)).at(name, offset);
            out.push(plain.and_then(|plain| {
                let whole = match refers(&plain) {
                    true => {
                        // referenced content was counted in its own place, and is now copied
                        let most = usize::try_from(*room).unwrap_or(usize::MAX).min(MAX_PLAIN);
                        let whole = rebuilder.rebuild(&plain, most);
                        whole.map_err(|why| {
                            if why == LARGE && most < MAX_PLAIN { Shut::NoRoom } else { said(&shown(&why)) }
                        })?
                    }
                    false => None,
                };
                *room = room.saturating_sub(whole.as_ref().map_or(0, |whole| whole.len() as u64));
                let plain = whole.unwrap_or(plain);
                let document = serde_json::from_slice(&plain).map_err(|_| said(NO_DOCUMENT))?;
                Ok(Opened { offset, document, plain })
            }));
        }
        Ok(out)
    }

    /// All fragments that the keys of these scopes open.
    fn all(&self, object: &ObjectName, scopes: &BTreeSet<&Scope>, bytes: &Bytes, mut room: u64) -> Vec<Stored> {
        let mut open = |one: &Bytes| {
            let keys = |scope: &Scope| {
                self.sessions.get(&object.keys(scope)).and_then(|keys| keys.as_deref().ok()).unwrap_or_default()
            };
            let mut opened = scopes.iter().map(|scope| open_fragment(&object.file, scope, one, keys(scope), room));
            let plain = opened.find_map(Result::ok).ok_or_else(|| Shut::Other(ReadError::damaged("")));
            room = room.saturating_sub(plain.as_ref().map_or(0, |plain| plain.len() as u64));
            plain
        };
        fragments::split(bytes).iter().map(|(at, one)| (*at, open(one))).collect()
    }
}

/// Adds the documents; a malformed one is reported when it is parsed.
fn add(rebuilder: &mut Rebuilder, stored: &[Stored]) {
    for plain in stored.iter().filter_map(|(_, plain)| plain.as_ref().ok()) {
        let _ = rebuilder.add(plain);
    }
}

fn lacks(rebuilder: &mut Rebuilder, (_, plain): &Stored) -> bool {
    let Ok(plain) = plain else { return false };
    refers(plain) && matches!(rebuilder.rebuild(plain, MAX_PLAIN), Err(Unbuilt::Missing(_)))
}

fn shown(why: &Unbuilt) -> String {
    match why {
        Unbuilt::Missing(fragment) => {
            format!("it refers to content of the fragment {fragment}, which is not in the object or does not open")
        }
        Unbuilt::Damaged(why) => (*why).to_owned(),
    }
}
