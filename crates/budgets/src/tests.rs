//! Settings are refused with their place; periods follow the calendar; sums, warnings, grants and stops follow from
//! what was committed alone.

use std::sync::Arc;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use runs::RunOwner;

use crate::config::{self, Budget, BudgetsConfig, Period};
use crate::{
    Answer, BudgetRecord, Known, Ledger, Measure, Names, Question, RecordKind, Scope, Spending, Usage, Verdict,
};

const DAY: u64 = 86_400_000_000_000;
const HOUR: u64 = DAY / 24;
/// 2026-11-30 12:00 UTC, a Monday.
const NOW: u64 = 1_796_040_000_000_000_000;
const USD: i128 = 1_000_000_000_000_000_000;

fn checked(yaml: &str) -> Result<Arc<[Budget]>, String> {
    let parsed: BudgetsConfig = ::config::load::parse_data("test", yaml).map_err(|reason| format!("{reason:?}"))?;
    let mut problems = Vec::new();
    let budgets = config::check(&parsed, &mut problems);
    let texts: Vec<String> = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
    if texts.is_empty() { Ok(budgets.into()) } else { Err(texts.join("; ")) }
}

fn ledger(yaml: &str) -> Ledger {
    Ledger::new(&checked(yaml).unwrap_or_else(|why| panic!("{why}")))
}

fn names(user: &str) -> Names {
    Names { user: Some(user.to_owned()), ..Names::default() }
}

fn spend(usd: i128) -> Spending {
    Spending { atto_usd: usd * USD, model_calls: 1, ..Spending::default() }
}

fn ask(ledger: &Ledger, account: &str, names: Names, now: u64) -> Answer {
    ledger.answer(&Question { account: account.into(), names, ..Question::default() }, &Known::default(), now)
}

/// Must not regress: a mistake is refused at its place, with what to write.
#[test]
fn mistakes_are_refused() {
    let cases = [
        ("b: { scope: planet, amount: 1 USD }", "planet"),
        ("b: { scope: user, amount: '25' }", "budgets.b.amount: must be an amount above 0 with its currency"),
        ("b: { scope: user, amount: 25 EUR }", "budgets.b.amount"),
        ("b: { scope: user, amount: 0 USD }", "budgets.b.amount"),
        ("b: { scope: user, amount: -1 USD }", "budgets.b.amount"),
        ("b: { scope: user, amount: 1 USD, warn_at: [120%] }", "budgets.b.warn_at[0]"),
        ("b: { scope: user, amount: 1 USD, warn_at: [80] }", "budgets.b.warn_at[0]"),
        ("b: { scope: user, amount: 1 USD, warn_at: [NaN%] }", "budgets.b.warn_at[0]"),
        ("b: { scope: user, amount: 1 USD, time_zone: Mars/Base }", "budgets.b.time_zone"),
        ("b: { scope: user }", "budgets.b: needs a limit"),
        ("b: { scope: user, model_calls: 0 }", "budgets.b.model_calls: must be above 0"),
        ("b: { scope: user, iterations: 5 }", "budgets.b.iterations: needs the scope"),
        ("b: { scope: run, amount: 1 USD, period: day }", "budgets.b.period: must be `none`"),
        ("b: { scope: run, amount: 1 USD, match: { model: 'gpt-*' } }", "budgets.b.match.model"),
        ("'a b': { scope: run, amount: 1 USD }", "a name has 1 to 64"),
        ("b: { scope: run, amount: 1 USD, contact: \"a\\nb\" }", "budgets.b.contact"),
        ("b: { scope: run, amount: 1 USD }\nb: { scope: run, amount: 2 USD }", "duplicate"),
    ];
    for (yaml, expected) in cases {
        match checked(yaml) {
            Ok(_) => panic!("{yaml} is taken"),
            Err(text) => assert!(text.to_lowercase().contains(&expected.to_lowercase()), "{yaml}: {text}"),
        }
    }
}

/// Must not regress: a day has 23 to 25 hours where clocks change, and a week begins on Monday.
#[test]
fn periods_follow_the_calendar() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let hours = |period: Period, at: u64| {
        let (begin, end) = period.around(at, &zone);
        assert!(begin <= at && at < end, "{period:?}");
        (end - begin) / HOUR
    };
    // 2026-10-25 and 2026-03-29: the clock changes
    let (autumn, spring) = (1_792_922_400_000_000_000, 1_774_778_400_000_000_000);
    assert_eq!([hours(Period::Day, NOW), hours(Period::Day, autumn), hours(Period::Day, spring)], [24, 25, 23]);
    assert_eq!([hours(Period::Hour, autumn), hours(Period::Week, NOW), hours(Period::Month, NOW)], [1, 168, 720]);
    assert_eq!(Period::None.around(NOW, &zone), (0, u64::MAX));
    // Monday noon in UTC: the week began 13 hours before in Berlin
    assert_eq!(NOW - Period::Week.around(NOW, &zone).0, 13 * HOUR);
    let lord_howe = TimeZone::get("Australia/Lord_Howe").unwrap();
    assert_eq!(Period::Hour.around(NOW, &lord_howe).0 % HOUR, 0, "the offset is eleven hours in summer");
}

