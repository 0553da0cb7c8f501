//! The report shows every account's recipients, and fails where content could be opened by nobody.

use super::*;
use vault::recipients::PolicyRecipient;
use vault::store::probe::ProbeVerdict;

/// Accounts with the same recipients share a line; limits are shown; an account that nobody opens fails.
#[test]
fn recipients_are_shown_by_account() {
    let key = || age::x25519::Identity::generate().to_public();
    let (one, two) = (key(), key());
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    let policy = RecipientPolicy::new(vec![
        PolicyRecipient { key: one.clone(), accounts: names(&["acme", "globex"]), tenants: None },
        PolicyRecipient { key: two.clone(), accounts: names(&["acme", "initech"]), tenants: names(&["red"]) },
    ]);
    let accounts = BTreeSet::from(["acme", "globex", "initech", "umbrella", "tyrell"].map(str::to_owned));
    let checks = check_recipients(&policy, &accounts);
    let mut lines: Vec<_> =
        checks.iter().map(|check| (check.property.as_str(), check.verdict, check.answer.clone())).collect();
    lines.sort_by_key(|(property, ..)| property.to_string());
    let (holds, fails) = (ProbeVerdict::Holds, ProbeVerdict::Fails);
    assert!(
        lines
            == [
                ("content of account acme has recipients", holds, format!("{one}; {two} only tenants red")),
                ("content of account globex has recipients", holds, one.to_string()),
                ("content of account initech has recipients", fails, format!("{two} only tenants red")),
                ("content of accounts that no recipient names is refused", holds, "nobody opens them".to_owned()),
                ("content of accounts tyrell, umbrella has recipients", fails, "nobody".to_owned()),
            ],
        "{:?}",
        lines.iter().map(|(property, _, answer)| (property, answer)).collect::<Vec<_>>()
    );
    let together = RecipientPolicy::unlimited([one.clone(), two.clone()]).with_threshold(Some(2));
    let together = check_recipients(&together, &accounts);
    assert!(together.len() == 1 && together[0].verdict == ProbeVerdict::Holds);
    assert_eq!(together[0].answer, format!("2 together of {one}; {two}"));
    let everything = check_recipients(&RecipientPolicy::unlimited([one]), &accounts);
    assert!(everything.len() == 1 && everything[0].verdict == ProbeVerdict::Holds);
}
