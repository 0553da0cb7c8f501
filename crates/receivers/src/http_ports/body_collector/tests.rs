use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::*;
use kernel::clock::SystemClock;
use net::encoding::compress;
use pipeline::ByteBudget;
use pipeline::accounts::RateLimits;
use pipeline::testing::fake_engine::FakeEngine;

/// Counts work that was passed to a blocking thread.
#[derive(Default)]
struct Elsewhere(AtomicUsize);

impl Spawn for Elsewhere {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {}

    fn spawn_blocking(&self, _: &'static str, work: Box<dyn FnOnce() + Send + 'static>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        work();
    }
}

/// A body of very many members without output costs time, so it must not be inflated on the thread that serves
/// sockets.
#[tokio::test]
async fn empty_members_are_not_inflated_on_a_sockets_thread() {
    let second = Duration::from_secs(9);
    let limits = BodyLimits { wire: 1 << 24, inflated: 1 << 24, idle: second, total: second };
    let (budget, clock) = (ByteBudget::new(1 << 30, second), Arc::new(SystemClock::new()));
    let (_engine, inlet) = FakeEngine::start("otlp", budget, RateLimits::default(), clock);
    for encoding in [ContentEncoding::Gzip, ContentEncoding::Zstd] {
        let member = compress(encoding, &[Bytes::new()]).expect("compresses");
        for (members, away) in [(3, 0), (40_000, 1)] {
            let (tasks, slow_uploads) = (Elsewhere::default(), SlowUploads::default());
            let tally = BodyTally { inlet: &inlet, bytes: AtomicUsize::new(0) };
            let intake = BodyCollector { tally: &tally, tasks: &tasks, limits: &limits, slow_uploads: &slow_uploads };
            let mut body = Rope::default();
            body.push(member.repeat(members).into());
            let whole = intake.inflate(encoding, body, BytePermit::new()).await;
            assert!(whole.is_ok_and(|whole| whole.bytes.is_empty()));
            assert_eq!(tasks.0.load(Ordering::Relaxed), away, "{members} members of {}", encoding.as_str());
        }
    }
}
