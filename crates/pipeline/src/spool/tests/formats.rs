//! Formats on disk: files of an earlier build open, files of a later one are refused.

use super::damage::{error, filled, on};
use super::*;

/// Pending records in the spool of each format, by consumer.
const LEFT: [(&str, &[&str]); 2] = [("otlp/a", &["second", "third"]), ("vault", &["key", "fragment"])];

/// Writes the spool of a format: some of it delivered, the rest pending in two segments.
fn write(folder: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let (spool, mut committer) = open(scratch.path(), 1 << 20, &[key(1)]).unwrap();
    let forward = |body: &'static str| record(RecordKind::Forward, &["otlp/a"], body);
    let sealed = |kind, body: &'static str| record(kind, &["vault"], body);
    let first = send(&spool, "acme", vec![forward("first"), sealed(RecordKind::Key, "key")]).unwrap();
    committer.step(STEP);
    spool.mark_done("otlp/a", &seqs(&first));
    send(&spool, "acme", vec![sealed(RecordKind::Fragment, "fragment"), forward("second")]).unwrap();
    assert!(committer.close());
    drop(spool);
    let (spool, committer) = open(scratch.path(), 1 << 20, &[key(1)]).unwrap();
    send(&spool, "other", vec![forward("third")]).unwrap();
    assert!(committer.close());
    std::fs::create_dir_all(folder).unwrap();
    for file in std::fs::read_dir(scratch.path()).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        if name.starts_with("seg-") || name == "progress" {
            std::fs::copy(file.path(), folder.join(name)).unwrap();
        }
    }
}

/// `tests/cases/spool` holds a spool of each format that ever existed, as the build of its time wrote it. Each must
/// open, with all pending and no delivered records. A new format needs a new one beside them: `TOLLGATE_UPDATE=1 cargo
/// test -p pipeline spools_of_every_format`.
#[test]
fn spools_of_every_format_open() {
    let root = fixtures::at("tests/cases/spool");
    let newest = root.join(format!("v{}", super::super::record::VERSION));
    if ::config::env::var("TOLLGATE_UPDATE").is_some() && !newest.exists() {
        write(&newest);
    }
    assert!(newest.exists(), "{} is missing: run with TOLLGATE_UPDATE=1 and keep the older ones", newest.display());
    for kept in std::fs::read_dir(root).unwrap().map(Result::unwrap) {
        let scratch = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(kept.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), scratch.path().join(file.file_name())).unwrap();
        }
        let (spool, mut committer) = open(scratch.path(), 1 << 20, &[key(2), key(1)]).unwrap();
        for (consumer, left) in LEFT {
            assert_eq!(bodies(&spool, consumer), left, "{}", kept.path().display());
        }
        let more = send(&spool, "acme", vec![record(RecordKind::Forward, &["otlp/a"], "fourth")]).unwrap();
        committer.step(STEP);
        assert!(seqs(&more)[0] > spool.read("vault", None, usize::MAX, 9).unwrap()[1].seq, "it goes on behind them");
    }
}

/// A future format must be refused, for segments and progress, and left unchanged.
#[test]
fn a_newer_format_is_refused() {
    for (name, at) in [("seg-0000000001.spool", 8), ("progress", 8)] {
        let (disk, _) = filled(1);
        assert!(disk.flip(name, at, 1), "{name}");
        let before = disk.contents(name);
        let error = error(on(&disk, &[key(1)]));
        assert!(error.to_string().contains("newer") && error.to_string().contains("format 3"), "{error}");
        assert_eq!(disk.contents(name), before);
    }
}
