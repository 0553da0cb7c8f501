use futures_util::FutureExt;

use super::*;
use crate::testing::engine::{Drafter, Sink, Step, Tally, spans};
use crate::testing::rig::{Parts, Rig};
use crate::{Exporter, RecordDraft, Trust};

fn rig(processors: Vec<Arc<dyn Processor>>, spool_bytes: u64) -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(processors, vec![Sink::open("x", Trust::Internal) as Arc<dyn Exporter>]);
    parts.spool_bytes = spool_bytes;
    (parts.open(folder.path()), folder)
}

/// Tickets, appends and answers must have one order, whatever the number of batches in one commit. Effects must be
/// applied after the commit and not before.
#[test]
fn tickets_and_records_are_in_one_order() {
    let tally = Tally::new("tally");
    let (mut rig, _folder) = rig(vec![tally.clone(), Drafter::new("vault")], 16 << 20);
    let answers: Vec<_> = (0..20).map(|n| rig.submit(spans(&[format!("item{n}")]))).collect();
    assert!(tally.counted().is_empty());
    rig.commit();
    assert!(tally.counted().len() == 20 && tally.counted().values().all(|times| *times == 1));
    assert!(answers.into_iter().all(|answer| answer.now_or_never() == Some(Outcome::Accepted)));
    let fragments = rig.waiting("vault");
    for (n, fragment) in fragments.iter().enumerate() {
        assert_eq!(fragment.body, format!("{:010}:item{n}", n + 1));
    }
    assert!(fragments.is_sorted_by_key(|fragment| fragment.seq));
}

/// A full spool must be answered with *retry*, with nothing claimed and no number taken.
#[test]
fn a_full_spool_is_told() {
    let tally = Tally::new("tally");
    let (mut rig, _folder) = rig(vec![tally.clone(), Drafter::new("vault")], 1 << 20);
    let mut accepted = Vec::new();
    let refused = loop {
        let name = format!("item{:04}{}", accepted.len(), "x".repeat(200));
        let many: Vec<String> = (0..100).map(|n| format!("{name}{n}")).collect();
        let answer = rig.put(spans(&many));
        if answer != Outcome::Accepted {
            assert_eq!(answer, Reason::SpoolFull.outcome());
            break many;
        }
        accepted.push(many);
        assert!(accepted.len() < 1000, "the bound holds");
    };
    let line = r#"otelcol_exporter_enqueue_failed_spans_total{exporter="x"} 100"#;
    assert!(rig.meter.render().contains(line), "{}", rig.meter.render());
    assert_eq!(rig.waiting("vault").len(), accepted.len());
    assert!(refused.iter().all(|name| !tally.counted().contains_key(name)));
    rig.spool.drop_pending("x", None);
    rig.spool.drop_pending("vault", None);
    rig.checkpoints.write().unwrap();
    rig.commit();
    rig.commit();
    assert_eq!(rig.put(spans(&refused)), Outcome::Accepted, "room again, and the claims were free");
    assert_eq!(tally.counted()[&refused[0]], 1);
}

/// A ticketer that breaks the order of numbers must end acceptance for good. A draft without a ticketer must keep its
/// batch back: an incomplete plan must not lose content.
#[test]
fn a_draft_without_a_ticket_is_kept_back() {
    // The ticketer of a `Drafter` panics on the draft of another.
    for (processor, reason) in [("vault", Reason::SpoolFailed), ("nobody", Reason::Lost)] {
        let step = Step::new("orphan", move |batch| {
            batch.drafts.push(RecordDraft { processor: processor.into(), bytes: 1, body: Box::new(()) });
            Ok(())
        });
        let (mut rig, _folder) = rig(vec![Drafter::new("vault"), step], 16 << 20);
        assert_eq!(rig.put(spans(&["a"])), reason.outcome());
        let failure = (reason == Reason::SpoolFailed).then_some(reason);
        assert_eq!(*rig.engine.sequencer.watch_failure().borrow(), failure);
        if failure.is_some() {
            assert_eq!(rig.put(spans(&["b"])), reason.outcome());
        }
        assert!(rig.waiting("x").is_empty());
    }
}
