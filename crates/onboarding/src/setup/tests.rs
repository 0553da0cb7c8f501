//! Tests of the table of clients and of the merges. `tests/it/setup.rs` tests the command.

use std::collections::BTreeMap;

use super::*;
use genai::testing::builtin::vocabulary;

const TURNED_ON: [&str; 7] = ["traces", "logs", "metrics", "input", "output", "tool_args", "tool_result"];
const PROTOCOLS: [&str; 3] = ["http/protobuf", "http/json", "grpc"];

/// Names in the table are those of the rest of the product: a typing mistake would switch a check off without a word.
#[test]
fn the_table_names_what_exists() {
    let (catalog, vocabulary) = (ClientCatalog::builtin().unwrap(), vocabulary());
    let dialects: Vec<&str> = vocabulary.dialects().collect();
    for client in &catalog.clients {
        let name = &client.name;
        for setting in client.settings.iter().chain(&client.environment) {
            assert!(setting.sends.iter().all(|sent| TURNED_ON.contains(&sent.as_str())), "{name}: {}", setting.at);
        }
        assert!(client.protocols.iter().all(|protocol| PROTOCOLS.contains(&protocol.name.as_str())), "{name}");
        assert!(client.dialects.iter().all(|dialect| dialects.contains(&dialect.as_str())), "{name}");
        let has_names = client.file.as_ref().is_none_or(|file| !file.names.is_empty());
        assert!(!client.protocols.is_empty() && has_names, "{name}");
    }
}

/// Every client's settings for every protocol can be written into an empty file, and then are all there.
#[test]
fn every_setting_can_be_written() {
    let catalog = ClientCatalog::builtin().unwrap();
    let mut written = 0;
    for client in &catalog.clients {
        let Some(file) = &client.file else { continue };
        for protocol in &client.protocols {
            for with_content in [true, false] {
                let target = SetupTarget { endpoint: "http://127.0.0.1:4318".to_owned(), protocol, scheme: None };
                let changes = client.file_changes(&target, with_content);
                let merged = merge_settings(file.format, "", &changes)
                    .unwrap_or_else(|fault| panic!("{} {}: {fault}", client.name, protocol.name));
                assert!(!merged.text.contains('{') || file.format != FileFormat::Toml, "{}", merged.text);
                let again = merge_settings(file.format, &merged.text, &changes).unwrap();
                assert!(again.is_unchanged() && again.text == merged.text, "{}: {}", client.name, merged.text);
                written += merged.added.len();
            }
        }
    }
    assert!(written > 100, "{written}");
}

/// A hook is added beside the user's own, once; where a list is expected and something else stands, nothing changes.
#[test]
fn hooks_are_added_to_lists() {
    let set = |value: &str| {
        [settings_file::SettingChange {
            path: vec!["hooks".to_owned(), "PreToolUse".to_owned()],
            value: Some(serde_json::json!({"command": value})),
            keep: false,
            replaces_text: false,
            unless: Some("tollgate hook x".to_owned()),
        }]
    };
    let own = r#"{"hooks": {"PreToolUse": [{"command": "mine"}]}}"#;
    let merged = merge_settings(FileFormat::Json, own, &set("tollgate hook x")).unwrap();
    assert_eq!(merged.added, ["hooks.PreToolUse"]);
    assert!(merged.text.contains("mine") && merged.text.contains("tollgate hook x"), "{}", merged.text);
    let again = merge_settings(FileFormat::Json, &merged.text, &set("tollgate hook x --timeout 5s")).unwrap();
    assert!(again.is_unchanged() && again.text == merged.text, "{}", again.text);
    for refused in [r#"{"hooks": {"PreToolUse": {}}}"#, r#"{"hooks": []}"#] {
        assert!(merge_settings(FileFormat::Json, refused, &set("tollgate hook x")).is_err(), "{refused}");
    }
    assert!(merge_settings(FileFormat::Toml, "", &set("tollgate hook x")).is_err());
}

/// Files of odd but valid form get the settings and keep the rest; others are refused with the line of the fault. No
/// error quotes the file.
#[test]
fn odd_files_are_merged_or_refused() {
    let set = [settings_file::SettingChange {
        path: vec!["env".to_owned(), "A".to_owned()],
        value: Some("1".into()),
        keep: false,
        replaces_text: false,
        unless: None,
    }];
    let cases = include_str!("../../../../tests/cases/odd-settings.yaml");
    let cases: BTreeMap<String, Vec<(FileFormat, String, String)>> =
        config::load::parse_data("odd-settings.yaml", cases).unwrap_or_else(|problem| panic!("{problem}"));
    for (format, before, after) in &cases["merged"] {
        let merged = merge_settings(*format, before, &set).unwrap_or_else(|fault| panic!("{before:?}: {fault}"));
        assert_eq!(merged.text, *after, "{before:?}");
    }
    let too_deep = "line 1 is not valid: recursion limit exceeded".to_owned();
    let too_deep = (FileFormat::Json, "[".repeat(100_000), too_deep);
    for (format, text, wanted) in cases["refused"].iter().chain([&too_deep]) {
        let fault = merge_settings(*format, text, &set).err().map(|fault| fault.to_string());
        assert_eq!(fault.as_ref(), Some(wanted), "{text:.40}");
    }
}

/// A URL that a shell or a file would read as more than a text is refused, and so is one with a signal's path.
#[test]
fn endpoints_are_checked() {
    assert_eq!(parse_endpoint("https://t.example:4318/").unwrap(), "https://t.example:4318");
    assert_eq!(parse_endpoint("http://[::1]:4318/team").unwrap(), "http://[::1]:4318/team");
    for refused in [
        "t.example:4318",
        "http://t/v1/traces",
        "http://t/v1/logs/",
        "http://t/$(id)",
        "http://t/\"x",
        "http://t/?a=1",
        "http://u:p@t",
    ] {
        assert!(parse_endpoint(refused).is_err(), "{refused}");
    }
}
