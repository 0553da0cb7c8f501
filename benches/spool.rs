//! The durable queue on a real disk: group commit of 1, 16 and 64 waiting transactions, reading back, and a start.
//! `TOLLGATE_BENCH_DIR` chooses the volume (default: the system's temporary directory).

#![allow(clippy::expect_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kernel::clock::SystemClock;
use kernel::rng::{Rng, SeededRng, SystemRng};
use pipeline::RealDisk;
use pipeline::spool::{
    Committer, RecordKind, Spool, SpoolKey, SpoolRecord, SpoolSettings, Transaction, bytes_to_reserve,
};
use telemetry::Meter;

const BODY: usize = 64 << 10;
const LIMIT: u64 = 4 << 30;

fn scratch() -> tempfile::TempDir {
    let root = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(root).expect("a scratch directory")
}

fn open(path: PathBuf) -> (Arc<Spool>, Committer) {
    let settings = SpoolSettings::new(path, LIMIT);
    let key = SpoolKey::from_bytes([1; 32]);
    let clock = Arc::new(SystemClock::new());
    Spool::open(Arc::new(RealDisk), &settings, &[key], clock, Arc::new(SystemRng), &Meter::new()).expect("a spool")
}

fn noise() -> Bytes {
    let mut noise = vec![0; BODY];
    SeededRng::new(1).fill(&mut noise);
    noise.into()
}

fn enqueue(spool: &Spool, body: &Bytes) {
    let reservation = spool.reserve(bytes_to_reserve(1, body.len() as u64)).expect("room");
    let record = SpoolRecord { kind: RecordKind::Forward, holders: Arc::new([Arc::from("a")]), body: body.clone() };
    let transaction = Transaction { account: Arc::from("default"), records: vec![record] };
    spool.enqueue(transaction, reservation, Box::new(|result| assert!(result.is_ok())));
}

fn group_commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spool/commit");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for writers in [1_usize, 16, 64] {
        let scratch = scratch();
        let (spool, mut committer) = open(scratch.path().join("spool"));
        let body = noise();
        group.throughput(Throughput::Bytes((writers * BODY) as u64));
        group.bench_function(format!("{writers} waiting, 64 KiB each"), |bencher| {
            bencher.iter(|| {
                for _ in 0..writers {
                    enqueue(&spool, &body);
                }
                assert_eq!(committer.step(Duration::ZERO).committed, writers);
                spool.drop_pending("a", None);
            });
        });
    }
    group.finish();
}

fn read_and_recover(criterion: &mut Criterion) {
    const COUNT: usize = 4096;
    let scratch = scratch();
    let path = scratch.path().join("spool");
    let (spool, mut committer) = open(path.clone());
    let body = noise();
    for _ in 0..COUNT / 64 {
        for _ in 0..64 {
            enqueue(&spool, &body);
        }
        committer.step(Duration::ZERO);
    }
    let mut group = criterion.benchmark_group("spool/256 MiB");
    group.sample_size(10).throughput(Throughput::Bytes((COUNT * BODY) as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut after = None;
            loop {
                let stored = spool.read("a", after, 8 << 20, 1000).expect("readable records");
                let Some(last) = stored.last() else { break };
                after = Some(last.seq);
                black_box(stored.len());
            }
        });
    });
    drop((spool, committer));
    group.bench_function("start", |bencher| {
        bencher.iter_batched(|| (), |()| black_box(open(path.clone()).0.status().records), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, group_commit, read_and_recover);
criterion_main!(benches);
