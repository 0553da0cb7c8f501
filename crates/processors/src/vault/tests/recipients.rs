//! Recipients: every form loads, every fault is reported at its place.

use std::collections::BTreeSet;

use super::super::recipients::RecipientsConfig;
use super::super::*;
use super::{parse, recipient};

fn settings(recipients: &str) -> Result<VaultSettings, Vec<String>> {
    let text = format!("recipients: {recipients}\nstore: {{ directory: ./vault }}");
    let found = parse(&text).settings();
    found.map_err(|problems| problems.into_iter().map(|p| format!("{}: {}", p.path, p.message)).collect())
}

fn notes(recipients: &str) -> Vec<String> {
    let settings = settings(recipients).unwrap_or_else(|problems| panic!("{problems:?}"));
    settings.notes.into_iter().map(|note| note.message).collect()
}

/// Each text of recipients is refused with this phrase at this path, and no message has a key or a wrong value.
fn refused(cases: &[(String, &str, &str)]) {
    for (text, path, phrase) in cases {
        let found = settings(text).err().unwrap_or_else(|| panic!("{text}"));
        let expected = |problem: &String| problem.starts_with(&format!("{path}: ")) && problem.contains(phrase);
        assert!(found.iter().any(expected), "{path} {phrase}: {found:?}");
        assert!(!found.iter().any(|problem| problem.contains("age1") && !problem.contains("`age1…`")), "{found:?}");
        assert!(!found.iter().any(|problem| problem.contains("zebra")), "{found:?}");
    }
}

/// Plain keys and keys with limits stand beside each other.
#[test]
fn limited_recipients_load() {
    let (one, two, three) = (recipient(), recipient(), recipient());
    let text = format!(
        "[{one}, {{ key: {two}, accounts: [acme] }}, {{ key: {three}, accounts: [acme], tenants: [red, unattributed] }}]"
    );
    let loaded = settings(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let limits: Vec<_> = (loaded.recipients.recipients.iter())
        .map(|one| (one.accounts.as_ref().map(BTreeSet::len), one.tenants.as_ref().map(BTreeSet::len)))
        .collect();
    assert_eq!(limits, [(None, None), (Some(1), None), (Some(1), Some(2))]);
    assert!(loaded.notes.is_empty(), "two open all of acme");
    // as `print-config` prints it
    let config = parse(&format!("recipients: {text}\nstore: none"));
    let printed = serde_json::to_string(&config.recipients).expect("json");
    assert!(printed.contains(&format!("{{\"key\":\"{two}\",\"accounts\":[\"acme\"]}}")), "{printed}");
    let read: RecipientsConfig = serde_json::from_str(&printed).expect("read again");
    assert!(read == config.recipients);
}

/// Content that nobody could open, a key with and without limits, and empty limits are refused. No message has a key.
#[test]
fn faulty_recipients_are_refused() {
    let (one, two) = (recipient(), recipient());
    let all = format!("{{ key: {one}, accounts: [acme] }}");
    refused(&[
        (format!("[{{ key: {one}, accounts: [acme], tenants: [red] }}]"), "recipients[0].tenants", "by nobody"),
        (format!("[{two}, {one}, {{ key: {one}, accounts: [acme] }}]"), "recipients[2]", "with limits and without"),
        (format!("[{all}, {all}]"), "recipients[1]", "in one entry"),
        (format!("[{one}, {one}]"), "recipients[1]", "is listed twice: remove it"),
        (format!("[{{ key: {one}, accounts: [] }}]"), "recipients[0].accounts", "lists no name"),
        (format!("[{{ key: {one}, accounts: [acme], tenants: [] }}]"), "recipients[0].tenants", "lists no name"),
        (format!("[{{ key: {one}, accounts: [acme, ''] }}]"), "recipients[0].accounts", "an empty name"),
        ("[{ key: zebra, accounts: [acme] }]".to_owned(), "recipients[0].key", "is not an age public key"),
        ("[]".to_owned(), "recipients", "at least one"),
        (format!("[{}]", vec![recipient(); 65].join(", ")), "recipients", "more than 64"),
    ]);
}

/// An account whose content one person alone can open is noted.
#[test]
fn single_recipients_are_noted() {
    let (one, two) = (recipient(), recipient());
    let found = notes(&format!("[{{ key: {one}, accounts: [acme] }}, {{ key: {two}, accounts: [globex] }}]"));
    assert!(found.len() == 1 && found[0].contains("all content of `acme`, `globex`"), "{found:?}");
    assert!(notes(&format!("[{{ key: {one}, accounts: [acme] }}, {two}]")).is_empty());
    assert!(notes(&format!("[{one}]"))[0].starts_with("only one recipient: "));
}

/// A threshold loads and is printed as written; keys that are needed together have no limits and are all different.
#[test]
fn a_threshold_loads() {
    let (one, two, three) = (recipient(), recipient(), recipient());
    let text = format!("{{ threshold: 2, of: [{one}, {two}, {three}] }}");
    let loaded = settings(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!((loaded.recipients.threshold, loaded.recipients.recipients.len()), (Some(2), 3));
    assert!(loaded.notes.is_empty() && loaded.recipients.covers_every_account());
    let config = parse(&format!("recipients: {text}\nstore: none"));
    let printed = serde_json::to_string(&config.recipients).expect("json");
    assert_eq!(printed, format!("{{\"threshold\":2,\"of\":[\"{one}\",\"{two}\",\"{three}\"]}}"));
    let read: RecipientsConfig = serde_json::from_str(&printed).expect("read again");
    assert!(read == config.recipients);
    let found = notes(&format!("{{ threshold: 2, of: [{one}, {two}] }}"));
    assert!(found.len() == 1 && found[0].starts_with("all recipients are needed together"), "{found:?}");
    let limits = serde_json::json!({ "threshold": 2, "of": [one, { "key": two, "accounts": ["acme"] }] });
    assert!(serde_json::from_value::<RecipientsConfig>(limits).is_err(), "a limit beside a threshold");
    refused(&[
        (format!("{{ threshold: 1, of: [{one}, {two}] }}"), "recipients.threshold", "from 2 to the number"),
        (format!("{{ threshold: 0, of: [{one}, {two}] }}"), "recipients.threshold", "from 2 to the number"),
        (format!("{{ threshold: 3, of: [{one}, {two}] }}"), "recipients.threshold", "from 2 to the number"),
        (format!("{{ threshold: 2, of: [{one}] }}"), "recipients.threshold", "from 2 to the number"),
        ("{ threshold: 2, of: [] }".to_owned(), "recipients.of", "at least one"),
        (format!("{{ threshold: 2, of: [{one}, {two}, {one}] }}"), "recipients.of[2]", "is listed twice"),
        (format!("{{ threshold: 2, of: [{one}, zebra] }}"), "recipients.of[1]", "is not an age public key"),
        (format!("{{ threshold: 2, of: [{}] }}", vec![recipient(); 17].join(", ")), "recipients.of", "more than 16"),
    ]);
}
