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

use crate::chains::ChainId;
use crate::folders::{is_key_name, parse_key_name};
use crate::read::open_key;
use vault::object_names::account_segment;
use vault::seal::key_id;
use vault::store::ObjectKind;
use vault::store::probe::{PROBE_BODY, is_probe};

use super::run_state::{EpochVerification, VerificationRun};
use super::unreferenced_objects::MAX_DIGEST_DELAY;

/// Most objects that are read.
const MAX_READ: usize = 10_000;
/// Objects fetched concurrently.
const CONCURRENT_FETCHES: usize = 16;

/// Possible kinds of an unnamed object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnreferencedKeyKind {
    /// A key that a future line may name.
    Key,
    /// A copy of a key whose line has no hash.
    OldCopy,
    /// A probe object of `vault doctor`, if its body matches.
    Probe,
    /// Anything else.
    Planted,
}

impl VerificationRun<'_> {
    /// Reports objects in the keys' folders that no line names.
    pub(super) async fn report_unreferenced_keys(&mut self, lines: &[(ChainId, Vec<EpochVerification>)]) {
        let options = self.options;
        let partly = options.writer.is_some() || self.resume.is_resumed();
        let Some(there) = self.keys.present.take().filter(|_| !partly) else { return };
        let folder =
            options.account.as_deref().map_or("keys/".to_owned(), |one| format!("keys/{}/", account_segment(one)));
        let named: BTreeSet<&String> =
            self.keys.named.values().map(|told| &told.object).chain(self.keys.copies.keys()).collect();
        let epochs = || lines.iter().flat_map(|(_, epochs)| epochs);
        // future lines, lost lines, and lines that this run could not read may name a key
        let to_come = lines.iter().filter_map(|(_, epochs)| epochs.last()?.last.as_ref()).any(|last| !last.last);
        let over = !to_come && epochs().all(|epoch| epoch.has_all_lines && !epoch.damaged && epoch.gaps == 0);
        let unreferenced = there.iter().filter(|name| !named.contains(*name)).filter_map(|name| {
            let own = self.vault.relative_name(name)?;
            (own.starts_with(&folder) && !self.is_over(own))
                .then(|| (name.clone(), self.classify_unreferenced_key(name, own, over)))
        });
        let unreferenced: Vec<(String, UnreferencedKeyKind)> = unreferenced.collect();
        let (mut old, mut waiting) = (0_u64, 0_u64);
        let vault = self.vault;
        let read = stream::iter(unreferenced.iter().take(MAX_READ)).map(async |(name, what)| {
            let bytes = vault.fetch_key_object(name).await.unwrap_or_default();
            let written = if *what == UnreferencedKeyKind::Key {
                vault.fetch_write_time(ObjectKind::Key, name).await
            } else {
                None
            };
            (name, *what, bytes, written)
        });
        let mut read = read.buffered(CONCURRENT_FETCHES);
        while let Some((name, what, bytes, written)) = read.next().await {
            if self.opens_erased_session(&bytes) {
                self.report.fail("key_restored", name, "it opens an erased session: a copy of its key was kept");
                continue;
            }
            match what {
                UnreferencedKeyKind::OldCopy => old += 1,
                UnreferencedKeyKind::Probe if bytes == PROBE_BODY => {}
                UnreferencedKeyKind::Planted | UnreferencedKeyKind::Probe => {
                    self.report.fail(
                        "unreferenced",
                        name,
                        "no line names this object: it was planted, or is left over",
                    );
                }
                UnreferencedKeyKind::Key
                    if written.is_some_and(|written| written.plus(MAX_DIGEST_DELAY) >= self.options.now) =>
                {
                    waiting += 1
                }
                UnreferencedKeyKind::Key => {
                    let what = "no line names this key (yet): its gateway is behind or stopped, or lost records, or the key was planted";
                    self.report.warn("not_yet_referenced", name, what);
                }
            }
        }
        if unreferenced.len() > MAX_READ {
            let what =
                format!("{} more objects in the keys' folders that no line names", unreferenced.len() - MAX_READ);
            self.report.fail("unreferenced", "keys/", what);
        }
        if waiting > 0 {
            self.report.not_verified.push(format!("{waiting} session keys that no line names yet"));
        }
        if old > 0 {
            let what = format!(
                "{old} copies of session keys that may be planted, because lines of older versions contain no hashes"
            );
            self.report.not_verified.push(what);
        }
    }

    fn classify_unreferenced_key(&self, name: &str, own: &str, over: bool) -> UnreferencedKeyKind {
        if is_probe(own) {
            return UnreferencedKeyKind::Probe;
        }
        let Some(key) = parse_key_name(name).filter(|_| is_key_name(own)) else { return UnreferencedKeyKind::Planted };
        match self.keys.named.get(&key) {
            Some(told) if told.sha256.is_none() => UnreferencedKeyKind::OldCopy,
            // it was destroyed by request, which `settle_keys` handles
            Some(_) => UnreferencedKeyKind::Planted,
            None if over => UnreferencedKeyKind::Planted,
            None => UnreferencedKeyKind::Key,
        }
    }

    /// Whether an object is the key of an erased session, either as the gateway wrote it, or sealed to one of the given
    /// identities.
    fn opens_erased_session(&self, object: &Bytes) -> bool {
        if self.keys.erased.is_empty() || object.is_empty() {
            return false;
        }
        let sha256 = kernel::hex::encode(&Sha256::digest(object));
        let told = |key| self.keys.named.get(key).is_some_and(|told| told.sha256.as_ref() == Some(&sha256));
        let secret = || open_key(object, &self.options.auditors).ok().flatten();
        self.keys.erased.iter().any(told)
            || secret().is_some_and(|secret| {
                let id = key_id(&secret.to_public().to_string());
                self.keys.erased.iter().any(|key| key.id == id)
            })
    }
}
