//! Tables of `vault compact`, changed in every way: changed tables are not read, this is reported, and no line is
//! invented or omitted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;
use crate::parquet::{CompactOptions as Compaction, compact};
use crate::read::{FindResult, IndexQuery, find_signed, find_signed_in_tables};
use crate::signed_index::SignedIndex;

/// Tables of a vault in a folder, and its files when the vault was half as old.
struct Tables {
    vault: Vault,
    signed: SignedIndex,
    folder: tempfile::TempDir,
    files: BTreeMap<String, Bytes>,
    earlier: BTreeMap<String, Bytes>,
    /// The lines of the index.
    lines: BTreeSet<(String, bool)>,
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeMap<String, Bytes> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(here).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
            found.insert(name, std::fs::read(&path).expect("read").into());
        }
    }
    found
}

async fn compacted(whole: &Whole, vault: &Vault, folder: &Path) -> BTreeMap<String, Bytes> {
    let options = Compaction { folder: folder.to_owned(), keys: whole.keys.clone(), ..Compaction::default() };
    compact(vault, &options, &mut |_| {}).await.expect("compacted");
    files(folder)
}

impl Tables {
    async fn new(seed: u64) -> Self {
        let (whole, folder) = (Whole::new(seed).await, tempfile::tempdir().expect("scratch"));
        let store = whole.site.store.clone();
        let vault = Vault::new(store.clone(), "", None);
        // tables of the younger vault, then of the whole one, so that states have earlier versions
        *store.0.lock() = whole.earlier[0].clone();
        let earlier = compacted(&whole, &vault, folder.path()).await;
        *store.0.lock() = whole.objects.clone();
        let files = compacted(&whole, &vault, folder.path()).await;
        let signed = SignedIndex::read(&vault, &whole.keys, None).await.expect("read");
        let mut lines = BTreeSet::new();
        let mut each = |row: &vault::index_row::IndexRow, unsigned| {
            lines.extend([(serde_json::to_string(row).expect("json"), unsigned)])
        };
        find_signed(&vault, &IndexQuery::default(), &signed, &mut each).await.expect("found");
        let tables = Self { vault, signed, folder, files, earlier, lines };
        let (lines, found) = tables.ask().await.expect("found");
        assert!(lines == tables.lines && found.unreadable.is_empty() && lines.len() > 20, "{:?}", found.unreadable);
        tables
    }

    /// Result and messages of `find --parquet --store --key`.
    async fn ask(&self) -> Option<(BTreeSet<(String, bool)>, FindResult)> {
        let mut lines = BTreeSet::new();
        let mut each = |row: &vault::index_row::IndexRow, unsigned| {
            lines.extend([(serde_json::to_string(row).expect("json"), unsigned)])
        };
        let found =
            find_signed_in_tables(self.folder.path(), &self.vault, &IndexQuery::default(), &self.signed, &mut each)
                .await;
        Some((lines, found.ok()?.0))
    }

    fn set(&self, name: &str, bytes: Option<&Bytes>) {
        let path = self.folder.path().join(name);
        match bytes {
            Some(bytes) => {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                std::fs::write(path, bytes).expect("written");
            }
            None => drop(std::fs::remove_file(path)),
        }
    }

    /// Makes these changes and reverts them; returns a message if the answer differed, or a changed table was not
    /// reported.
    async fn untold(&self, what: &str, deeds: &Deeds) -> Option<String> {
        let mut changed = Vec::new();
        for (name, deeds) in deeds {
            let bytes = deeds.last().and_then(|deed| if let Deed::Write(bytes) = deed { Some(bytes) } else { None });
            if bytes != self.files.get(name) {
                changed.push(name);
                self.set(name, bytes);
            }
        }
        let answer = self.ask().await;
        changed.iter().for_each(|name| self.set(name, self.files.get(*name)));
        let (lines, found) = answer?;
        // a state has no lines: whatever it says, the answer must be right; a file that no state names is not read
        let is_table = |name: &&&String| name.ends_with(".parquet") && self.files.contains_key(**name);
        let is_told =
            changed.iter().filter(is_table).all(|name| found.unreadable.iter().any(|why| why.contains(*name)));
        (lines != self.lines || !is_told).then(|| format!("{what}: {changed:?} {:?}", found.unreadable))
    }
}

