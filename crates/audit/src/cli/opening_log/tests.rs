use super::*;

/// Without `--log` an opening is logged beside the key; if that is impossible, nothing is opened unless `--log none` is
/// given.
#[test]
fn the_log_lies_beside_the_key() {
    let folder = tempfile::tempdir().expect("scratch");
    let key = folder.path().join("auditor.key");
    let beside = folder.path().join("auditor.key.openings.jsonl");
    let of =
        |given: Option<&str>, key: &Path| OpeningLog::open_requested(given.map(Path::new), Some(key), "store", &[]);
    of(Some("none"), &key).expect("no log").record_opening(None, "get", "x").expect("noted nowhere");
    assert!(!beside.exists());
    for _ in 0..2 {
        of(None, &key).expect("a log").record_opening(None, "get", "an object").expect("noted");
    }
    let lines = std::fs::read_to_string(&beside).expect("read");
    assert!(lines.lines().count() == 2 && lines.contains("an object"), "{lines}");
    let away = folder.path().join("away/auditor.key");
    let why = of(None, &away).err().expect("can't be written").to_string();
    assert!(why.contains("nothing was opened") && why.contains("--log none"), "{why}");
    of(Some("none"), &away).expect("by who says so");
}

/// A link that was planted beside the key is not followed, unless the auditor names it; marks that turn the direction of
/// text are escaped.
#[test]
fn a_planted_link_is_refused() {
    let folder = tempfile::tempdir().expect("scratch");
    let (key, victim) = (folder.path().join("auditor.key"), folder.path().join("victim"));
    let beside = folder.path().join("auditor.key.openings.jsonl");
    std::fs::write(&victim, b"").expect("a file");
    std::os::unix::fs::symlink(&victim, &beside).expect("a link");
    let of = |given: Option<&Path>| OpeningLog::open_requested(given, Some(&key), "store", &[]);
    let why = of(None).err().expect("refused").to_string();
    assert!(why.contains("nothing was opened") && std::fs::read(&victim).expect("there").is_empty(), "{why}");
    of(Some(&beside)).expect("named").record_opening(None, "get", "s\u{202e}0").expect("noted");
    let line = std::fs::read_to_string(&victim).expect("read");
    assert!(line.contains("s\\u202e0") && !line.contains('\u{202e}'), "{line}");
}