proptest! {
    /// Must not regress: any time lies in its period, in any zone, and the period is that of each of its times.
    #[test]
    fn each_time_has_one_period(at in 0_u64..4_000_000_000_000_000_000, within in 0.0_f64..1.0, zone in 0_usize..5, which in 0_usize..4) {
        let zones = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"];
        let zone = TimeZone::get(zones[zone]).unwrap();
        let period = [Period::Hour, Period::Day, Period::Week, Period::Month][which];
        let (begin, end) = period.around(at, &zone);
        prop_assert!(begin <= at && at < end);
        let other = begin + ((end - begin - 1) as f64 * within) as u64;
        prop_assert_eq!(period.around(other, &zone), (begin, end));
    }

    /// Must not regress: sums are those of the items, whatever their order and wherever a restart lies between them.
    #[test]
    fn sums_are_those_of_the_items(
        items in prop::collection::vec((0_usize..3, 0_usize..2, -5_i128..20, 0_u64..50), 1..60),
        cut in 0_usize..60,
    ) {
        let yaml = "d: { scope: user, period: day, amount: 100 USD }\nh: { scope: account, period: hour, model_calls: 9 }";
        let (users, accounts) = (["ada", "bob", "eve"], ["one", "two"]);
        let mut book = ledger(yaml);
        for (index, (user, account, usd, hour)) in items.iter().enumerate() {
            if index == cut {
                let saved = book.save();
                book = ledger(yaml);
                prop_assert!(book.restore(&saved).is_some());
            }
            book.add(accounts[*account], &names(users[*user]), spend(*usd), (NOW + hour * HOUR / 10, &RunOwner::Here));
        }
        for (user, name) in users.iter().enumerate() {
            for (account, named) in accounts.iter().enumerate() {
                let own = items.iter().filter(|item| (item.0, item.1) == (user, account));
                let expected: i128 = own.map(|item| item.2 * USD).sum();
                let used = ask(&book, named, names(name), NOW + HOUR).budgets;
                let found = used.iter().find(|used| used.budget == "d").unwrap();
                prop_assert_eq!(found.spent, expected);
            }
        }
    }
}

/// Must not regress: a clock that jumps forward and back finds the day's sum again, and a new day begins with nothing.
#[test]
fn a_clock_that_jumps_loses_no_sum() {
    let mut book = ledger("d: { scope: user, period: day, amount: 10 USD, action: deny }");
    book.add("a", &names("ada"), spend(12), (NOW, &RunOwner::Here));
    assert_eq!(ask(&book, "a", names("ada"), NOW).verdict, Verdict::Deny);
    book.add("a", &names("ada"), spend(1), (NOW + DAY, &RunOwner::Here));
    assert_eq!(ask(&book, "a", names("ada"), NOW + DAY).verdict, Verdict::Allow);
    assert_eq!(ask(&book, "a", names("ada"), NOW).verdict, Verdict::Deny);
    // the sum of the first day is not complete, and says so
    assert_eq!(
        [ask(&book, "a", names("ada"), NOW).known_since, ask(&book, "a", names("ada"), NOW + DAY).known_since],
        [NOW, 0]
    );
}

