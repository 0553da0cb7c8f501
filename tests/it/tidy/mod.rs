//! Rules that the compiler can't check, as tests: which file may do what, heads of files, import cycles, paths that
//! documents name.

mod knots;
mod names;
mod size;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::sources::{File, files, product, root};

/// A text that only some files may contain, and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("serde_saphyr", &["crates/config/src/load.rs"], "only config/load.rs knows YAML"),
    ("SystemTime::now", &["crates/kernel/src/clock.rs"], "only clock.rs reads time"),
    ("Instant::now", &["crates/kernel/src/clock.rs"], "only clock.rs reads time"),
    ("tokio::spawn", &["crates/command/src/tasks.rs"], "only command/tasks.rs spawns"),
    ("thread::spawn", &["crates/command/src/tasks.rs"], "only command/tasks.rs spawns"),
    ("thread::Builder", &["crates/command/src/tasks.rs"], "only command/tasks.rs spawns"),
    (
        "env::var",
        &[
            "crates/config/src/env.rs",
            "src/cli/",
            "crates/audit/src/cli/",
            "crates/command/src/",
            "crates/onboarding/src/",
            "crates/telemetry/src/logging.rs",
            "src/app/",
            "crates/net/src/",
            "crates/exporters/src/",
            "crates/vault/src/",
            "src/components.rs",
        ],
        "only config/env.rs reads the environment (others call it)",
    ),
    ("std::env::var", &["crates/config/src/env.rs"], "only config/env.rs reads the environment"),
    (
        "audit::",
        &["src/cli/", "crates/audit/", "crates/bills/", "crates/onboarding/"],
        "a running gateway reads no vault: only commands do",
    ),
    ("unsafe {", &[], "no unsafe"),
    ("todo!(", &[], "nothing is left to do"),
    ("unimplemented!(", &[], "nothing is left to do"),
    ("unbounded_channel", &[], "bounded everything"),
    ("\"tollgate_", &["crates/telemetry/src/names/mod.rs"], "only telemetry/names names metrics"),
    ("\"otelcol_", &["crates/telemetry/src/names/mod.rs"], "only telemetry/names names metrics"),
];

/// Types that hold telemetry text or configuration values: no `Debug`, no `Display`.
const NO_DEBUG: &str = "Payload Value Attribute OwnedValue EncodedRequest EncodedTransaction Batch RecordDraft Effect SpoolRecord \
    StoredRecord Transaction Submission ExportRequest Facts ItemFacts SealedFragment BatchObservation ObservedItem \
    ItemGroup RunTotals RunView SessionView";

