//! A store that is down for a working day, over the real spool on a simulated disk, in paused time.

use super::*;
use crate::erase::tests::Mortal;
use net::testing::tasks::TestTasks;
use pipeline::Reason;
use pipeline::spool::{Committer, Spool, SpoolKey, SpoolSettings, Transaction, bytes_to_reserve};
use pipeline::testing::sim_disk::SimDisk;
use vault::uploader::SpoolJournal;

/// The spool's limit, bytes.
const LIMIT: u64 = 4 << 20;
/// Time between two batches.
const PAUSE: Duration = Duration::from_secs(20);

/// A gateway's spool, on a disk whose every byte is counted.
struct Gateway {
    disk: SimDisk,
    spool: Arc<Spool>,
    committer: Committer,
    accepted: u64,
    refused: u64,
}

impl Gateway {
    fn open(disk: &SimDisk, site: &Site) -> Self {
        let settings = SpoolSettings::new("/spool".into(), LIMIT);
        let rng = Arc::new(SeededRng::new(disk.ops() + 1));
        let keys = [SpoolKey::from_bytes([3; 32])];
        let opened = Spool::open(Arc::new(disk.clone()), &settings, &keys, site.clock.clone(), rng, &Meter::new());
        let (spool, committer) = opened.expect("a spool");
        Self { disk: disk.clone(), spool, committer, accepted: 0, refused: 0 }
    }

    /// Starts a process over it: uploader and ticketer.
    fn begin(&self, site: &mut Site, store: &Arc<Mortal>, folder: &std::path::Path, epoch: u32) {
        let journal = SpoolJournal::new(self.spool.clone(), TestTasks::shared(), "vault".into(), folder);
        (site.writer, site.ticketer, site.uploader) =
            process(&Arc::new(journal), store, &site.clock, names(epoch), &site.signer);
        site.keys = KeyRing::new(Arc::new(site.policy()), 100);
    }

    /// Sends a client's batch: room is reserved before the ticket; without room the client is asked to retry.
    fn offer(&mut self, site: &mut Site) {
        let session = format!("s{}", site.sent % 7);
        match self.spool.reserve(bytes_to_reserve(6, 20 << 10)) {
            Err(reason) => {
                assert_eq!(reason, Reason::SpoolFull);
                self.refused += 1;
            }
            Ok(reservation) => {
                // as large, and as hard to compress, as agents' batches
                let text: String = (0..1500).map(|_| format!("{:016x}", site.rng.next())).collect();
                let records = site.made("default", &session, &text);
                self.spool.enqueue(Transaction { account: "default".into(), records }, reservation, Box::new(|_| {}));
                assert_eq!(self.committer.step(Duration::ZERO).committed, 1, "an OK");
                self.accepted += 1;
            }
        }
    }

    /// Runs until nothing is waiting, at most for a working day.
    async fn drained(&mut self, site: &mut Site) {
        for minute in 0..480 {
            let waiting = self.spool.read("vault", None, usize::MAX, usize::MAX).expect("read");
            if waiting.is_empty() {
                return;
            }
            if minute == 479 {
                let kinds: Vec<_> = waiting.iter().map(|stored| stored.kind).collect();
                panic!("{} records wait, {} bytes used: {kinds:?}", waiting.len(), self.disk.used());
            }
            self.pass(site, Duration::from_secs(61)).await;
        }
    }

    /// Advances the clock; the spool's limit must hold at every moment.
    async fn pass(&mut self, site: &mut Site, time: Duration) {
        site.clock.advance(time);
        for _ in 0..6 {
            site.uploader.step().await;
            self.committer.step(Duration::ZERO);
            assert!(self.disk.used() <= LIMIT, "{} bytes on the disk", self.disk.used());
        }
    }
}

/// Eight hours without a store: everything acknowledged is kept within the spool's limit, even across a crash; batches
/// without room are refused before their ticket, not lost; after the store returns, everything is uploaded, and nothing
/// is found.
#[tokio::test]
async fn a_store_that_is_dead_for_eight_hours() {
    let (mut site, folder) = (Site::new(5), tempfile::tempdir().expect("scratch"));
    let (disk, store) = (SimDisk::new(), Mortal::new(site.store.clone(), None));
    let mut gateway = Gateway::open(&disk, &site);
    gateway.begin(&mut site, &store, folder.path(), 1);
    for _ in 0..30 {
        gateway.offer(&mut site);
        gateway.pass(&mut site, PAUSE).await;
    }
    assert_eq!(gateway.refused, 0);
    store.live(Some(0));
    let before = site.store.0.lock().len();
    let dead = 8 * 3600 / PAUSE.as_secs();
    for n in 0..dead {
        gateway.offer(&mut site);
        gateway.pass(&mut site, PAUSE).await;
        if n == dead / 2 {
            // the machine stops in the middle of the outage
            let (accepted, refused) = (gateway.accepted, gateway.refused);
            drop(gateway);
            disk.kill();
            gateway = Gateway { accepted, refused, ..Gateway::open(&disk, &site) };
            gateway.begin(&mut site, &store, folder.path(), 2);
        }
    }
    assert_eq!(site.store.0.lock().len(), before, "it was dead");
    assert!(gateway.refused > 100, "the limit was never met: {} accepted", gateway.accepted);
    assert!(disk.used() > LIMIT / 2, "room was refused that is there: {} bytes used", disk.used());
    store.live(None);
    let refused = gateway.refused;
    gateway.drained(&mut site).await;
    for _ in 0..30 {
        gateway.offer(&mut site);
        gateway.pass(&mut site, PAUSE).await;
    }
    assert_eq!(gateway.refused, refused, "there is room again");
    gateway.drained(&mut site).await;
    let report = site.audit().await;
    // no digests were made during the outage, which is reported as a warning
    assert!(report.verified && report.finding_counts.keys().all(|code| *code == "late_digest"), "{}", report.text());
    let counts = &report.counts;
    assert_eq!((counts.leaves, counts.opened), (2 * gateway.accepted, gateway.accepted), "{}", report.text());
    assert!(gateway.disk.rule_breaks().is_empty(), "{:?}", gateway.disk.rule_breaks());
}
