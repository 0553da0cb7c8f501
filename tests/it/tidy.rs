//! The house's rules as tests: layers as absences, sizes, headings, paths that documents name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may import. A room that is not listed here fails the test: decide where it stands.
const LAYERS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("rng", &[]),
    ("echoes", &["rng"]),
    ("hex", &[]),
    ("secret", &[]),
    ("files", &[]),
    ("otlp", &[]),
    ("config", &["otlp", "secret"]),
    ("telemetry", &["clock", "config", "otlp", "secret"]),
    ("pseudonym", &["hex", "secret"]),
    ("redaction", &["config", "pseudonym"]),
    ("recogniser", &["clock", "config", "net", "pipeline", "redaction", "secret", "telemetry"]),
    ("rates", &["config", "clock", "hex"]),
    ("runs", &["clock", "genai", "hex", "net", "rates", "vault"]),
    ("history", &["clock", "hex", "otlp", "pipeline", "rates", "rng", "runs", "vault"]),
    ("pages", &["clock", "hex", "history", "net", "rates", "runs", "telemetry", "vault"]),
    ("genai", &["config", "otlp", "pipeline", "hex"]),
    ("net", &["config", "pipeline", "secret", "telemetry", "clock"]),
    ("pipeline", &["clock", "config", "files", "otlp", "rng", "secret", "telemetry", "hex"]),
    (
        "vault",
        &[
            "clock",
            "config",
            "files",
            "genai",
            "hex",
            "net",
            "otlp",
            "pipeline",
            "pseudonym",
            "rng",
            "secret",
            "telemetry",
        ],
    ),
    ("receivers", &["clock", "config", "hex", "net", "otlp", "pipeline", "rng", "secret", "telemetry"]),
    (
        "processors",
        &[
            "clock",
            "config",
            "echoes",
            "genai",
            "hex",
            "otlp",
            "pipeline",
            "pseudonym",
            "rates",
            "recogniser",
            "redaction",
            "rng",
            "runs",
            "secret",
            "telemetry",
            "vault",
        ],
    ),
    ("connectors", &["clock", "config", "otlp", "pipeline", "telemetry"]),
    ("exporters", &["clock", "config", "hex", "net", "otlp", "pipeline", "rng", "secret", "telemetry"]),
    ("components", &["*"]),
    ("app", &["*"]),
    ("cli", &["*"]),
    ("testing", &["*"]),
];

/// A text that only some files may hold, and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("serde_saphyr", &["src/config/load.rs"], "only config/load.rs knows YAML"),
    ("SystemTime::now", &["src/clock.rs"], "only clock.rs reads time"),
    ("Instant::now", &["src/clock.rs"], "only clock.rs reads time"),
    ("tokio::spawn", &["src/app/tasks.rs"], "only app/tasks.rs spawns"),
    ("thread::spawn", &["src/app/tasks.rs"], "only app/tasks.rs spawns"),
    ("thread::Builder", &["src/app/tasks.rs"], "only app/tasks.rs spawns"),
    (
        "env::var",
        &[
            "src/config/env.rs",
            "src/cli/",
            "src/telemetry/logging.rs",
            "src/app/",
            "src/net/",
            "src/exporters/",
            "src/vault/",
            "src/components.rs",
        ],
        "only config/env.rs reads the environment (others call it)",
    ),
    ("std::env::var", &["src/config/env.rs"], "only config/env.rs reads the environment"),
    ("unsafe {", &[], "no unsafe"),
    ("todo!(", &[], "nothing is left to do"),
    ("unimplemented!(", &[], "nothing is left to do"),
    ("unbounded_channel", &[], "bounded everything"),
    ("\"tollgate_", &["src/telemetry/names.rs"], "only telemetry/names.rs names metrics"),
    ("\"otelcol_", &["src/telemetry/names.rs"], "only telemetry/names.rs names metrics"),
];

