//! Content that someone with write access alone puts beside genuine content, or in its place: with signatures checked,
//! only signed content is shown as genuine.

use super::*;
use crate::read::{
    ExportFormat, FragmentOpener, IndexQuery, LeafId, LineSelection, ReplayFilter, ReplayedSession, get_lines, replay,
};
use crate::signed_index::SignedIndex;
use vault::index_row::IndexRow;

/// A forgery by a thief of the gateway's credential: an object of session `s0`, sealed to the auditors' public keys,
/// with this fragment id.
async fn forgery(site: &Site, fragment: &str, text: &str) -> Site {
    let mut forger = Site::new(77);
    forger.auditor = site.auditor.clone();
    // read before the genuine one
    forger.clock.set_back(Duration::from_secs(86_400));
    forger.begin(1);
    forger.sent = u64::from_str_radix(fragment, 16).expect("an id");
    forger.send("default", "s0", text);
    forger.minutes(4).await;
    forger
}

/// Every object of the forger's with this name prefix.
fn objects(forger: &Site, prefix: &str) -> Vec<(String, Bytes)> {
    forger.names(prefix).into_iter().map(|name| (name.clone(), forger.object(&name))).collect()
}

/// The forger's payload object.
fn payload(forger: &Site) -> (String, Bytes) {
    objects(forger, "default/acme/s0/").pop().expect("an object")
}

fn plant(site: &Site, objects: impl IntoIterator<Item = (String, Bytes)>) {
    site.store.0.lock().extend(objects);
}

/// An index object with these lines, under the running epoch's name.
fn plant_lines(site: &Site, rows: &[IndexRow]) {
    let first = rows.first().expect("a line");
    let text: String = rows.iter().map(|row| serde_json::to_string(row).expect("json") + "\n").collect();
    let folder = format!("index/v1/account={}/dt=2026-11-19", first.tail.account);
    let name = format!("{folder}/gw-E0001-{:010}.ndjson.zst", first.leaf);
    plant(site, [(name, zstd::bulk::compress(text.as_bytes(), 3).expect("zstd").into())]);
}

/// The signed line of the first content of `s0` in the running epoch.
fn genuine(site: &Site) -> IndexRow {
    let lines = site.names("index/v1/account=default/").into_iter().flat_map(|name| lines(site, &name));
    let rows = lines.map(|line| serde_json::from_str::<IndexRow>(&line).expect("a line"));
    let mut rows = rows.filter(|row| row.tail.epoch == "E0001" && row.object_key.is_some());
    rows.next().expect("content")
}

/// How replay shows `s0` with the keys: as text, as dataset.
async fn shown(site: &Site, unsigned: bool) -> (ReplayedSession, String, String) {
    let vault = site.vault();
    let signed = SignedIndex::read(&vault, &[signing_key().public().clone()], None).await.expect("read");
    let filter = ReplayFilter { signed: Some(Arc::new(signed)), unsigned, ..ReplayFilter::default() };
    let told = replay(&mut FragmentOpener::new(&vault, vec![site.auditor.clone()]), "s0", &filter).await.expect("told");
    let (text, dataset) = (text_of(|out| told.write_text(out)), text_of(|out| told.export(ExportFormat::Jsonl, out)));
    (told, text, dataset)
}

