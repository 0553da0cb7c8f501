//! Reports objects that belong to no kind of vault object, wherever they are, so that no planted object in a bucket
//! passes for a part of the vault. Neighbours: `unreferenced_objects` (index, sessions, payload), `unreferenced_keys`
//! (keys' folders).

use std::collections::BTreeSet;

use crate::error::ReadError;
use vault::hold_note::{HOLDS_FOLDER, note_number};
use vault::object_names::is_payload;
use vault::store::ObjectKind;
use vault::store::probe::{PROBE_BODY, is_probe};

use super::run_state::VerificationRun;

/// Folders that other modules judge.
const JUDGED: [&str; 3] = ["index/", "sessions/", "chain/"];

/// Whether a name is that of a hold note: account, tenant, session, number.
fn is_hold_note_name(name: &str) -> bool {
    let parts: Vec<&str> = name.strip_prefix(HOLDS_FOLDER).unwrap_or_default().split('/').collect();
    let [account, tenant, session, file] = parts[..] else { return false };
    [account, tenant, session].into_iter().all(crate::folders::is_segment) && note_number(file).is_some()
}

impl VerificationRun<'_> {
    /// Reports unknown objects in the payload's bucket, whose names are `names`, and in the keys' bucket.
    pub(super) async fn report_unknown_objects(&mut self, names: BTreeSet<String>) -> Result<(), ReadError> {
        let keys = self.keys.present.clone().filter(|_| self.vault.has_separate_key_bucket());
        for name in &names {
            let relative = self.vault.relative_name(name).unwrap_or(name);
            // with one bucket, `unreferenced_keys` judges all objects below `keys/`; the list of keys may lack those
            // that a running gateway has written since
            let is_key = relative.starts_with("keys/") && keys.as_ref().is_none_or(|keys| keys.contains(name));
            let is_judged = (is_payload(name) && !relative.starts_with("keys/"))
                || JUDGED.iter().any(|folder| relative.starts_with(folder))
                || is_hold_note_name(relative);
            if !is_key && !is_judged {
                self.report_unknown_object(ObjectKind::Payload, name).await;
            }
        }
        if keys.is_none() {
            return Ok(());
        }
        for name in self.vault.list(ObjectKind::Key, "").await? {
            let relative = self.vault.relative_name(&name).unwrap_or(&name);
            if !relative.starts_with("keys/") && !is_hold_note_name(relative) && !names.contains(&name) {
                self.report_unknown_object(ObjectKind::Key, &name).await;
            }
        }
        Ok(())
    }

    async fn report_unknown_object(&mut self, kind: ObjectKind, name: &str) {
        let relative = self.vault.relative_name(name).unwrap_or(name);
        // one byte more than a probe's body is enough to compare
        let range = Some((0, PROBE_BODY.len() as u64 + 1));
        if is_probe(relative) && self.vault.fetch(kind, name, range).await.is_ok_and(|bytes| bytes == PROBE_BODY) {
            return;
        }
        self.report.fail("unreferenced", name, "no object of a vault has such a name: it was planted, or is left over");
    }
}