/// Types that hold telemetry text or configuration values: no `Debug`, no `Display`.
const NO_DEBUG: &[&str] = &[
    "Payload",
    "Value",
    "Attribute",
    "OwnedValue",
    "Encoded",
    "Batch",
    "Draft",
    "Effect",
    "Record",
    "Stored",
    "Transaction",
    "Submission",
    "ExportRequest",
    "Facts",
    "ItemFacts",
    "Fragment",
    "Sight",
    "Seen",
    "Group",
    "Totals",
    "RunView",
    "SessionView",
];

/// Longest product file, lines.
const MAX_LINES: usize = 500;

struct File {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str, out: &mut Vec<File>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, ending, out);
        } else if path.to_string_lossy().ends_with(ending) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            out.push(File { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

/// Product sources: without tests, test support and generated code.
fn product() -> Vec<File> {
    let mut all = Vec::new();
    files(&root().join("src"), ".rs", &mut all);
    all.retain(|file| {
        let tests = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
        !tests && !file.path.starts_with("src/otlp/gen/") && !file.path.starts_with("src/testing/")
    });
    all
}

fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (!matches!(room, "lib" | "main")).then_some(room)
}

/// Rooms named by `crate::room` in code (comments left out).
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        for piece in line.split("crate::").skip(1) {
            if let Some(group) = piece.strip_prefix('{') {
                for name in group.split(',') {
                    found.insert(name.trim().split("::").next().unwrap().trim_end_matches(['}', ';']).to_owned());
                }
                continue;
            }
            let name: String = piece.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            found.insert(name);
        }
    }
    found.remove("");
    found
}

/// A room imports only what stands below it; `otlp` imports nothing of ours, `pipeline` names no component.
#[test]
fn layers_hold() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut broken = Vec::new();
    for file in product() {
        let Some(room) = room(&file.path) else { continue };
        let Some(allowed) = layers.get(room) else {
            broken.push(format!("{}: the room `{room}` is not in LAYERS", file.path));
            continue;
        };
        for import in imports(&file.text) {
            let known = layers.contains_key(import.as_str());
            if known && import != room && !allowed.contains(&"*") && !allowed.contains(&import.as_str()) {
                broken.push(format!("{}: `{room}` may not import `{import}`", file.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Components never import each other.
#[test]
fn components_stand_alone() {
    let mut broken = Vec::new();
    for file in product() {
        let parts: Vec<&str> = file.path.split('/').collect();
        let ["src", kind @ ("receivers" | "processors" | "exporters" | "connectors"), component, ..] = parts[..] else {
            continue;
        };
        for other in ["receivers", "processors", "exporters", "connectors"] {
            for piece in file.text.split(&format!("crate::{other}::")).skip(1) {
                let named: String = piece.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let folder = root().join("src").join(other).join(&named);
                if folder.is_dir() && (other != kind || named != component) {
                    broken.push(format!("{}: imports {other}::{named}", file.path));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What only one place may do is done there only.
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
    let mut broken = Vec::new();
    for file in product() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let name = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "));
            let Some(name) = name else { continue };
            let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            if !NO_DEBUG.contains(&name.as_str()) || file.path.starts_with("src/config/") {
                continue;
            }
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
}

/// No product file outgrows its room; every file says what it is; every `mod.rs` says why, what holds, what is elsewhere.
#[test]
fn files_have_heads_and_bounds() {
    let mut broken = Vec::new();
    for file in product() {
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            broken.push(format!("{}: {lines} lines, at most {MAX_LINES}", file.path));
        }
        if !file.text.starts_with("//!") {
            broken.push(format!("{}: does not open with //!", file.path));
        }
        let head: String = file.text.lines().take_while(|line| line.starts_with("//!")).collect();
        let wanted: &[&str] = if file.path.ends_with("/mod.rs") {
            &["**What**", "**Why**", "**Invariants**", "**Not here**"]
        } else {
            &[]
        };
        for heading in wanted.iter().filter(|heading| !head.contains(**heading)) {
            broken.push(format!("{}: its head lacks {heading}", file.path));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Tests stand in a sibling `tests.rs`, not among product code.
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
            let ours = ["src", "tests", "config", "deploy", "proto", "benches", "docs", ".ci"].contains(&top);
            if looks && ours && !root().join(path).exists() {
                broken.push(format!("{document}: `{quoted}` does not exist"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
