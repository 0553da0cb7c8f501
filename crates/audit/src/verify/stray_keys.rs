//! Judges objects in the keys' folders that no line names. A key copy hidden before an erasure would still open the
//! erased content, and a planted object must not pass for a key.
//!
//! An object that opens an erased session is reported as such, whatever its name. For lines of older versions, copies
//! made by `rewrap` can't be distinguished from planted objects, which is reported once. Neighbour: `keys` judges named
//! objects.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::chains::Line;
use crate::folders::{is_key_name, shredded};
use crate::read::open_key;
use vault::names::account_segment;
use vault::seal::key_id;
use vault::store::ObjectKind;
use vault::store::probe::{BODY, is_probe};

use super::strays::LONG;
use super::walk::{Epoch, Walk};

/// Most objects that are read.
const MAX_READ: usize = 10_000;
/// Objects fetched concurrently.
const AT_ONCE: usize = 16;

/// Possible kinds of an unnamed object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// A key that a future line may name.
    Key,
    /// A copy of a key whose line has no hash.
    OldCopy,
    /// A probe object of `vault doctor`, if its body matches.
    Probe,
    /// Anything else.
    Planted,
}

impl Walk<'_> {
    /// Reports objects in the keys' folders that no line names.
    pub(super) async fn stray_keys(&mut self, lines: &[(Line, Vec<Epoch>)]) {
        let options = self.options;
        let partly = options.writer.is_some() || self.resume.goes_on();
        let Some(there) = self.keys.there.take().filter(|_| !partly) else { return };
        let folder =
            options.account.as_deref().map_or("keys/".to_owned(), |one| format!("keys/{}/", account_segment(one)));
        let named: BTreeSet<&String> =
            self.keys.told.values().map(|told| &told.object).chain(self.keys.copies.keys()).collect();
        let epochs = || lines.iter().flat_map(|(_, epochs)| epochs);
        // future lines, lost lines, and lines that this run could not read may name a key
        let to_come = lines.iter().filter_map(|(_, epochs)| epochs.last()?.last.as_ref()).any(|last| !last.last);
        let over = !to_come && epochs().all(|epoch| epoch.rooted && !epoch.damaged && epoch.gaps == 0);
        let strays = there.iter().filter(|name| !named.contains(*name)).filter_map(|name| {
            let own = self.vault.relative(name)?;
            (own.starts_with(&folder) && !self.is_over(own)).then(|| (name.clone(), self.what(name, own, over)))
        });
        let strays: Vec<(String, What)> = strays.collect();
        let (mut old, mut waiting) = (0_u64, 0_u64);
        let vault = self.vault;
        let read = stream::iter(strays.iter().take(MAX_READ)).map(async |(name, what)| {
            let bytes = vault.key_object(name).await.unwrap_or_default();
            let written = if *what == What::Key { vault.written(ObjectKind::Key, name).await } else { None };
            (name, *what, bytes, written)
        });
        let mut read = read.buffered(AT_ONCE);
        while let Some((name, what, bytes, written)) = read.next().await {
            if self.opens_what_was_erased(&bytes) {
                self.report.fail("key_back", name, "it opens a session that was erased: a copy that somebody kept");
                continue;
            }
            match what {
                What::OldCopy => old += 1,
                What::Probe if bytes == BODY => {}
                What::Planted | What::Probe => {
                    self.report.fail("stray", name, "no line names it: it was planted, or is left over");
                }
                What::Key if written.is_some_and(|written| written.plus(LONG) >= self.options.now) => waiting += 1,
                What::Key => {
                    let what =
                        "no line names this key (yet): its gateway is behind, or away, lost records, or it was planted";
                    self.report.warn("unclaimed", name, what);
                }
            }
        }
        if strays.len() > MAX_READ {
            let what = format!("{} more objects that no line names are among the keys", strays.len() - MAX_READ);
            self.report.fail("stray", "keys/", what);
        }
        if waiting > 0 {
            self.report.not_verified.push(format!("{waiting} session keys that no line names yet"));
        }
        if old > 0 {
            let what = format!(
                "{old} copies of session keys whose lines, of older versions, tell no hash: they may be planted"
            );
            self.report.not_verified.push(what);
        }
    }

    fn what(&self, name: &str, own: &str, over: bool) -> What {
        if is_probe(own) {
            return What::Probe;
        }
        let Some(key) = shredded(name).filter(|_| is_key_name(own)) else { return What::Planted };
        match self.keys.told.get(&key) {
            Some(told) if told.sha256.is_none() => What::OldCopy,
            // it was destroyed by request, which `settle_keys` handles
            Some(_) => What::Planted,
            None if over => What::Planted,
            None => What::Key,
        }
    }

    /// Whether an object is the key of an erased session, either as the gateway wrote it, or sealed to one of the given
    /// identities.
    fn opens_what_was_erased(&self, object: &Bytes) -> bool {
        if self.keys.gone.is_empty() || object.is_empty() {
            return false;
        }
        let sha256 = kernel::hex::encode(&Sha256::digest(object));
        let told = |key| self.keys.told.get(key).is_some_and(|told| told.sha256.as_ref() == Some(&sha256));
        let secret = || open_key(object, &self.options.auditors).ok().flatten();
        self.keys.gone.iter().any(told)
            || secret().is_some_and(|secret| {
                let id = key_id(&secret.to_public().to_string());
                self.keys.gone.iter().any(|key| key.id == id)
            })
    }
}