/// No line of a changed table is shown, and the change is reported; whatever the states say, no line is omitted or
/// invented.
#[tokio::test]
async fn every_change_of_every_table_is_told() {
    let (tables, strangers) = (Tables::new(35).await, Tables::new(36).await);
    let (mut untold, mut count, rng) = (Vec::new(), 0, SeededRng::new(number("TOLLGATE_SEED").unwrap_or(37) as u64));
    for (kind, end) in [("table", ".parquet"), ("state", ".json")] {
        let own: Vec<(String, Bytes)> =
            tables.files.iter().filter(|(name, _)| name.ends_with(end)).map(|(a, b)| (a.clone(), b.clone())).collect();
        let theirs = strangers.files.iter().find(|(name, _)| name.ends_with(end)).expect("a stranger's").1;
        let gone = tables.earlier.keys().filter(|name| name.ends_with(end) && !tables.files.contains_key(*name));
        for (at, name) in own.iter().map(|(name, _)| name).chain(gone).enumerate() {
            let next = own.get((at + 1) % own.len()).filter(|(other, _)| other != name);
            let older = tables.earlier.get(name).filter(|then| tables.files.get(name) != Some(*then));
            let change = Change {
                name,
                bytes: tables.files.get(name),
                other: next.map(|(name, bytes)| (name.as_str(), bytes)),
                strangers: theirs,
                older: older.cloned().into_iter().collect(),
            };
            for (way, make) in WAYS {
                let Some(deeds) = make(&change) else { continue };
                count += 1;
                untold.extend(tables.untold(&format!("{kind} {way}"), &deeds).await);
            }
        }
        for (name, bytes, place) in places(&own, number("TOLLGATE_PLACES").unwrap_or(PLACES), &rng) {
            let (mut flipped, bit) = (bytes.to_vec(), 1 << (rng.next() % 8));
            flipped[place] ^= bit;
            count += 1;
            let deeds = vec![(name, vec![Deed::Write(flipped.into())])];
            untold.extend(tables.untold(&format!("{kind} flipped at {place} by {bit}"), &deeds).await);
        }
    }
    println!("tables: {count} changes, {} untold", untold.len());
    assert!(count > 40, "{count}");
    assert!(untold.is_empty(), "{} of {count} untold:\n{}", untold.len(), untold.join("\n"));
}

/// Not detected (docs/vault.md): someone rewrites a table and its hash in the state. The index is the evidence.
#[tokio::test]
async fn undetected_tables_written_anew_with_their_states() {
    let (tables, strangers) = (Tables::new(38).await, Tables::new(39).await);
    let is_table = |(name, _): &(&String, &Bytes)| name.ends_with(".parquet");
    let (name, bytes) = tables.files.iter().find(is_table).expect("a table");
    let forged = strangers.files.iter().filter(is_table).map(|(_, bytes)| bytes).find(|theirs| *theirs != bytes);
    let forged = forged.expect("another table");
    tables.set(name, Some(forged));
    let hash = |bytes: &Bytes| kernel::hex::encode(&kernel::sha256::Sha256::digest(bytes));
    for (state, text) in tables.files.iter().filter(|(name, _)| name.ends_with(".json")) {
        let text = String::from_utf8_lossy(text).replace(&hash(bytes), &hash(forged));
        tables.set(state, Some(&text.into()));
    }
    let (lines, found) = tables.ask().await.expect("found");
    assert!(lines != tables.lines && found.unreadable.is_empty(), "{:?}", found.unreadable);
}