/// The name of the type that a line defines, if it does. In macros, definitions are indented.
fn defined_type(line: &str) -> Option<String> {
    let line = line.trim_start();
    let line = ["pub(super) ", "pub(crate) ", "pub "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    let rest = ["struct ", "enum ", "trait ", "type ", "union "].iter().find_map(|word| line.strip_prefix(word))?;
    Some(rest.chars().take_while(char::is_ascii_alphanumeric).collect())
}

/// The table of crates in ARCHITECTURE.md lists the same workspace dependencies of each crate as its manifest. The
/// compiler enforces the layers; this test keeps their map up to date.
#[test]
fn the_map_of_crates_is_true() {
    let listed = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows: BTreeMap<String, String> = listed
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
            let [name, _, uses, _] = cells[..] else { return None };
            Some((name.trim_end_matches('`').to_owned(), uses.replace('`', "")))
        })
        .collect();
    let mut broken = Vec::new();
    let mut manifests = Vec::new();
    files(&root().join("crates"), "Cargo.toml", &mut manifests);
    let names: BTreeSet<String> =
        manifests.iter().map(|file| file.path.split('/').nth(1).unwrap().to_owned()).collect();
    for file in &manifests {
        let name = file.path.split('/').nth(1).unwrap();
        let section = file.text.split("[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        let uses: Vec<&str> = section
            .lines()
            .filter(|line| !line.contains("optional"))
            .filter_map(|line| line.split(['.', ' ']).next().filter(|dependency| names.contains(*dependency)))
            .collect();
        let uses = if uses.is_empty() { "nothing".to_owned() } else { uses.join(" ") };
        if rows.get(name) != Some(&uses) {
            broken.push(format!("`{name}` depends on: {uses}; ARCHITECTURE.md says {:?}", rows.get(name)));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A crate that is not in the list would log warnings only, whatever the configuration says.
#[test]
fn every_crate_may_log() {
    let folders = std::fs::read_dir(root().join("crates")).unwrap();
    let mut crates: Vec<String> = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    crates.push("tollgate".to_owned());
    crates.sort();
    assert_eq!(telemetry::logging::OWN_CRATES, crates.join(" "));
}

/// Components of one kind never import each other (those of different kinds are separate crates). A folder that is
/// private in `lib.rs` is no component: it has the code that several of them share, and imports none of them.
#[test]
fn components_stand_alone() {
    let mut broken = Vec::new();
    for file in product() {
        let parts: Vec<&str> = file.path.split('/').collect();
        let ["crates", kind @ ("receivers" | "processors" | "exporters" | "connectors"), "src", component, ..] =
            parts[..]
        else {
            continue;
        };
        for piece in file.text.split("crate::").skip(1) {
            let named: String = piece.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let source = root().join("crates").join(kind).join("src");
            let library = fs::read_to_string(source.join("lib.rs")).unwrap();
            let is_shared = library.contains(&format!("\nmod {named};"));
            if source.join(&named).is_dir() && !is_shared && named != component {
                broken.push(format!("{}: imports {kind}::{named}", file.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Privileged operations happen only in the files that may do them.
#[test]
fn privileges_hold() {
    let mut broken = Vec::new();
    for file in product() {
        for (number, line) in file.text.lines().enumerate() {
            let code = line.trim_start();
            if code.starts_with("//") {
                continue;
            }
            for (text, allowed, why) in ONLY_IN {
                if code.contains(text) && !allowed.iter().any(|path| file.path.starts_with(path)) {
                    broken.push(format!("{}:{}: {why}", file.path, number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A type that holds telemetry text can't be printed.
#[test]
fn telemetry_text_has_no_debug() {
    let (mut broken, mut found) = (Vec::new(), BTreeSet::new());
    for file in product() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(name) = defined_type(line) else { continue };
            if !NO_DEBUG.split(' ').any(|known| known == name) || file.path.starts_with("crates/config/src/") {
                continue;
            }
            found.insert(name.clone());
            let head =
                lines[..number].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
            if head.into_iter().any(|line| line.contains("derive(") && line.contains("Debug")) {
                broken.push(format!("{}:{}: `{name}` derives Debug", file.path, number + 1));
            }
            for printed in ["Debug", "Display"] {
                if file.text.contains(&format!("{printed} for {name}")) {
                    broken.push(format!("{}: `{name}` implements {printed}", file.path));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    // A name in the list that no type has would check nothing
    let gone: Vec<_> = NO_DEBUG.split(' ').filter(|name| !found.contains(*name)).collect();
    assert!(gone.is_empty(), "no such types: {gone:?}");
}

/// Every file begins with a head; the head of every `lib.rs` and `mod.rs` also states invariants and neighbours.
#[test]
fn files_have_heads() {
    let mut broken = Vec::new();
    for file in product() {
        let head = file.text.lines().take_while(|line| line.starts_with("//!")).count();
        if head == 0 {
            broken.push(format!("{}: does not open with //!", file.path));
        }
        let door =
            file.path.ends_with("/mod.rs") || (file.path.starts_with("crates/") && file.path.ends_with("/lib.rs"));
        if door && head < 2 {
            broken.push(format!("{}: its head lacks invariants and neighbours", file.path));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Comments and documents stay within 120 columns; tables, code samples and addresses may be wider.
#[test]
fn lines_fit_in_120_columns() {
    let mut documents = Vec::new();
    files(&root().join("docs"), ".md", &mut documents);
    documents.retain(|file| !file.text.contains("<!-- Made by a test"));
    for name in ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "SECURITY.md", "STYLE.md"] {
        documents.push(File::read(name));
    }
    let mut broken = Vec::new();
    for (file, is_document) in
        product().iter().map(|file| (file, false)).chain(documents.iter().map(|file| (file, true)))
    {
        let mut sample = false;
        for (number, line) in file.text.lines().enumerate() {
            let comment = line.trim_start();
            sample ^= comment.starts_with("```");
            let counts = match is_document {
                true => !sample && !comment.starts_with('|'),
                // four spaces after the comment mark: a sample
                false => comment.starts_with("//") && !comment.trim_start_matches(['/', '!']).starts_with("   "),
            };
            if counts && line.chars().count() > 120 && !line.contains("://") {
                broken.push(format!("{}:{}: {} columns", file.path, number + 1, line.chars().count()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Tests are in a sibling `tests.rs`, not among product code.
#[test]
fn tests_stand_beside() {
    let broken: Vec<String> = product()
        .iter()
        .filter(|file| file.text.contains("#[test]") || file.text.contains("#[tokio::test"))
        .map(|file| file.path.clone())
        .collect();
    assert!(broken.is_empty(), "tests among product code: {broken:?}");
}

/// Paths that ARCHITECTURE.md, README.md and `lib.rs` name in backticks exist.
#[test]
fn documents_name_real_paths() {
    let mut broken = Vec::new();
    for document in ["ARCHITECTURE.md", "README.md", "STYLE.md", "SECURITY.md", "src/lib.rs"] {
        let text = fs::read_to_string(root().join(document)).unwrap_or_default();
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.trim_end_matches('/');
            let looks = path.contains('/') && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
            let top = path.split('/').next().unwrap_or("");
            let ours = ["src", "crates", "tests", "config", "deploy", "proto", "benches", "docs", ".ci"].contains(&top);
            if looks && ours && !root().join(path).exists() {
                broken.push(format!("{document}: `{quoted}` does not exist"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The page of the vault's formats explains each finding of `vault verify`, and no others.
#[test]
fn findings_are_explained() {
    let page = fs::read_to_string(root().join("docs/vault.md")).unwrap();
    let (_, table) = page.split_once("\n| finding | means |\n").expect("the table of findings");
    let table = table.split("\n## ").next().unwrap_or_default();
    let cells = table.lines().filter(|line| line.starts_with("| `")).filter_map(|row| row.split('|').nth(1));
    let explained: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let codes = names::finding_codes();
    assert!(codes.len() > 30, "{codes:?}");
    // some codes are not written in the call that reports them
    let in_source = |code: &&String| {
        let mut sources = Vec::new();
        files(&root().join("crates/audit/src/verify"), ".rs", &mut sources);
        sources.iter().any(|file| !file.path.contains("/tests") && file.text.contains(&format!("\"{code}\"")))
    };
    assert_eq!(codes.difference(&explained).collect::<Vec<_>>(), [""; 0], "not explained");
    let unknown: Vec<&String> = explained.iter().filter(|code| !in_source(code)).collect();
    assert!(unknown.is_empty(), "no finding has these codes: {unknown:?}");
}

/// The list of what `vault verify` does not detect names a test for each entry, and each such test is in the list.
#[test]
fn what_is_not_detected_is_shown_by_tests() {
    let page = fs::read_to_string(root().join("docs/vault.md")).unwrap();
    let (_, list) = page.split_once("\n## What is not detected\n").expect("the list");
    let list = list.split("\n## ").next().unwrap_or_default();
    let rows = list.lines().filter(|line| line.starts_with("| ")).skip(1);
    let listed: Vec<&str> =
        rows.map(|row| row.rsplit('|').nth(1).unwrap_or_default().trim().trim_matches('`')).collect();
    let mut sources = Vec::new();
    files(&root().join("crates/audit/src"), ".rs", &mut sources);
    let tests: BTreeSet<&str> = sources
        .iter()
        .flat_map(|file| file.text.split("#[tokio::test]\nasync fn ").skip(1))
        .filter_map(|rest| rest.split('(').next())
        .filter(|name| name.starts_with("undetected_"))
        .collect();
    assert!(listed.len() > 10, "{listed:?}");
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), tests);
    assert_eq!(listed.len(), tests.len(), "each once");
}

/// A line that is lost in a data file would fail open: a rule without a placeholder, a call without a role, no secret
/// keys. (Shown to fail without a rule's `class`.)
#[test]
fn data_files_have_what_they_need() {
    let read = |path: &str| -> Value {
        ::config::load::parse_data(path, &std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
    };
    let assert_has = |path: &str, rows: &Value, keys: &[&str]| {
        let lacking = |row: &&Value| keys.iter().any(|key| row[key].is_null());
        let lacking: Vec<&Value> = rows.as_array().unwrap().iter().filter(lacking).collect();
        assert!(lacking.is_empty(), "{path}: {keys:?} are needed: {lacking:?}");
    };
    for name in ["keys", "names", "pii", "secrets"] {
        let path = format!("config/rules/{name}.yaml");
        assert_has(&path, &read(&path), &["name", "placeholder", "class"]);
    }
    let dialects = read("config/dialects.yaml");
    let lists = ["secret", "pii", "error_text", "redact", "label"];
    assert_has("config/dialects.yaml", &Value::from(vec![dialects["keys"]["roles"].clone()]), &lists);
    assert_has(
        "config/dialects.yaml",
        &Value::from(vec![dialects["keys"].clone()]),
        &["content", "chat", "chat_shapes", "quote_introductions"],
    );
    assert_has("config/dialects.yaml", &dialects["dialects"], &["name", "priority", "detect"]);
    let calls = dialects["dialects"].as_array().unwrap().iter().filter_map(|dialect| dialect.get("calls"));
    calls.for_each(|calls| assert_has("config/dialects.yaml", calls, &["role"]));
}
