//! Tests of label values: no account uses up the values that others need.

use super::*;

/// An account with thousands of names leaves room for the next ones, whose names are shown.
#[test]
fn one_account_leaves_room_for_the_next() {
    let values = LabelValues::default();
    for name in (0..5000).map(|n| format!("noise-{n}")) {
        for _ in 0..REPEATS_TO_SHOW {
            values.value("noisy", Some(&name));
        }
    }
    let shown = |account: &str, count: usize| {
        let names = (0..count).map(|n| format!("{account}-{n}"));
        names.filter(|name| values.value(account, Some(name)) != OTHER).count()
    };
    assert_eq!(values.0.lock().shown.len(), 210, "three quarters at most");
    assert_eq!((shown("second", 40), shown("third", 10), shown("fourth", 3)), (40, 10, 3));
    assert!(values.0.lock().shown.len() <= MAX_VALUES);
    assert_eq!(values.value("second", Some("noise-1")), "noise-1", "what is shown is shown for all");
}

/// Within an account, names that occur once do not keep out names that occur repeatedly.
#[test]
fn names_that_come_once_do_not_keep_out_others() {
    let values = LabelValues::default();
    for n in 0..3000 {
        values.value("a", Some(&format!("noise-{n}")));
    }
    assert_eq!(values.0.lock().shown.len(), SHOWN_AT_ONCE);
    let seen: Vec<&str> = (0..REPEATS_TO_SHOW).map(|_| values.value("a", Some("acme"))).collect();
    assert_eq!(
        (seen[0], seen[usize::from(REPEATS_TO_SHOW) - 1], values.value("a", Some("acme"))),
        (OTHER, "acme", "acme")
    );
}

/// One account's made-up names do not reset another account's counts: a repeated name is shown in the end, whatever
/// occurs in between.
#[test]
fn names_that_one_makes_up_cost_another_nothing() {
    let values = LabelValues::default();
    for n in 0..SHOWN_AT_ONCE {
        values.value("noisy", Some(&format!("noisy-{n}")));
        values.value("quiet", Some(&format!("quiet-{n}")));
    }
    let mut seen = "";
    for round in 0..REPEATS_TO_SHOW {
        for n in 0..MAX_COUNTED + 100 {
            values.value("noisy", Some(&format!("made-up-{round}-{n}")));
        }
        seen = values.value("quiet", Some("acme"));
    }
    assert_eq!(seen, "acme");
}

/// Texts that do not look like a name become `other`, missing ones `unattributed`.
#[test]
fn only_names_are_values() {
    let values = LabelValues::default();
    for text in ["jane@example.com", "move the money", "\"} 1", &"x".repeat(200)] {
        assert_eq!(values.value("a", Some(text)), OTHER);
    }
    assert_eq!((values.value("a", None), values.value("a", Some(""))), (UNATTRIBUTED, UNATTRIBUTED));
}
