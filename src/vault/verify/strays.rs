//! **What**: objects of the index and of payload that no digest and no line names. **Why**: what is planted must not pass
//! for evidence. **Invariants**: what an open epoch may still name is told apart. **Not here**: what is named.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};

use crate::vault::read::ReadError;
use crate::vault::store::ObjectKind;

use super::Walk;
use super::epoch::Epoch;
use super::walk::Line;

/// Names that were seen, as the first half of their hash.
#[derive(Default)]
pub(super) struct Referenced(HashSet<[u8; 16]>);

fn short(name: &str) -> [u8; 16] {
    Sha256::digest(name).first_chunk::<16>().copied().unwrap_or_default()
}

impl Referenced {
    pub(super) fn add(&mut self, name: &str) {
        self.0.insert(short(name));
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&short(name))
    }
}

/// What an epoch has said so far.
struct Covered {
    /// Nothing more will come.
    over: bool,
    /// The next line.
    next: u64,
    lost: bool,
}

impl Walk<'_> {
    /// Lists what is there and looks for what nobody named.
    pub(super) async fn strays(&mut self, lines: &[(Line, Vec<Epoch>)]) -> Result<(), ReadError> {
        let partly = self.options.account.is_some() || self.options.writer.is_some() || self.options.resume.is_some();
        if partly {
            self.report
                .not_verified
                .push("objects that nobody names: this run looked at a part of the chain".to_owned());
            return Ok(());
        }
        let mut covered: BTreeMap<(String, String), Covered> = BTreeMap::new();
        for (line, epochs) in lines {
            for epoch in epochs {
                let size = epoch.last.as_ref().map_or(0, |last| last.tree_size);
                let over = epoch.last.as_ref().is_some_and(|last| last.last)
                    || epochs.iter().any(|other| other.prev.as_ref().is_some_and(|prev| prev.epoch == epoch.name));
                let lost = epoch.gaps > 0;
                for name in [&epoch.name, &epoch.of] {
                    let one = Covered { over, next: epoch.base + size, lost };
                    let known = covered.entry((line.writer.clone(), name.clone())).or_insert(one);
                    known.over &= over;
                    known.next = known.next.max(epoch.base + size);
                    known.lost |= lost;
                }
            }
        }
        let lossy = |(line, epochs): &&(Line, Vec<Epoch>)| {
            epochs.iter().any(|epoch| epoch.damaged || epoch.gaps > 0).then(|| line.writer.clone())
        };
        let lossy: HashSet<String> = lines.iter().filter_map(|one| lossy(&one)).collect();
        let newest = covered.keys().map(|(_, epoch)| epoch.clone()).max().unwrap_or_default();
        let mut waiting = 0_u64;
        for (kind, prefix) in [(ObjectKind::Index, "index/v1/"), (ObjectKind::Payload, "")] {
            for name in self.vault.list(kind, prefix).await? {
                let ours = match kind {
                    ObjectKind::Index => name.ends_with(".ndjson.zst"),
                    _ => name.ends_with(".agev"),
                };
                if !ours || self.referenced.has(&name) {
                    continue;
                }
                let writer = name.rsplit('/').next().and_then(|file| file.rsplitn(3, '-').nth(2)).unwrap_or_default();
                let may_be_lost = lossy.contains(writer);
                match (self.stray(&name, kind, &covered, &newest), may_be_lost) {
                    (false, _) => waiting += 1,
                    (true, false) => {
                        self.report.fail(
                            "stray",
                            name,
                            "no digest and no line names it: it was planted, or is left over",
                        );
                    }
                    (true, true) => {
                        let what =
                            "no line names it: its writer says that it lost records in its spool, or it was planted";
                        self.report.warn("unclaimed", name, what);
                    }
                }
            }
        }
        if waiting > 0 {
            let what = format!("{waiting} objects that no digest covers yet (or whose lines were lost)");
            self.report.not_verified.push(what);
        }
        Ok(())
    }

    /// Whether nothing can explain an object.
    fn stray(&self, name: &str, kind: ObjectKind, covered: &BTreeMap<(String, String), Covered>, newest: &str) -> bool {
        let file = name.rsplit('/').next().unwrap_or_default();
        let mut parts = file.rsplitn(3, '-');
        let (number, epoch, writer) = (parts.next(), parts.next(), parts.next());
        let (Some(number), Some(epoch), Some(writer)) = (number, epoch, writer) else { return true };
        let number = number.split('.').next().and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else { return true };
        match covered.get(&(writer.to_owned(), epoch.to_owned())) {
            None => epoch <= newest,
            Some(known) if kind == ObjectKind::Index => known.over || number < known.next,
            Some(known) => known.over && !known.lost,
        }
    }
}
