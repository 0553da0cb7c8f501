use clap::Parser;

use super::*;

/// A command line with only these options.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    find: FindArgs,
}

fn found(folder: &std::path::Path, more: &[&str]) -> Result<ExitStatus, String> {
    let store = folder.display().to_string();
    let line = ["find", "--store", &store].into_iter().chain(more.iter().copied());
    run_find(Line::parse_from(line).find).map_err(|error| error.to_string())
}

/// A partial answer must not look complete: if something can't be read, the exit code is 1, and what was found is
/// printed.
#[test]
fn a_partial_answer_ends_with_one() {
    let folder = tempfile::tempdir().expect("scratch");
    let index = folder.path().join("index/v1/account=default/dt=2026-11-20");
    std::fs::create_dir_all(&index).expect("made");
    assert_eq!(found(folder.path(), &[]), Ok(ExitStatus::Success));
    std::fs::write(index.join("gw-E0000-0000000000.ndjson.zst"), b"garbage").expect("written");
    for more in [&[][..], &["--json"], &["--sessions"], &["--since", "2026-11-19"]] {
        assert_eq!(found(folder.path(), more), Ok(ExitStatus::Failed), "{more:?}");
    }
    // A day outside of the unreadable part.
    assert_eq!(found(folder.path(), &["--since", "2026-11-23"]), Ok(ExitStatus::Success));
}

/// Someone who searches by a person's name must not conclude from an empty result that there is no data.
#[test]
fn a_name_that_stands_as_a_pseudonym_is_hinted_at() {
    for (option, id) in [("--user", "alice@example.com"), ("--session", "bob.builder@example.com")] {
        let hint = pseudonym_hint(option, id, OTHER_OPTIONS).expect("a hint");
        assert!(hint.contains("h-…") && hint.contains(option) && !hint.contains(id), "{hint}");
    }
    assert_eq!(pseudonym_hint("--user", "h-0123456789abcdef", OTHER_OPTIONS), None);
}

/// A JSON line that reaches a terminal through a pipe can't control it: control characters of both ranges and direction
/// marks are escaped, and the JSON is equivalent.
#[test]
fn json_of_a_line_drives_no_terminal() {
    let hostile = "s\u{9b}2J\u{202e}x\u{7f}\u{2066}\u{85}";
    let tail =
        vault::index_row::RowTail { session_id: Some(hostile.to_owned()), ..vault::index_row::RowTail::default() };
    let row = IndexRow { v: 1, leaf: 7, object_key: None, off: None, of: None, tail };
    for unsigned in [false, true] {
        let json = row_json(&row, unsigned);
        let drives = |c: char| {
            c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        assert!(!json.chars().any(drives), "{json:?}");
        let read: serde_json::Value = serde_json::from_str(&json).expect("json");
        assert_eq!((&read["session_id"], read["unsigned"].as_bool()), (&hostile.into(), unsigned.then_some(true)));
    }
}
