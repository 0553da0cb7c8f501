//! Tests of what the command line checks before it runs a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::CommandFactory as _;

use super::{Cli, budgets, refuse_keys, vault};

/// A key in place of its file's path is wrong usage, and the error does not show it. (Shown to fail without the call of
/// `contains_key`.)
#[test]
fn keys_are_no_arguments() {
    let refused = |last: &[u8]| {
        let arguments = ["tollgate", "vault", "get"].map(OsString::from).into_iter();
        refuse_keys(arguments.chain([OsString::from_vec(last.to_vec())])).map_err(|error| error.to_string())
    };
    let age_key = format!("age-secret-key-1SECRET{}", "q".repeat(52));
    for key in [age_key.to_ascii_uppercase(), format!("--identity={age_key}"), "PRIVATE+KEY+x+SECRET".to_owned()] {
        let why = refused(key.as_bytes()).unwrap_err();
        assert!(why.contains("a secret key") && !why.contains("SECRET"), "{why}");
    }
    assert!(refused(b"\xff-----BEGIN PRIVATE KEY-----").is_err());
    for path in [
        "auditor.key",
        "--identity=/keys/private.key",
        "/keys/age-secret-key-auditor.txt",
        "age1recipient",
        "vault.example+00000000+AY",
    ] {
        assert_eq!(refused(path.as_bytes()), Ok(()));
    }
}

/// Each limit has its own percentage, times end with the minute, and a hostile name moves no cursor.
#[test]
fn each_limit_of_a_budget_has_a_line() {
    let time = "2026-12-01T00:00:00.000000000Z";
    let uses = serde_json::json!([
        {"measure": "amount", "spent": "9.5", "limit": "10", "share": 0.95},
        {"measure": "model_calls", "spent": "3", "limit": "60", "share": 0.05},
    ]);
    let line = serde_json::json!({"budget": "one\u{1b}[2J", "scope": "user", "key": "h-1", "until": time,
        "last_stop": null, "action": "deny", "stops": 0, "account": "default", "share": 0.95, "uses": uses});
    let text = budgets::format_budgets(&serde_json::json!({ "budgets": [line] }));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with(" 95.0%") && lines[0].contains("9.5 of 10 USD  until 2026-12-01 00:00Z "), "{text}");
    assert!(lines[1].starts_with("  5.0%") && lines[1].contains("3 of 60 model calls"), "{text}");
    assert!(text.contains("last - ") && !text.contains('\u{1b}'), "{text}");
    let none = budgets::format_budgets(&serde_json::json!({ "budgets": [] }));
    assert_eq!(none, "no budget is configured, or nothing was used yet\n");
}

/// Each subcommand of `vault` is below one heading of its help, so that none is missing there.
#[test]
fn every_subcommand_of_vault_has_a_heading() {
    let cli = Cli::command();
    let vault = cli.find_subcommand("vault").unwrap();
    let mut names: Vec<_> = vault.get_subcommands().map(clap::Command::get_name).collect();
    let mut listed: Vec<_> = vault::HEADINGS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, names);
}