/// Forged content replaces no signed line, with a planted line or without one: it is marked, in no dataset, tree or
/// sum, and genuine content keeps its place.
#[tokio::test]
async fn forged_content_is_nobodys() {
    let s = site().await;
    let row = genuine(&s);
    let (honest, _, dataset) = shown(&s, false).await;
    assert!(dataset.contains("later 0") && honest.unsigned() == 0);
    let forger = forgery(&s, row.tail.fragment.as_deref().expect("an id"), "FORGED").await;
    plant(&s, objects(&forger, "keys/").into_iter().chain([payload(&forger)]));
    for with_line in [false, true] {
        if with_line {
            let mut forged = row.clone();
            let (name, bytes) = payload(&forger);
            (forged.leaf, forged.object_key, forged.tail.len) = (900, Some(name), Some(bytes.len() as u64));
            forged.tail.ct_sha256 = Some(kernel::hex::encode(&kernel::sha256::Sha256::digest(&bytes)));
            forged.tail.commitment = None;
            plant_lines(&s, &[forged]);
        }
        let (told, text, now) = shown(&s, false).await;
        assert_eq!(now, dataset, "with a line: {with_line}");
        assert_eq!(told.total(), honest.total(), "with a line: {with_line}");
        let calls = |replay: &ReplayedSession| replay.tree().iter().map(|turn| turn.calls.len()).sum::<usize>();
        assert_eq!(calls(&told), calls(&honest));
        assert!(!told.is_partial() && told.unsigned() > 0, "{:?}", told.unreadable);
        let entry = text.split("\n\n").find(|entry| entry.contains("FORGED")).expect("it is shown");
        assert!(entry.contains("UNSIGNED"), "{text}");
        let own = text.split("\n\n").find(|entry| entry.contains("later 0")).expect("it is shown");
        assert!(!own.contains("UNSIGNED") && !own.contains("not in the index"), "{text}");
        assert!(shown(&s, true).await.2.contains("FORGED"), "who asks for it has it");
    }
}

/// Other content at a signed line's place is not shown as that line's content, neither by replay nor by get.
#[tokio::test]
async fn content_in_the_place_of_other_content_is_told() {
    let s = site().await;
    let row = genuine(&s);
    let name = row.object_key.clone().expect("an object");
    let forger = forgery(&s, row.tail.fragment.as_deref().expect("an id"), "forged0").await;
    // on the genuine one's day, so that it opens in that place
    forger.clock.set_forward(Duration::from_secs(86_400));
    let mut again = forger;
    again.sent = u64::from_str_radix(row.tail.fragment.as_deref().expect("an id"), 16).expect("an id");
    again.send("default", "s0", "forged0");
    again.minutes(4).await;
    let bytes = objects(&again, "default/acme/s0/2026-11-20/").pop().expect("an object").1;
    plant(&s, objects(&again, "keys/"));
    plant(&s, [(name.clone(), bytes.clone())]);
    let (told, _, dataset) = shown(&s, false).await;
    assert!(!dataset.contains("forged0") && told.is_partial(), "{:?}", told.unreadable);
    let leaf = LeafId::parse(&format!("gw/E0001/{}", row.leaf)).expect("a leaf");
    let vault = s.vault();
    for keys in [Vec::new(), vec![signing_key().public().clone()]] {
        let query = IndexQuery { account: Some("default".to_owned()), ..IndexQuery::default() };
        let (wanted, mut out) = (LineSelection { query, leaf: Some(leaf.clone()), keys }, Vec::new());
        let mut opener = FragmentOpener::new(&vault, vec![s.auditor.clone()]);
        let why = get_lines(&mut opener, &wanted, &mut out).await.expect_err("it is not what was meant");
        assert!(out.is_empty() && why.contains(&name), "{why}");
    }
}

/// A planted line about a genuine object, or about none, changes no answer and no exit code: another hash, another
/// tenant, a missing object, another account.
#[tokio::test]
async fn planted_lines_take_nothing_away() {
    let s = site().await;
    let row = genuine(&s);
    let (_, _, dataset) = shown(&s, false).await;
    let name = row.object_key.clone().expect("an object");
    let aside = name.replace(".agev", ".ffffffffffffffff.agev");
    let forger = forgery(&s, "00000000000000ff", "FORGED").await;
    let bytes = payload(&forger).1;
    let planted = |leaf: u64, change: &dyn Fn(&mut IndexRow)| {
        let mut planted = IndexRow { leaf, ..row.clone() };
        change(&mut planted);
        plant_lines(&s, &[planted]);
    };
    let hash = kernel::hex::encode(&kernel::sha256::Sha256::digest(&bytes));
    plant(&s, [(aside, bytes)]);
    planted(900, &|row| row.tail.ct_sha256 = Some(hash.clone()));
    planted(901, &|row| row.tail.tenant = "evil".to_owned());
    planted(902, &|row| row.object_key = Some(name.replace("gw-E0001", "gw-E0001-00")));
    planted(903, &|row| row.tail.account = "evil".to_owned());
    planted(904, &|row| row.tail.len = Some(7));
    planted(905, &|row| row.off = Some(1 << 40));
    let (told, text, now) = shown(&s, false).await;
    assert_eq!(now, dataset, "{text}");
    assert!(!told.is_partial(), "{:?}", told.unreadable);
    assert_said(&told.unreadable, "accounts that have no signed line");
}

