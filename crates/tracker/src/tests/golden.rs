//! The runs of recorded sessions equal the hand counts, in a file in `tests/cases/runs` for each session.
//! `tests/cases/runs/README.md` says how to add one.

use std::fs;

use serde_json::Value as Json;

use super::support::*;
use genai::testing::request;
use runs::json;

/// Maps that may contain only the names in the file.
const WHOLE: [&str; 3] = ["models", "tools", "finish_reasons"];

/// Differences between `wanted` and `got`: other objects may have more keys, lists and values must be equal.
fn differences(wanted: &Json, got: &Json, at: &str, out: &mut Vec<String>) {
    match (wanted, got) {
        (Json::Object(wanted), Json::Object(got)) => {
            let whole = WHOLE.iter().any(|name| at.ends_with(&format!(".{name}")));
            for key in got.keys().filter(|key| whole && !wanted.contains_key(*key)) {
                out.push(format!("{at}.{key} is too much"));
            }
            for (key, wanted) in wanted {
                differences(wanted, got.get(key).unwrap_or(&Json::Null), &format!("{at}.{key}"), out);
            }
        }
        (Json::Array(wanted), Json::Array(got)) if wanted.len() == got.len() => {
            for (number, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                differences(wanted, got, &format!("{at}[{number}]"), out);
            }
        }
        _ if wanted == got => {}
        _ => out.push(format!("{at} is {got} instead of {wanted}")),
    }
}

/// Number of numbers and texts in a file.
fn leaves(json: &Json) -> usize {
    match json {
        Json::Object(map) => map.values().map(leaves).sum(),
        Json::Array(list) => list.iter().map(leaves).sum(),
        _ => 1,
    }
}

/// A session's runs in the API, by start time.
fn told(session: &Session) -> Json {
    let line = Line::whole(runs());
    session.payloads.iter().for_each(|payload| drop(line.play(payload.clone())));
    let mut views = line.views();
    views.sort_by(|a, b| (a.start, &a.run).cmp(&(b.start, &b.run)));
    json::runs(&views)["runs"].clone()
}

/// Each file's runs are the session's only runs, and all its numbers match.
#[test]
fn runs_are_what_was_counted_by_hand() {
    let mut files: Vec<_> =
        fs::read_dir(request::at("tests/cases/runs")).unwrap().map(|at| at.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "json"));
    let (mut wrong, mut numbers, mut clients) = (Vec::new(), 0, std::collections::BTreeSet::new());
    for path in &files {
        let case: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let name = case["recording"].as_str().unwrap();
        assert!(case["counted"].as_array().is_some_and(|how| !how.is_empty()), "{name}: how was it counted?");
        let client = name.split('/').next().unwrap().to_owned();
        let session = sessions(&client).into_iter().find(|session| session.name == name);
        let got = told(&session.unwrap_or_else(|| panic!("{name} is no recording")));
        let mut out = Vec::new();
        differences(&case["runs"], &got, "", &mut out);
        wrong.extend(out.into_iter().map(|line| format!("{name}: runs{line}")));
        numbers += leaves(&case["runs"]);
        clients.insert(client);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for client in ["claude-code", "codex", "openinference", "claude-otel-hooks"] {
        assert!(clients.contains(client), "no file for {client}");
    }
    assert!(numbers > 500, "{numbers}");
}

/// The comparison finds values that differ, are missing or are surplus.
#[test]
fn the_comparison_can_fail() {
    let got = serde_json::json!([{"a": 1, "b": {"c": [1, 2]}, "tools": {"x": 1}}]);
    for (wanted, count) in [
        (serde_json::json!([{"a": 1}]), 0),
        (serde_json::json!([{"a": 2}]), 1),
        (serde_json::json!([{"b": {"c": [1]}}]), 1),
        (serde_json::json!([{"b": {"c": [1, 3]}, "d": 0}]), 2),
        (serde_json::json!([]), 1),
        (serde_json::json!([{"tools": {}}]), 1),
    ] {
        let mut out = Vec::new();
        differences(&wanted, &got, "", &mut out);
        assert_eq!(out.len(), count, "{out:?}");
    }
}
