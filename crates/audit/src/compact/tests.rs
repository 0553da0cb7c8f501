use std::time::Duration;

use super::*;
use crate::testing::site::{Site, assert_said, files};
use kernel::rng::SeededRng;
use vault::testing::journal::signing_key;

const DAY: Duration = Duration::from_secs(86_400);

/// A vault with `sends` index objects on 2026-11-20, and one on each of the two days after it.
async fn site(sends: usize) -> Site {
    let mut site = Site::new(3);
    for number in 0..sends + 2 {
        if number >= sends {
            site.clock.advance(DAY);
        }
        site.send("default", &format!("s{number}"), "text");
        site.minutes(4).await;
    }
    assert_eq!(index(&site).len(), sends + 2);
    site
}

/// The index objects of a vault.
fn index(site: &Site) -> BTreeMap<String, Bytes> {
    let objects = site.store.0.lock();
    objects.iter().filter(|(name, _)| name.starts_with("index/")).map(|(a, b)| (a.clone(), b.clone())).collect()
}

fn options(folder: &Path, today: &str) -> CompactOptions {
    let keys = vec![signing_key().public().clone()];
    CompactOptions { folder: folder.to_owned(), keys, today: today.to_owned(), ..CompactOptions::default() }
}

async fn run_with(site: &Site, options: &CompactOptions) -> CompactSummary {
    let vault = site.vault();
    compact(&vault, options).await.expect("compacted")
}

async fn run(site: &Site, folder: &Path, today: &str) -> CompactSummary {
    run_with(site, &options(folder, today)).await
}

/// The lines of objects or files, sorted.
fn lines<'b>(packed: impl IntoIterator<Item = &'b [u8]>) -> Vec<String> {
    let texts =
        packed.into_iter().map(|bytes| String::from_utf8(zstd::decode_all(bytes).expect("zstd")).expect("text"));
    let mut lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.sort_unstable();
    lines
}

fn packed_lines(folder: &Path) -> Vec<String> {
    lines(files(folder).values().map(Vec::as_slice))
}

fn index_lines(site: &Site, days: &[&str]) -> Vec<String> {
    let index = index(site);
    lines(index.iter().filter(|(name, _)| days.iter().any(|day| name.contains(day))).map(|(_, bytes)| &bytes[..]))
}

/// The lines of past days are in few files, below their account and day, byte for byte; those of today are not. A
/// second run changes nothing, and a run on a later day adds files and changes none.
#[tokio::test]
async fn past_days_are_packed_once() {
    let (site, folder) = (site(12).await, tempfile::tempdir().expect("scratch"));
    let first = run(&site, folder.path(), "2026-11-22").await;
    assert_eq!((first.objects, first.lines, &first.unreadable, &first.unsigned), (13, 26, &vec![], &vec![]));
    let before = files(folder.path());
    assert!(first.files == before.len() && (3..8).contains(&first.files), "{:?}", before.keys());
    assert!(before.keys().all(|name| name.starts_with("lines/v1/account=default/dt=2026-11-2")), "{:?}", before.keys());
    assert_eq!(first.bytes, before.values().map(Vec::len).sum::<usize>());
    assert_eq!(packed_lines(folder.path()), index_lines(&site, &["dt=2026-11-20", "dt=2026-11-21"]));
    assert_eq!(run(&site, folder.path(), "2026-11-22").await, CompactSummary::default());
    assert_eq!(files(folder.path()), before);
    let later = run(&site, folder.path(), "2026-11-23").await;
    assert_eq!((later.objects, later.files), (1, 1));
    let mut after = files(folder.path());
    assert_eq!(packed_lines(folder.path()), index_lines(&site, &["dt="]));
    after.retain(|name, _| before.contains_key(name));
    assert_eq!(after, before);
}

/// An object that arrives for a day that was packed before, as after an outage of the store, gets a file of its own.
#[tokio::test]
async fn late_objects_are_added() {
    let (site, folder) = (site(6).await, tempfile::tempdir().expect("scratch"));
    let late = index(&site).into_iter().nth(2).expect("an object");
    site.store.0.lock().remove(&late.0);
    let first = run(&site, folder.path(), "2026-11-23").await;
    assert_eq!((first.objects, first.unreadable.len()), (7, 1));
    assert_said(&first.unreadable, &late.0);
    site.store.0.lock().insert(late.0, late.1);
    let second = run(&site, folder.path(), "2026-11-23").await;
    assert_eq!((second.objects, second.files, second.unreadable.len()), (1, 1, 0));
    assert_eq!(packed_lines(folder.path()), index_lines(&site, &["dt="]));
}

/// A run that died at any moment is finished by the next one: the result is that of one run, without left-overs.
#[tokio::test]
async fn interrupted_runs_are_finished() {
    let (site, folder) = (site(12).await, tempfile::tempdir().expect("scratch"));
    run(&site, folder.path(), "2026-11-23").await;
    let wanted = files(folder.path());
    for killed_after in 0..wanted.len() {
        for name in wanted.keys().skip(killed_after) {
            std::fs::remove_file(folder.path().join(name)).expect("removed");
        }
        let next = wanted.keys().nth(killed_after).expect("a file").replacen("/gw-", "/.gw-", 1);
        std::fs::write(folder.path().join(format!("{next}.7-0.tmp")), b"half").expect("written");
        run(&site, folder.path(), "2026-11-23").await;
        assert_eq!(files(folder.path()), wanted, "killed after {killed_after} files");
    }
}

