use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::testing::engine::{Drafter, Sink, Step, Tally, attributes, sorted, spans};
use crate::testing::rig::{Parts, Rig, submission};
use crate::{Exporter, Processor, Trust, VerifiedIdentity};

fn rig(processors: Vec<Arc<dyn Processor>>) -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let parts = Parts::new(processors, vec![Sink::open("x", Trust::Internal) as Arc<dyn Exporter>]);
    (parts.open(folder.path()), folder)
}

fn partial(rejected: u64) -> Outcome {
    Outcome::Partial { rejected, reason: Reason::Quarantined }
}

fn fragments(rig: &Rig) -> Vec<String> {
    rig.waiting("vault").iter().map(|stored| String::from_utf8(stored.body.to_vec()).unwrap()).collect()
}

/// OK must follow the commit, and accepted data must wait for its exporter.
#[test]
fn ok_follows_the_commit() {
    let (mut rig, _folder) = rig(vec![Drafter::new("vault")]);
    let mut answer = rig.submit(spans(&["a", "b"]));
    assert_eq!((&mut answer).now_or_never(), None, "before the commit");
    assert_eq!(rig.commit().committed, 1);
    assert_eq!(answer.now_or_never(), Some(Outcome::Accepted));
    assert_eq!(rig.forwarded("x"), ["a", "b"]);
    assert_eq!(fragments(&rig), ["0000000001:a,b"]);
    let copy = crate::forward_label::ForwardLabel::split(&rig.waiting("x")[0].body).unwrap().1;
    assert_eq!(attributes(&copy)["reference"], "0000000001", "the ticket's number stands in the copy");
}

/// Empty requests, malformed ones and signals without a pipeline must be answered without a commit.
#[test]
fn some_answers_need_no_commit() {
    let (rig, _folder) = rig(vec![]);
    let now = |wire: Bytes| rig.submit(wire).now_or_never();
    assert_eq!(now(Bytes::new()), Some(Outcome::Accepted));
    assert_eq!(now(Bytes::from_static(b"\xff\xff")), Some(Outcome::Refused { reason: Reason::Malformed }));
    let door = rig.engine.inlet.for_receiver("otlp/other");
    let other = submission(spans(&["a"]), BytePermit::new());
    let other = Submission { receiver: "otlp/other".into(), ..other };
    assert!(!door.accepts_signal(Signal::Traces));
    assert_eq!(door.submit(other).now_or_never(), Some(Outcome::Refused { reason: Reason::NoPipeline }));
}

/// A processor's refusal must keep the batch back: *retry*, nothing stored, claims released.
#[test]
fn a_refusal_is_told_and_nothing_stored() {
    let (tally, picky) = (Tally::new("tally"), Step::picky("picky"));
    let (mut rig, _folder) = rig(vec![tally.clone(), picky.clone()]);
    let answer = rig.submit(spans(&["keep", "a"])).now_or_never();
    assert_eq!(answer, Some(Reason::SpoolFull.outcome()));
    assert!(rig.waiting("x").is_empty() && rig.waiting("vault").is_empty());
    assert!(picky.discarded.load(Ordering::SeqCst) > 0);
    assert_eq!(rig.put(spans(&["a"])), Outcome::Accepted);
    assert_eq!(tally.counted()["a"], 1, "the claim of the refused batch was released");
}

/// Items must be sealed to the auditors of their own pipelines' vault, whatever the order of the configuration; if
/// their pipelines have none, the items must be dropped and counted, not shown to the auditors of other pipelines.
#[test]
fn poison_goes_to_its_own_vault_alone() {
    let other: Vec<Arc<dyn Processor>> = vec![Drafter::new("vault/other"), Step::picky("picky/other")];
    for (own, other) in [(vec![Drafter::new("vault") as Arc<dyn Processor>], &other), (vec![], &other)] {
        let folder = tempfile::tempdir().unwrap();
        let sink = || vec![Sink::open("x", Trust::Internal) as Arc<dyn Exporter>];
        let keeps = !own.is_empty();
        let mut parts = Parts::new([own, vec![Step::picky("picky")]].concat(), sink());
        let mut first = Parts::new(other.clone(), sink()).pipelines.remove(0);
        (first.id, first.receivers) = ("traces/other".into(), vec!["otlp/other".into()]);
        parts.pipelines.insert(0, first);
        let mut rig = parts.open(folder.path());
        assert_eq!(rig.put(spans(&["a", "poison"])), partial(1));
        assert_eq!(rig.forwarded("x"), ["a"]);
        assert!(rig.waiting("vault/other").is_empty());
        let sealed: &[&str] = if keeps { &["0000000001:a", "0000000002:quarantine 1: poison"] } else { &[] };
        assert_eq!(fragments(&rig), sealed);
        let dropped = "tollgate_dropped_items_total{signal=\"traces\",reason=\"no_vault\"} 1";
        assert_eq!(rig.meter.render().contains(dropped), !keeps);
    }
}

