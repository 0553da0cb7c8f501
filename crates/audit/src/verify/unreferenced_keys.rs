//! Judges objects in the keys' folders that no line names. A key copy hidden before an erasure would still open the
//! erased content, and a planted object must not pass for a key.
//!
//! An object that opens an erased session is reported as such, whatever its name. For lines of older versions, copies
//! made by `rewrap` can't be distinguished from planted objects, which is reported once. Neighbour: `key_check` judges
//! named objects.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::folders::{is_key_name, parse_key_name};
use crate::read::open_key;
use kernel::sha256::Sha256;
use vault::object_names::{account_segment, rfc3339};
use vault::seal::key_id;
use vault::store::ObjectKind;
use vault::store::probe::{PROBE_BODY, is_probe};

use super::run_state::{ChainVerification, VerificationRun};
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
    pub(super) async fn report_unreferenced_keys(&mut self, chains: &[ChainVerification]) {
        let options = self.options;
        let is_partial = options.writer.is_some() || self.resume.is_resumed;
        let Some(present) = self.keys.present.take().filter(|_| !is_partial) else { return };
        let folder = options
            .account
            .as_deref()
            .map_or("keys/".to_owned(), |account| format!("keys/{}/", account_segment(account)));
        let named: BTreeSet<&String> =
            self.keys.named.values().map(|key| &key.object).chain(self.keys.copies.keys()).collect();
        let mut epochs = chains.iter().flat_map(|chain| &chain.epochs);
        // future lines, lost lines, and lines that this run could not read may name a key
        let will_continue =
            chains.iter().filter_map(|chain| chain.epochs.last()?.last.as_ref()).any(|last| !last.is_final);
        let has_all_lines =
            !will_continue && epochs.all(|epoch| epoch.has_all_lines && !epoch.damaged && epoch.gaps == 0);
        let unreferenced = present.iter().filter(|name| !named.contains(*name)).filter_map(|name| {
            let relative = self.vault.relative_name(name)?;
            (relative.starts_with(&folder) && !self.is_over(relative))
                .then(|| (name.clone(), self.classify_unreferenced_key(name, relative, has_all_lines)))
        });
        let unreferenced: Vec<(String, UnreferencedKeyKind)> = unreferenced.collect();
        let (mut old_copies, mut pending_keys) = (0_u64, 0_u64);
        let vault = self.vault;
        let reads = stream::iter(unreferenced.iter().take(MAX_READ)).map(async |(name, kind)| {
            let bytes = vault.fetch_key_object(name).await.unwrap_or_default();
            let written = if *kind == UnreferencedKeyKind::Key {
                vault.fetch_write_time(ObjectKind::Key, name).await
            } else {
                None
            };
            (name, *kind, bytes, written)
        });
        let mut reads = reads.buffered(CONCURRENT_FETCHES);
        while let Some((name, kind, bytes, written)) = reads.next().await {
            if self.opens_erased_session(&bytes) {
                self.report.fail("key_restored", name, "it opens an erased session: a copy of its key was kept");
                continue;
            }
            match kind {
                UnreferencedKeyKind::OldCopy => old_copies += 1,
                UnreferencedKeyKind::Probe if bytes == PROBE_BODY => {}
                UnreferencedKeyKind::Planted | UnreferencedKeyKind::Probe => {
                    let message = "no line names this object: it was planted, or is left over";
                    self.report.fail("unreferenced", name, message);
                }
                // the lines that name it expired
                UnreferencedKeyKind::Key
                    if written.map(rfc3339).is_some_and(|written| options.expired.as_ref() > Some(&written)) => {}
                UnreferencedKeyKind::Key
                    if written.is_some_and(|written| written.plus(MAX_DIGEST_DELAY) >= self.options.now) =>
                {
                    pending_keys += 1
                }
                UnreferencedKeyKind::Key => {
                    let message = "no line names this key (yet): its gateway is behind or stopped, or lost records, or \
                                   the key was planted";
                    self.report.warn("not_yet_referenced", name, message);
                }
            }
        }
        if unreferenced.len() > MAX_READ {
            let message =
                format!("{} more objects in the keys' folders that no line names", unreferenced.len() - MAX_READ);
            self.report.fail("unreferenced", "keys/", message);
        }
        if pending_keys > 0 {
            self.report.not_verified.push(format!("{pending_keys} session keys that no line names yet"));
        }
        if old_copies > 0 {
            let message = format!(
                "{old_copies} copies of session keys that may be planted, because lines of older versions contain no \
                 hashes"
            );
            self.report.not_verified.push(message);
        }
    }

    fn classify_unreferenced_key(&self, name: &str, relative: &str, has_all_lines: bool) -> UnreferencedKeyKind {
        if is_probe(relative) {
            return UnreferencedKeyKind::Probe;
        }
        let Some(key) = parse_key_name(name).filter(|_| is_key_name(relative)) else {
            return UnreferencedKeyKind::Planted;
        };
        match self.keys.named.get(&key) {
            Some(named) if named.sha256.is_none() => UnreferencedKeyKind::OldCopy,
            // a copy of a key whose hash is known, but not one that its lines or `rewrap` name
            Some(_) => UnreferencedKeyKind::Planted,
            None if has_all_lines => UnreferencedKeyKind::Planted,
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
        let has_same_hash = |key| self.keys.named.get(key).is_some_and(|named| named.sha256.as_ref() == Some(&sha256));
        let secret = || open_key(None, object, &self.options.auditors, &[]).ok()?.key();
        self.keys.erased.iter().any(has_same_hash)
            || secret().is_some_and(|secret| {
                let id = key_id(&secret.to_public().to_string());
                self.keys.erased.iter().any(|key| key.id == id)
            })
    }
}