/// An object under a running epoch's name that stays without a digest is reported by name after some time; recent ones
/// are counted.
#[tokio::test]
async fn what_stays_without_a_digest_is_named() {
    let s = site().await;
    let forger = forgery(&s, "00000000000000ff", "FORGED").await;
    let (name, bytes) = payload(&forger);
    plant(&s, [(name.clone(), bytes)]);
    let place = tempfile::tempdir().expect("scratch");
    s.write_to(place.path());
    let location = crate::read::VaultLocation { store: place.path().display().to_string(), ..Default::default() };
    let vault = Vault::from_location(&location).expect("a vault");
    for (age, named) in [(60, false), (7200, true)] {
        let written = std::time::UNIX_EPOCH + Duration::from_nanos(s.clock.now().0) - Duration::from_secs(age);
        let file = std::fs::File::options().write(true).open(place.path().join(&name)).expect("there");
        file.set_modified(written).expect("dated");
        let report = s.verify_in(&vault, VerifyOptions::default()).await;
        assert_eq!((has_at(&report, "not_yet_referenced", &name), report.verified), (named, true), "{}", report.text());
    }
}

/// An overwritten signature in the middle of a chain makes lines unsigned: leaving them out is a reported loss, not a
/// matter of digests still to come. Planting a copy of a signed digest can't make such a hole.
#[tokio::test]
async fn a_hole_in_a_chain_is_a_loss() {
    let s = site().await;
    let (_, _, dataset) = shown(&s, false).await;
    let row = genuine(&s);
    let mut digests = s.names("chain/default/gw/E0001/");
    digests.retain(|name| name.ends_with(".json"));
    let names_it = |name: &&String| {
        let index = digest_in(&s, name).index;
        index.is_some_and(|index| (index.first_leaf..index.first_leaf + index.leaves).contains(&row.leaf))
    };
    let (first, last) = (digests.iter().find(names_it).expect("one"), digests.last().expect("one"));
    assert!(digests.len() > 2);
    for end in ["", ".sig"] {
        s.plant(&format!("chain/default/gw/E0001/0000099999.json{end}"), s.object(&format!("{last}{end}")));
    }
    let (told, _, now) = shown(&s, false).await;
    assert_eq!((now, told.is_partial()), (dataset.clone(), false), "{:?}", told.unreadable);
    s.plant(&format!("{first}.sig"), "x");
    let (told, _, now) = shown(&s, false).await;
    assert!(now.len() < dataset.len(), "its lines are unsigned now");
    assert!(told.is_partial(), "{:?}", told.unreadable);
    assert_said(&told.unreadable, first);
}

/// A planted line whose object's name is a part of a genuine one's takes no line's content, with signatures checked or
/// not.
#[tokio::test]
async fn a_name_that_is_part_of_another_hides_nothing() {
    let s = site().await;
    let row = genuine(&s);
    let name = row.object_key.clone().expect("an object");
    plant_lines(
        &s,
        &[IndexRow { leaf: 900, object_key: name.strip_suffix(".agev").map(str::to_owned), ..row.clone() }],
    );
    let vault = s.vault();
    let told = replay(&mut FragmentOpener::new(&vault, vec![s.auditor.clone()]), "s0", &ReplayFilter::default())
        .await
        .expect("told");
    let json = told.to_json().expect("json");
    let entries: serde_json::Value = serde_json::from_str(&json).expect("json");
    let entry = entries["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .find(|entry| entry["line"]["leaf"] == row.leaf && entry["line"]["epoch"] == "E0001");
    assert!(entry.is_some_and(|entry| !entry["item"].is_null()), "{json}");
}