/// Must not regress: the most severe budget answers; shadow budgets only record; without a name `on_unknown` decides.
#[test]
fn the_most_severe_budget_answers() {
    let mut book = ledger(
        "n: { scope: account, amount: 1 USD }\n\
         a: { scope: user, amount: 2 USD, action: ask, contact: '#platform' }\n\
         s: { scope: account, amount: 3 USD, action: deny, shadow: true }\n\
         d: { scope: tenant, amount: 9 USD, action: deny, on_unknown: deny, match: { feature: 'triage*' } }",
    );
    book.add("a", &Names { tenant: Some("acme".into()), ..names("ada") }, spend(5), (NOW, &RunOwner::Here));
    let ada = Names { feature: Some("other".into()), ..names("ada") };
    let question = Question { account: "a".into(), names: ada, can_ask: true, ..Question::default() };
    let answer = book.answer(&question, &Known::default(), NOW);
    assert_eq!(answer.verdict, Verdict::Ask);
    assert_eq!(
        answer.reason,
        "You have used $5.00 of $2.00 (budget a). Allow this call only if the work should go on."
    );
    assert_eq!(answer.notes, vec!["Account a has used $5.00 of $1.00 (budget n).".to_owned()]);
    let mut records: Vec<_> = answer.records.iter().map(|one| (&*one.budget, one.kind.as_str(), one.shadow)).collect();
    records.sort_unstable();
    assert_eq!(records, vec![("a", "ask", false), ("s", "deny", true)]);
    let triage = Names { feature: Some("triage-2".into()), ..names("bob") };
    let answer = ask(&book, "a", triage, NOW);
    assert_eq!(answer.verdict, Verdict::Deny);
    assert!(answer.reason.contains("names no tenant"), "{}", answer.reason);
}

/// Must not regress: a grant adds to one key of one account until it ends.
#[test]
fn grants_are_for_one_key_and_end() {
    let mut book =
        ledger("d: { scope: user, period: day, amount: 10 USD, action: deny }\ne: { scope: user, tool_calls: 1 }");
    for user in ["ada", "bob"] {
        ["a", "b"].iter().for_each(|account| book.add(account, &names(user), spend(12), (NOW, &RunOwner::Here)));
    }
    let grant = BudgetRecord {
        kind: RecordKind::Grant,
        budget: String::new(),
        scope: Scope::User,
        key: "ada".into(),
        shadow: false,
        measure: Measure::Amount,
        spent: 0,
        limit: 5 * USD,
        repeats: 0,
        until: NOW + HOUR,
        granted_by: "op".into(),
        reason: "release".into(),
    };
    let shares = |book: &mut Ledger| book.take_crossings(NOW).iter().map(|one| one.share).collect::<Vec<_>>();
    assert_eq!(shares(&mut book), vec![10_000; 4]);
    assert!(book.holds("d", ("a", "ada"), 10_000, None, NOW) && !book.holds("d", ("a", "eve"), 10_000, None, NOW));
    book.apply("a", &grant, NOW);
    assert_eq!(shares(&mut book), vec![8000], "80 % of 15 USD");
    assert!(!book.holds("d", ("a", "ada"), 10_000, None, NOW) && book.holds("d", ("a", "ada"), 8000, None, NOW));
    book.add("a", &names("ada"), spend(4), (NOW, &RunOwner::Here));
    assert_eq!(shares(&mut book), vec![10_000]);
    book.add("a", &names("ada"), spend(-4), (NOW, &RunOwner::Here));
    let verdict = |account: &str, user: &str, now: u64| ask(&book, account, names(user), now).verdict;
    assert_eq!(verdict("a", "ada", NOW), Verdict::Allow);
    assert_eq!([verdict("a", "bob", NOW), verdict("b", "ada", NOW)], [Verdict::Deny; 2]);
    assert_eq!(verdict("a", "ada", NOW + HOUR), Verdict::Deny);
    let lines = book.lines(&[], NOW);
    let granted: Vec<_> = lines.iter().filter(|line| !line.grants.is_empty()).collect();
    assert_eq!(granted.iter().map(|line| (&*line.account, &*line.key)).collect::<Vec<_>>(), vec![("a", "ada"); 2]);
}

/// Must not regress: a record is read as it was written, and its span can't be read as another.
#[test]
fn records_come_back() {
    for kind in [RecordKind::Ask, RecordKind::Deny, RecordKind::Grant] {
        let record = BudgetRecord {
            kind,
            budget: "d".into(),
            scope: Scope::Session,
            key: "h-0123".into(),
            shadow: kind == RecordKind::Deny,
            measure: if kind == RecordKind::Ask { Measure::Minutes } else { Measure::Amount },
            spent: 10_020_000_000_000_000_001,
            limit: 10 * USD,
            repeats: if kind == RecordKind::Ask { 3 } else { 0 },
            until: 5,
            granted_by: "op".into(),
            reason: "because".into(),
        };
        let wire = BudgetRecord::encode(std::slice::from_ref(&record), &names("ada"), NOW, || [7; 16]);
        let Ok(payload) = otlp::Payload::parse(otlp::Signal::Traces, wire.into()) else { panic!("our own bytes") };
        let node = payload.items().next().unwrap();
        assert_eq!(BudgetRecord::read(&payload, node), Some(record));
    }
}

