//! Reports objects that belong to no kind of vault object, wherever they are, so that no planted object in a bucket
//! passes for a part of the vault. Neighbours: `strays` (index, sessions, payload), `stray_keys` (keys' folders).

use std::collections::BTreeSet;

use crate::error::ReadError;
use vault::hold_note::{FOLDER, number};
use vault::names::is_payload;
use vault::store::ObjectKind;
use vault::store::probe::{BODY, is_probe};

use super::walk::Walk;

/// Folders that other modules judge.
const JUDGED: [&str; 3] = ["index/", "sessions/", "chain/"];

/// Whether a name is that of a hold note: account, tenant, session, number.
fn is_hold(name: &str) -> bool {
    let parts: Vec<&str> = name.strip_prefix(FOLDER).unwrap_or_default().split('/').collect();
    let [account, tenant, session, file] = parts[..] else { return false };
    [account, tenant, session].into_iter().all(crate::folders::is_segment) && number(file).is_some()
}

impl Walk<'_> {
    /// Reports unknown objects in the payload's bucket, whose names are `names`, and in the keys' bucket.
    pub(super) async fn unnamed(&mut self, names: BTreeSet<String>) -> Result<(), ReadError> {
        let keys = self.keys.there.clone().filter(|_| self.vault.has_keys_apart());
        for name in &names {
            let own = self.vault.relative(name).unwrap_or(name);
            // with one bucket, `stray_keys` judges everything below `keys/`; the listing lacks keys written since by a
            // running gateway
            let is_key = own.starts_with("keys/") && keys.as_ref().is_none_or(|keys| keys.contains(name));
            let is_judged = (is_payload(name) && !own.starts_with("keys/"))
                || JUDGED.iter().any(|folder| own.starts_with(folder))
                || is_hold(own);
            if !is_key && !is_judged {
                self.of_no_kind(ObjectKind::Payload, name).await;
            }
        }
        if keys.is_none() {
            return Ok(());
        }
        for name in self.vault.list(ObjectKind::Key, "").await? {
            let own = self.vault.relative(&name).unwrap_or(&name);
            if !own.starts_with("keys/") && !is_hold(own) && !names.contains(&name) {
                self.of_no_kind(ObjectKind::Key, &name).await;
            }
        }
        Ok(())
    }

    async fn of_no_kind(&mut self, kind: ObjectKind, name: &str) {
        let own = self.vault.relative(name).unwrap_or(name);
        // one byte more than a probe's body is enough to compare
        let most = Some((0, BODY.len() as u64 + 1));
        if is_probe(own) && self.vault.fetch(kind, name, most).await.is_ok_and(|bytes| bytes == BODY) {
            return;
        }
        self.report.fail("stray", name, "nothing of a vault has such a name: it was planted, or is left over");
    }
}
