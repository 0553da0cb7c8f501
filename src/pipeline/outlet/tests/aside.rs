//! Who is not taken holds up nobody else.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// An outlet over batches of the account `bad` and then of `good`, each a request of its own; the sink takes bad ones only when `mended`.
fn bad_then_good(ordered: bool, mended: &Arc<AtomicBool>) -> (Arc<Sink>, Rig, tempfile::TempDir) {
    let mended = Arc::clone(mended);
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, move |request| {
        let bad = &*request.account == "bad" && !mended.load(Ordering::SeqCst);
        (Duration::ZERO, if bad { retry(None, Reason::Denied) } else { Outcome::Accepted })
    });
    let settings = OutletSettings { merge_bytes: 1, linger: Duration::ZERO, ordered, ..OutletSettings::default() };
    let (mut rig, folder) = with(&sink, vec![Step::clear("clear")], settings);
    for account in ["bad", "good"] {
        for n in 0..10 {
            drop(rig.submit_as(account, spans(&[format!("{account}{n}")])));
            rig.commit();
        }
    }
    (sink, rig, folder)
}

/// An account whose data is always to come again must not keep the slots from others; with `ordered` nothing overtakes it. Each goes once
/// in the end. (Shown to fail: the four slots were taken, and nothing of the other account went.)
#[test]
fn an_account_that_is_not_taken_holds_up_no_other() {
    for ordered in [false, true] {
        let mended = Arc::new(AtomicBool::new(false));
        let (sink, mut rig, _folder) = bad_then_good(ordered, &mended);
        let good: BTreeSet<String> = (0..10).map(|n| format!("good{n}")).collect();
        rig.run_outlet(60 * SECOND, &going());
        let found: BTreeSet<String> = sink.all().into_iter().collect();
        assert_eq!(found, if ordered { BTreeSet::new() } else { good });
        let tried: BTreeSet<String> = sink.requests.lock().iter().flat_map(|request| names(&request.body)).collect();
        let bad = tried.iter().filter(|name| name.starts_with("bad")).count();
        assert_eq!(bad, if ordered { 1 } else { 4 }, "no more of one account than may go at once: {tried:?}");
        mended.store(true, Ordering::SeqCst);
        rig.run_outlet(120 * SECOND, &going());
        let mut all = sink.all();
        all.sort();
        assert_eq!(all.len(), 20, "{all:?}");
        all.dedup();
        assert_eq!(all.len(), 20, "each once");
        assert!(rig.waiting("x").is_empty());
    }
}

/// Whoever comes back waits for a slot: no more requests than `consumers` are on their way, however many wait aside.
#[test]
fn no_more_than_so_many_are_asked_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let asked = AtomicUsize::new(0);
    let (counted, top) = (Arc::clone(&now), Arc::clone(&most));
    let exporter = Sink::new("x", Trust::ThirdParty, 1 << 20, move |_| {
        // all fail at first, at different times, and take long
        let first = asked.fetch_add(1, Ordering::SeqCst);
        (3 * SECOND, if first < 40 { retry(None, Reason::Unavailable) } else { Outcome::Accepted })
    });
    let counting = Arc::new(Counting { inner: Arc::clone(&exporter), now: counted, most: top });
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(vec![Step::clear("clear")], vec![counting]);
    parts.outlets =
        OutletSettings { merge_bytes: 1, linger: Duration::ZERO, consumers: 2, ..OutletSettings::default() };
    let _ = exporter.clock.set(parts.clock.clone());
    let mut rig = parts.open(folder.path());
    for n in 0..12 {
        drop(rig.submit_as(&format!("account{}", n % 6), spans(&[format!("item{n}")])));
        rig.commit();
    }
    rig.run_outlet(600 * SECOND, &going());
    assert_eq!(exporter.all().len(), 12);
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!(now.load(Ordering::SeqCst), 0);
}

/// Counts requests on their way.
struct Counting {
    inner: Arc<Sink>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl crate::pipeline::Exporter for Counting {
    fn id(&self) -> &Arc<str> {
        self.inner.id()
    }

    fn trust(&self) -> Trust {
        self.inner.trust()
    }

    fn max_request_bytes(&self) -> usize {
        self.inner.max_request_bytes()
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let outcome = self.inner.send(request).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            outcome
        })
    }
}
