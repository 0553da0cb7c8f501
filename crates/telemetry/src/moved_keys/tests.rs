//! Tests of the keys whose values moved to the vault.

use super::*;

/// Each key comes with the line that keeps it, which YAML reads back as that key; `other` has none.
#[test]
fn each_key_stands_with_the_line_that_keeps_it() {
    let meter = Meter::new();
    for (key, count) in [("team", 3), ("order.state", 7), ("a:b", 1), ("true", 2), ("other", 9)] {
        meter.counter(&names::VAULT_MOVED_VALUES, &[("processor", "vault"), ("key", key)]).increment(count);
    }
    meter.counter(&names::VAULT_MOVED_VALUES, &[("processor", "vault"), ("key", "never")]).increment(0);
    let of_profile = [("processor", "vault/b"), ("key", "patient.age"), ("rule", "privacy")];
    meter.counter(&names::VAULT_MOVED_VALUES, &of_profile).increment(4);
    let guessed = [("processor", "vault"), ("key", "app.input"), ("rule", "guess")];
    meter.counter(&names::VAULT_MOVED_VALUES, &guessed).increment(5);
    meter.gauge(&names::VAULT_PRIVACY, &[("processor", "vault/b"), ("profile", "strict")]).set(1.0);
    let summary = VaultSummary::from_meter(&meter);
    let all: Vec<(String, u64, Option<String>)> =
        summary.moved_keys.into_iter().map(|moved| (moved.key, moved.count, moved.keep_line)).collect();
    let line = |text: &str| Some(format!("vault: {{ labels: {{ keep: [{text}] }} }}"));
    assert_eq!(
        all,
        [
            ("other".to_owned(), 9, None),
            ("order.state".to_owned(), 7, line("order.state")),
            ("app.input".to_owned(), 5, None),
            ("patient.age".to_owned(), 4, Some("vault/b: { privacy: standard }".to_owned())),
            ("team".to_owned(), 3, line("team")),
            ("true".to_owned(), 2, line("'true'")),
            ("a:b".to_owned(), 1, line("'a:b'")),
        ]
    );
    let lines = ["vault: { labels: { keep: [order.state, team, 'true', 'a:b'] } }", "vault/b: { privacy: standard }"];
    assert_eq!(summary.keep_lines, lines, "one line keeps all");
}

/// Undeclared services come with one line that declares all of them, those that an earlier version knew included; a
/// service that a reload has declared does not.
#[test]
fn undeclared_services_stand_with_the_line_that_declares_them() {
    let meter = Meter::new();
    for (service, closed, value) in
        [("shop", "false", 1.0), ("crew", "true", 1.0), ("other", "false", 1.0), ("declared", "false", 0.0)]
    {
        let labels = [("processor", "vault"), ("service", service), ("closed", closed)];
        meter.gauge(&names::UNDECLARED_AGENT_SERVICES, &labels).set(value);
    }
    let summary = VaultSummary::from_meter(&meter);
    let all: Vec<(&str, bool)> =
        summary.undeclared_agents.iter().map(|agent| (&*agent.service, agent.is_closed)).collect();
    assert_eq!(all, [("crew", true), ("other", false), ("shop", false)]);
    assert_eq!(summary.agents_lines, ["vault: { agents: { services: [crew, shop] } }"]);
}

/// The profile in force is reported, not the one before a reload.
#[test]
fn the_profile_in_force_is_told() {
    let meter = Meter::new();
    let gauge = |profile: &str| meter.gauge(&names::VAULT_PRIVACY, &[("processor", "vault"), ("profile", profile)]);
    gauge("strict").set(1.0);
    gauge("strict").set(0.0);
    gauge("standard").set(1.0);
    assert_eq!(VaultSummary::from_meter(&meter).privacy_profiles, [("vault".to_owned(), "standard".to_owned())]);
}
