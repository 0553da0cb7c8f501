//! The memory of keys: first days stay, changes are seen, and a damaged or huge file is no obstacle.

use super::*;

/// A key keeps its first day, also when it comes back after another one.
#[test]
fn a_key_keeps_its_first_day() {
    let mut seen = SeenKeys::default();
    assert_eq!(seen.note(KeyUse::Spool, "one", None, "2026-01-01T00:00:00Z"), None, "the first key replaces none");
    assert_eq!(seen.note(KeyUse::Spool, "one", None, "2026-02-01T00:00:00Z"), None);
    assert_eq!(seen.note(KeyUse::Pseudonyms, "p", Some(1), "2026-02-01T00:00:00Z"), None);
    let before = seen.note(KeyUse::Spool, "two", None, "2026-03-01T00:00:00Z").expect("a change");
    assert_eq!((before.id.as_str(), before.since.as_str()), ("one", "2026-01-01T00:00:00Z"));
    assert_eq!(seen.note(KeyUse::Spool, "one", None, "2026-04-01T00:00:00Z").expect("a change").id, "two");
    assert_eq!((seen.first_day("one"), seen.first_day("two")), (Some("2026-01-01"), Some("2026-03-01")));
    assert_eq!(seen.first_day("three"), None);
    assert!(seen.note(KeyUse::Pseudonyms, "p", Some(2), "2026-05-01T00:00:00Z").is_some(), "another epoch");
}

/// Many rotations don't grow the file, and the present key is kept.
#[test]
fn old_keys_make_room() {
    let mut seen = SeenKeys::default();
    for number in 0..1000 {
        seen.note(KeyUse::Spool, &number.to_string(), None, "2026-01-01T00:00:00Z");
    }
    assert_eq!(seen.keys.len(), MAX_KEYS);
    assert!(seen.first_day("999").is_some() && seen.first_day("0").is_none());
}

/// A file that is damaged, huge or no file counts as empty.
#[test]
fn a_damaged_file_counts_as_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let (spool, file) = (folder.path().join("spool"), folder.path().join(FILE));
    assert_eq!(SeenKeys::read(&spool), SeenKeys::default());
    for text in ["", "{", "[]", r#"{"keys": [{"key": "other"}]}"#] {
        std::fs::write(&file, text).expect("written");
        assert_eq!(SeenKeys::read(&spool), SeenKeys::default(), "{text}");
    }
    let entry = r#"{"keys": [{"key": "spool", "id": "one", "since": "2026-01-01T00:00:00Z"}]}"#;
    std::fs::write(&file, entry).expect("written");
    assert_eq!(SeenKeys::read(&spool).first_day("one"), Some("2026-01-01"));
    std::fs::write(&file, format!("{entry}{}", " ".repeat(1 << 20))).expect("written");
    assert_eq!(SeenKeys::read(&spool), SeenKeys::default());
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("a folder in its place");
    assert_eq!(SeenKeys::read(&spool), SeenKeys::default());
}