/// If one pipeline of a route has a vault, its vault must take the poison items that it shares with pipelines without
/// one.
#[test]
fn one_vault_serves_the_pipelines_of_a_route() {
    let folder = tempfile::tempdir().unwrap();
    let sink = |id| vec![Sink::open(id, Trust::Internal) as Arc<dyn Exporter>];
    let mut parts = Parts::new(vec![Step::picky("picky")], sink("x"));
    let mut second = Parts::new(vec![Drafter::new("vault")], sink("y")).pipelines.remove(0);
    second.id = "traces/vaulted".into();
    parts.pipelines.push(second);
    let mut rig = parts.open(folder.path());
    assert_eq!(rig.put(spans(&["poison", "a"])), partial(1));
    assert_eq!((rig.forwarded("x"), rig.forwarded("y")), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert_eq!(fragments(&rig), ["0000000001:a", "0000000002:quarantine 1: poison"]);
}

/// Equal bytes after an OK must be forwarded again, marked, and not counted again.
#[test]
fn equal_requests_after_an_ok_are_marked_repeats() {
    let (seen, tally) = (Arc::new(parking_lot::Mutex::new(Vec::new())), Tally::new("tally"));
    let marks = Arc::clone(&seen);
    let look = Step::new("look", move |batch| {
        marks.lock().push(batch.origin.repeat);
        Ok(())
    });
    let (mut rig, _folder) = rig(vec![tally.clone(), look]);
    rig.put(spans(&["a"]));
    rig.put(spans(&["a"]));
    assert_eq!(*seen.lock(), [false, true]);
    assert_eq!(rig.forwarded("x"), ["a", "a"]);
    assert_eq!(tally.counted()["a"], 1);
}

/// A closed inlet must refuse new requests and let admitted ones finish.
#[tokio::test]
async fn a_closed_inlet_drains() {
    let (mut rig, _folder) = rig(vec![]);
    let inside = rig.submit(spans(&["a"]));
    rig.engine.inlet.close();
    assert_eq!(rig.submit(spans(&["b"])).await, Reason::ShuttingDown.outcome());
    let mut permit = BytePermit::new();
    let door = rig.engine.inlet.for_receiver("otlp");
    assert_eq!(door.charge(&mut permit, 1).await, Err(Reason::ShuttingDown.outcome()));
    assert!(rig.engine.inlet.wait_until_drained().now_or_never().is_none());
    rig.commit();
    assert!(rig.engine.inlet.wait_until_drained().now_or_never().is_some());
    assert_eq!(inside.await, Outcome::Accepted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is poison, every item is forwarded or sealed, none twice; no poison is forwarded, and each good item
    /// counts once.
    #[test]
    fn every_item_is_forwarded_or_sealed(bad in proptest::collection::vec(any::<bool>(), 1..40)) {
        let all: Vec<String> =
            bad.iter().enumerate().map(|(n, bad)| format!("{}{n}", if *bad { "poison" } else { "item" })).collect();
        let tally = Tally::new("tally");
        let (mut rig, _folder) = rig(vec![tally.clone(), Drafter::new("vault"), Step::picky("picky")]);
        let poison = bad.iter().filter(|bad| **bad).count() as u64;
        let wanted = if poison == 0 { Outcome::Accepted } else { partial(poison) };
        prop_assert_eq!(rig.put(spans(&all)), wanted);
        let forwarded = rig.forwarded("x");
        let sealed: Vec<String> = fragments(&rig)
            .iter()
            .filter_map(|fragment| fragment.split_once("quarantine ")?.1.split_once(": "))
            .flat_map(|(_, names)| names.split(',').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        prop_assert!(forwarded.iter().all(|name| name.starts_with("item")));
        let counted = tally.counted();
        prop_assert!(counted.len() == forwarded.len() && counted.values().all(|times| *times == 1));
        let line = format!("tollgate_quarantined_items_total{{signal=\"traces\"}} {poison}");
        prop_assert!(poison == 0 || rig.meter.render().contains(&line), "{}", line);
        prop_assert_eq!(sorted([forwarded, sealed].concat()), sorted(all));
    }
}

/// Requests that differ in account, verified identity, receiver, signal or body must have different fingerprints.
#[test]
fn fingerprints_differ() {
    let identity = |user: &str, tenant: &str, groups: &[&str]| {
        let id = |text: &str| Some(text.into()).filter(|_| !text.is_empty());
        let groups = groups.iter().map(|group| (*group).into()).collect();
        ClientIdentity::Verified(Arc::new(VerifiedIdentity { user: id(user), tenant: id(tenant), groups }))
    };
    let fingerprint_of = |identity: &ClientIdentity| fingerprint(("a", identity), "r", Signal::Traces, b"x");
    let identities = [
        ClientIdentity::Unverified,
        identity("ann", "", &[]),
        identity("bob", "", &[]),
        identity("", "ann", &[]),
        identity("ann", "", &["dev"]),
    ];
    let distinct: std::collections::HashSet<_> = identities.iter().map(fingerprint_of).collect();
    assert_eq!(distinct.len(), identities.len(), "equal bytes of two users are two requests");
    let fingerprint = |account, receiver, signal, body: &[u8]| {
        fingerprint((account, &ClientIdentity::Unverified), receiver, signal, body)
    };
    let base = fingerprint("a", "r", Signal::Traces, b"x");
    for (account, receiver, signal, body) in [
        ("b", "r", Signal::Traces, b"x"),
        ("a", "s", Signal::Traces, b"x"),
        ("a", "r", Signal::Logs, b"x"),
        ("a", "r", Signal::Traces, b"y"),
    ] {
        assert_ne!(base, fingerprint(account, receiver, signal, body));
    }
    assert_ne!(fingerprint("ab", "c", Signal::Traces, b""), fingerprint("a", "bc", Signal::Traces, b""));
}

/// All workers give a record and its copies one batch id, and every other record a different one. (If the id came from
/// the position only, the copy of a record that a lost worker had counted would be taken for a repeat, without a price.)
#[test]
fn a_record_names_its_batch() {
    let id = |account, receiver, position: &str| {
        record_batch_id(account, receiver, &SourceRecord { position: position.into(), id: None })
    };
    let copy = |position: &str, id| {
        record_batch_id("acme", "kafka", &SourceRecord { position: position.into(), id: Some([id; 16]) })
    };
    assert_eq!(copy("in/0/7", 1), copy("in/0/9", 1));
    assert_ne!(copy("in/0/7", 1), copy("in/0/7", 2));
    assert_eq!(id("acme", "kafka", "in/0/7"), id("acme", "kafka", "in/0/7"));
    for other in [("acme", "kafka", "in/0/8"), ("acme", "kafka/other", "in/0/7"), ("else", "kafka", "in/0/7")] {
        assert_ne!(id("acme", "kafka", "in/0/7"), id(other.0, other.1, other.2));
    }
}

/// Equal requests have one digest. One that differs in any byte, however long, or in account, receiver, signal or
/// sender has another one.
#[test]
fn only_equal_requests_have_equal_digests() {
    let none = ClientIdentity::Unverified;
    let somebody = VerifiedIdentity { user: Some("u".into()), ..VerifiedIdentity::default() }.into();
    for length in [0, 1, 15, 16, 17, 4096, 100_001] {
        let wire = vec![7_u8; length];
        let own = fingerprint(("a", &none), "otlp", Signal::Traces, &wire);
        assert_eq!(own, fingerprint(("a", &none), "otlp", Signal::Traces, &wire.clone()));
        let others = [
            fingerprint(("b", &none), "otlp", Signal::Traces, &wire),
            fingerprint(("a", &somebody), "otlp", Signal::Traces, &wire),
            fingerprint(("a", &none), "otlp/2", Signal::Traces, &wire),
            fingerprint(("a", &none), "otlp", Signal::Logs, &wire),
            fingerprint(("a", &none), "otlp", Signal::Traces, &[&wire[..], &[0]].concat()),
        ];
        assert!(others.iter().all(|other| *other != own), "{length}");
        for at in [0, length / 2, length.saturating_sub(1)].into_iter().filter(|_| length > 0) {
            let mut changed = wire.clone();
            changed[at] ^= 1;
            assert_ne!(own, fingerprint(("a", &none), "otlp", Signal::Traces, &changed), "{length}, {at}");
        }
    }
}