/// Only lines that a signed digest names are packed. A planted object is reported, a changed one too; neither keeps the
/// others from being packed.
#[tokio::test]
async fn planted_and_changed_objects_are_left_out() {
    let (site, folder) = (site(6).await, tempfile::tempdir().expect("scratch"));
    let mut objects = index(&site).into_iter();
    let (changed, other) = (objects.next().expect("one").0, objects.next().expect("two").1);
    let planted = "index/v1/account=default/dt=2026-11-20/gw-E0000-0000000777.ndjson.zst".to_owned();
    let todays = planted.replace("2026-11-20", "2026-11-22");
    for name in [&changed, &planted, &todays] {
        site.plant(name, other.clone());
    }
    let done = run(&site, folder.path(), "2026-11-22").await;
    assert_eq!((done.objects, &done.unsigned), (6, &vec![planted]), "an object of today may be signed soon");
    assert_eq!(done.unreadable.len(), 1, "{:?}", done.unreadable);
    assert_said(&done.unreadable, &changed);
    assert_said(&done.unreadable, "does not match the hash in its digest");
    let public = vault::keygen::generate_signing_key(&folder.path().join("key"), "other.example", &SeededRng::new(77));
    let keys = vec![VerifyKey::parse(&public.expect("a key")).expect("a key")];
    let strangers = CompactOptions { keys, ..options(&folder.path().join("other"), "2026-11-23") };
    let done = run_with(&site, &strangers).await;
    assert_eq!((done.objects, done.files, done.unsigned.len()), (0, 0, 10), "nobody signed anything");
}

/// A packed file that was changed in any way, replaced, copied or planted is reported, and its day is left as it is;
/// other days go on. When it is deleted, the next run packs its lines again. (Verified to fail: without the comparison of
/// the frames with the digests.)
#[tokio::test]
async fn every_change_of_a_packed_file_is_reported() {
    let (site, folder) = (site(12).await, tempfile::tempdir().expect("scratch"));
    run(&site, folder.path(), "2026-11-22").await;
    let wanted = files(folder.path());
    let (name, whole) = wanted.first_key_value().expect("a file");
    let (path, rng) = (folder.path().join(name), SeededRng::new(5));
    let next = wanted.values().nth(1).expect("another").clone();
    let strange = zstd::bulk::compress(b"{\"cost_usd\":\"0\"}\n", 3).expect("zstd");
    let mut changes = vec![
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..], b"x"].concat(),
        [&whole[..], &strange].concat(),
        [&whole[..], &whole[..]].concat(),
        // a skippable frame, of which readers see nothing
        [&whole[..], b"\x50\x2a\x4d\x18\x01\x00\x00\x00x"].concat(),
        Vec::new(),
        strange.clone(),
        next,
    ];
    changes.extend((0..40).map(|_| {
        let (mut flipped, place) = (whole.clone(), rng.next() as usize % whole.len());
        flipped[place] ^= 1 << (rng.next() % 8);
        flipped
    }));
    for change in changes {
        std::fs::write(&path, &change).expect("written");
        let before = files(folder.path());
        let done = run(&site, folder.path(), "2026-11-22").await;
        assert!(done.files == 0 && done.unreadable.iter().any(|why| why.contains("account=default/dt=2026-11-20")));
        assert_eq!(files(folder.path()), before, "never overwritten");
    }
    std::fs::write(&path, whole).expect("written");
    for (planted, bytes) in [("a.json", whole), ("z.ndjson.zst", whole), ("z", &strange)] {
        let planted = path.with_file_name(planted);
        std::fs::write(&planted, bytes).expect("written");
        assert_eq!(run(&site, folder.path(), "2026-11-23").await.unreadable.len(), 1, "{}", planted.display());
        std::fs::remove_file(planted).expect("removed");
    }
    std::fs::remove_file(&path).expect("removed");
    let again = run(&site, folder.path(), "2026-11-22").await;
    assert!(again.files == 1 && again.unreadable.is_empty(), "{:?}", again.unreadable);
    assert_eq!(files(folder.path()).get(name), Some(whole));
}