/// A record stands for the answers that have none of their own, whatever an upstream gateway says of their number.
#[test]
fn a_record_counts_its_repeats() {
    let mut book = ledger("d: { scope: user, period: day, amount: 10 USD, action: deny }");
    book.add("a", &names("ada"), spend(12), (NOW, &RunOwner::Here));
    let record = ask(&book, "a", names("ada"), NOW).records.remove(0);
    assert_eq!(record.repeats, 0);
    let mut stops = |repeats| {
        book.apply("a", &BudgetRecord { repeats, ..record.clone() }, NOW);
        book.lines(&[], NOW)[0].stops
    };
    assert_eq!([stops(0), stops(4), stops(u64::MAX)], [1, 6, u64::MAX]);
}

/// Must not regress: made-up users of one account take bounded room: not that of another account, not that of a key with
/// an alert, and the sums say that they are incomplete.
#[test]
fn made_up_keys_take_nobodys_room() {
    let mut book = ledger("d: { scope: user, amount: 10 USD, action: deny }");
    book.add("small", &names("ada"), spend(12), (NOW, &RunOwner::Here));
    book.add("large", &names("stopped"), spend(12), (NOW, &RunOwner::Here));
    for user in 0..60_000 {
        book.add("large", &names(&user.to_string()), spend(1), (NOW + 1, &RunOwner::Here));
        if user % 10_000 == 0 {
            assert!(book.holds("d", ("large", "stopped"), 10_000, None, NOW), "{user}");
        }
    }
    assert_eq!(ask(&book, "small", names("ada"), NOW).verdict, Verdict::Deny);
    let answer = ask(&book, "large", names("stopped"), NOW);
    assert_eq!((answer.verdict, answer.known_since), (Verdict::Deny, NOW + 1));
    assert!(book.save().len() < 10_000_000);
}

/// Must not regress: alerts are found again after a restart, with the time at which the threshold was reached, and by the
/// replica that reached it.
#[test]
fn thresholds_survive_a_restart() {
    let yaml = "d: { scope: user, period: day, amount: 10 USD, warn_at: [50%] }";
    let mut book = ledger(yaml);
    let other = RunOwner::Replica("b".into());
    book.add("a", &names("ada"), spend(6), (NOW, &RunOwner::Here));
    book.add("a", &names("ada"), spend(1), (NOW + 1, &other));
    book.add("a", &names("bob"), spend(12), (NOW + 2, &other));
    let mut restored = ledger(yaml);
    restored.restore(&book.save()).unwrap();
    for book in [&mut book, &mut restored] {
        let mut crossings = book.take_crossings(NOW + 9);
        crossings.sort_by_key(|one| one.at);
        let found: Vec<_> = crossings.iter().map(|one| (&*one.key, one.share, one.at, one.owner.replica())).collect();
        assert_eq!(found, vec![("ada", 5000, NOW, None), ("bob", 10_000, NOW + 2, Some("b"))]);
        assert!(book.take_crossings(NOW + 9).is_empty());
    }
    assert!(!book.holds("d", ("a", "ada"), 5000, None, NOW + DAY), "a new day");
}

/// Must not regress: a budget that must hold is not passed by work of which a matched name is not known.
#[test]
fn a_missing_matched_name_is_unknown() {
    let book =
        ledger("d: { scope: tenant, amount: 1 USD, action: deny, on_unknown: deny, match: { feature: triage } }");
    let acme = Names { tenant: Some("acme".into()), ..Names::default() };
    assert_eq!(ask(&book, "a", acme.clone(), NOW).verdict, Verdict::Deny);
    let other = Names { feature: Some("other".into()), ..acme };
    assert_eq!(ask(&book, "a", other, NOW).verdict, Verdict::Allow);
}

/// Must not regress: what a run used is compared as it is billed.
#[test]
fn runs_count_as_they_are_billed() {
    let used = Usage { atto_usd: 10 * USD, covered_atto_usd: 8 * USD, seconds: 119, ..Usage::default() };
    let known = Known { run: Some(used), session: None };
    let question = Question { names: Names { run: Some("r".into()), ..Names::default() }, ..Question::default() };
    for (yaml, verdict) in [
        ("r: { scope: run, amount: 5 USD, action: deny }", Verdict::Deny),
        ("r: { scope: run, amount: 5 USD, action: deny, match: { billing: api } }", Verdict::Allow),
        ("r: { scope: run, amount: 5 USD, action: deny, match: { billing: plan } }", Verdict::Deny),
        ("r: { scope: run, minutes: 2, action: deny }", Verdict::Allow),
        ("r: { scope: run, minutes: 1, action: deny }", Verdict::Deny),
    ] {
        assert_eq!(ledger(yaml).answer(&question, &known, NOW).verdict, verdict, "{yaml}");
    }
}
