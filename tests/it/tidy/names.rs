//! Names that strangers read: type names say what a type is without its module, and public names have no word of the
//! house idiom. A reader is the judge; these tests only detect the first signs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use super::defined_type;
use crate::sources::{File, files, product, root};

/// Types of one crate that may share a name, and the reason.
const SHARED: &[(&str, &str, &str)] = &[];

/// Words of the idiom that this project once had. A reader would have to look them up.
const IDIOM: &str = "told tell tells dear dearest look looker lookers sight glance stand stands heard kept said whose nobody somebody \
    aside strange troubles forgotten unended stray unclaimed twin spoken crowded elsewhere gravity what who why";

/// Public names that contain such a word in its ordinary meaning, and the reason.
const ORDINARY: &[(&str, &str)] = &[];

/// The crate of a product file: `crates/NAME`, or `src`.
fn crate_of(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    if parts.first() == Some(&"crates") { parts[..2].join("/") } else { "src".to_owned() }
}

/// A type's name says what the type is without its module, so no crate has the same name twice.
#[test]
fn type_names_are_unique_in_their_crate() {
    let mut places: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for file in product() {
        for line in file.text.lines() {
            // Associated types are indented, and have the names that their traits give them.
            let Some(name) = defined_type(line).filter(|_| !line.starts_with(' ')) else { continue };
            places.entry((crate_of(&file.path), name)).or_default().push(file.path.clone());
        }
    }
    let shared: Vec<String> = places
        .iter()
        .filter(|((of, name), paths)| {
            paths.len() > 1 && !SHARED.iter().any(|(crate_, known, _)| crate_ == of && known == name)
        })
        .map(|((_, name), paths)| format!("`{name}`: {}", paths.join(", ")))
        .collect();
    assert!(places.len() > 1_000, "only {} types were found", places.len());
    assert!(shared.is_empty(), "say what each is, or give the reason in SHARED:\n{}", shared.join("\n"));
}

/// The names that users see: keys of the configuration, metrics, options of commands, fields of JSON, files of
/// `deploy`, reason codes, findings of `vault verify`, and keys and lists of the data files in `config`.
fn public_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let schema: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(root().join("config/schema.json")).unwrap()).unwrap();
    properties(&schema, &mut names);
    let metrics = fs::read_to_string(root().join("crates/telemetry/src/names/mod.rs")).unwrap();
    names.extend(metrics.split('"').skip(1).step_by(2).filter(|text| !text.contains(' ')).map(str::to_owned));
    let completions = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(["completions", "bash"]).output().unwrap();
    let completions = String::from_utf8(completions.stdout).unwrap();
    names.extend(completions.split([' ', '"', ')']).filter(|word| word.starts_with("--")).map(str::to_owned));
    for file in product() {
        let of_json = file.text.split("json!(").skip(1).flat_map(|rest| {
            let rest = rest.split(";\n").next().unwrap_or_default();
            rest.match_indices("\":").filter_map(|(at, _)| rest[..at].rsplit('"').next()).collect::<Vec<_>>()
        });
        let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        names.extend(of_json.filter(plain).map(str::to_owned));
    }
    let mut deployed: Vec<File> = Vec::new();
    for kind in [".yaml", ".json", ".md", ".tf", ".go", ".sh"] {
        files(&root().join("deploy"), kind, &mut deployed);
    }
    names.extend(deployed.into_iter().map(|file| file.path));
    names.extend(pipeline::Reason::ALL.iter().map(|reason| reason.label().to_owned()));
    names.extend(finding_codes());
    let mut data: Vec<File> = Vec::new();
    files(&root().join("config/rules/lists"), ".txt", &mut data);
    let heads = data.iter().flat_map(|file| file.text.lines()).filter_map(|line| line.strip_prefix('['));
    names.extend(heads.filter_map(|head| head.split([' ', ']']).next()).map(str::to_owned));
    let dialects = fs::read_to_string(root().join("crates/genai/src/schema.rs")).unwrap();
    let fields = dialects.lines().filter_map(|line| line.trim().strip_prefix("pub(super) ")?.split_once(':'));
    names.extend(fields.map(|(name, _)| name.to_owned()));
    names
}

/// The codes with which `vault verify` reports findings.
pub(super) fn finding_codes() -> BTreeSet<String> {
    let mut sources: Vec<File> = Vec::new();
    files(&root().join("crates/audit/src/verify"), ".rs", &mut sources);
    sources.retain(|file| !file.path.contains("/tests"));
    let texts = || sources.iter().map(|file| file.text.as_str());
    let calls = texts().flat_map(|text| [".fail(", ".warn("].map(|call| text.split(call).skip(1))).flatten();
    let codes = calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    codes.map(str::to_owned).collect()
}

/// The names of all properties in a JSON schema.
fn properties(schema: &serde_json::Value, names: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            if let Some(serde_json::Value::Object(own)) = map.get("properties") {
                names.extend(own.keys().cloned());
            }
            map.values().for_each(|value| properties(value, names));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| properties(item, names)),
        _ => {}
    }
}

/// Public names use the field's words.
#[test]
fn public_names_have_no_idiom() {
    let names = public_names();
    let some = "recipients tollgate_receiver_rejections_total --config model_call_failures recogniser_unavailable \
        unreferenced on_two_signals names.titles";
    for known in some.split_whitespace() {
        assert!(names.contains(known), "{known} is not among the {} names", names.len());
    }
    let of_idiom = |name: &&String| {
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| IDIOM.split(' ').any(|known| known == word))
            && !ORDINARY.iter().any(|(known, _)| known == *name)
    };
    let broken: Vec<&String> = names.iter().filter(of_idiom).collect();
    assert!(broken.is_empty(), "use the field's word, or give the reason in ORDINARY: {broken:?}");
}