/// Anything but files in a day's folder, and anything but folders above, is reported and not opened: a pipe would block
/// the run for ever. Other days go on.
#[tokio::test]
async fn other_kinds_of_files_are_reported() {
    let (site, folder) = (site(3).await, tempfile::tempdir().expect("scratch"));
    let account = folder.path().join("lines/v1/account=default");
    for (plain, pipe) in [("README", "dt=2026-11-20/pipe"), ("dt=2026-11-20", "pipe")] {
        std::fs::create_dir_all(account.join(pipe).parent().expect("a folder")).expect("made");
        std::fs::write(account.join(plain), b"text").expect("written");
        let made = std::process::Command::new("mkfifo").arg(account.join(pipe)).status();
        assert!(made.expect("mkfifo").success());
        for prune in [false, true] {
            let options = CompactOptions { prune, ..options(folder.path(), "2026-11-22") };
            let done = run_with(&site, &options).await;
            let is_reported = |path: &str| {
                let begin = format!("{}: is no ", account.join(path).display());
                done.unreadable.iter().any(|why| why.starts_with(&begin))
            };
            assert!(is_reported(plain) && is_reported(pipe) && done.unreadable.len() == 2, "{:?}", done.unreadable);
            assert!(done.files == 1 || prune);
        }
        std::fs::remove_dir_all(&account).expect("removed");
    }
}

/// An object that is signed and has a line that `find` refuses, or would run into the next object's lines, is left out.
#[test]
fn objects_that_readers_refuse_are_not_packed() {
    let vault = Vault::new(std::sync::Arc::new(crate::testing::site::Memory::default()), "", None);
    let name = "index/v1/account=default/dt=2026-11-20/gw-E1-0000000000.ndjson.zst";
    let pack = |text: &str| zstd::bulk::compress(text.as_bytes(), 3).expect("zstd");
    let check = |bytes: Vec<u8>| {
        let sha256 = kernel::hex::encode(&Sha256::digest(&bytes));
        let day = IndexDay { signed: BTreeMap::from([(&*sha256, name)]), ..IndexDay::default() };
        check_signed_object(&vault, name, bytes.into(), &day).map(|(_, lines)| lines)
    };
    let tail = vault::index_row::RowTail { account: "default".into(), writer: "gw".into(), ..Default::default() };
    let row = IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail };
    let line = serde_json::to_string(&row).expect("json");
    assert_eq!(check(pack(&format!("{line}\n{line}\n"))), Ok(2));
    for text in [
        line.clone(),
        format!("{line}\n\n"),
        format!("{line}\nno line\n"),
        format!("{}\n", line.replace("\"leaf\":0", "\"leaf\":-1")),
        format!("{}\n", line.replace("\"writer\":\"gw\"", "\"writer\":\"other\"")),
        format!("{}\n", line.replace("\"gw\"", &format!("\"{}\"", "w".repeat(2000)))),
    ] {
        assert!(check(pack(&text)).is_err(), "{text}");
    }
    assert!(check([pack(&format!("{line}\n")), pack(&format!("{line}\n"))].concat()).is_err(), "two frames");
    assert!(check(b"junk".to_vec()).is_err());
}

/// Days that are no longer in the index are kept, and checked, unless pruning is requested; an index that lists nothing
/// removes nothing, and pruning one account leaves the others.
#[tokio::test]
async fn days_without_an_index_are_pruned() {
    let (site, folder) = (site(3).await, tempfile::tempdir().expect("scratch"));
    run(&site, folder.path(), "2026-11-23").await;
    let wanted = files(folder.path());
    site.store.0.lock().retain(|name, _| !name.contains("index/v1/account=default/dt=2026-11-20"));
    let kept = run(&site, folder.path(), "2026-11-23").await;
    assert_eq!(kept, CompactSummary::default(), "what is packed is not missing");
    let old = wanted.keys().next().expect("a file");
    std::fs::write(folder.path().join(old), b"changed").expect("written");
    assert_eq!(run(&site, folder.path(), "2026-11-23").await.unreadable.len(), 1);
    let prune = CompactOptions { prune: true, ..options(folder.path(), "2026-11-23") };
    let vault = site.vault();
    let other = CompactOptions { account: Some("other".into()), ..options(folder.path(), "2026-11-23") };
    assert!(compact(&vault, &CompactOptions { prune: true, ..other }).await.is_err());
    assert_eq!(files(folder.path()).len(), wanted.len());
    assert_eq!(run_with(&site, &prune).await.pruned_days, 1);
    let left: Vec<String> = files(folder.path()).into_keys().collect();
    assert!(!left.is_empty() && left.iter().all(|name| !name.contains("2026-11-20")), "{left:?}");
    site.store.0.lock().retain(|name, _| !name.starts_with("index/"));
    assert!(compact(&vault, &prune).await.is_err());
    assert_eq!(files(folder.path()).len(), left.len());
}

/// With an account, only its lines are packed, and only its missing objects are reported.
#[tokio::test]
async fn one_account_can_be_packed() {
    let folder = tempfile::tempdir().expect("scratch");
    let mut site = Site::new(4);
    for account in ["default", "team"] {
        site.send(account, "s", "text");
        site.minutes(4).await;
    }
    let team = site.name(&["index/v1/account=team"]);
    let of_default = CompactOptions { account: Some("default".into()), ..options(folder.path(), "2026-11-23") };
    site.store.0.lock().remove(&team);
    let done = run_with(&site, &of_default).await;
    assert_eq!((done.objects, done.unreadable.len()), (1, 0), "{:?}", done.unreadable);
    assert!(files(folder.path()).keys().all(|name| name.starts_with("lines/v1/account=default/")));
}
