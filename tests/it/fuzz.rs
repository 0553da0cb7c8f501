//! The bodies of fuzz targets (`tests/fuzz/bodies`) over inputs that a seed has changed: short enough for every run. What is searched at
//! length is the nightly part `fuzz`.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tollgate::rng::{Rng as _, SeededRng};

#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../fuzz/bodies/config.rs"]
mod config;
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../fuzz/bodies/inflate.rs"]
mod inflate;
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../fuzz/bodies/spool.rs"]
mod spool;

/// One of the examples, changed in some places.
fn changed(dice: &SeededRng, examples: &[Vec<u8>]) -> Vec<u8> {
    let below = |n: usize| usize::try_from(dice.next() % n.max(1) as u64).unwrap();
    let mut out = examples[below(examples.len())].clone();
    for _ in 0..1 + below(4) {
        let (at, len) = (below(out.len()), 1 + below(12));
        let end = out.len().min(at + len);
        match dice.next() % 6 {
            0 => out.truncate(at),
            1 if at < out.len() => out[at] ^= 1 << (dice.next() % 8),
            2 => dice.fill(&mut out[at..end]),
            3 => drop(out.drain(at..end)),
            4 => {
                let piece = out[at..end].to_vec();
                let to = below(out.len());
                out.splice(to..to, piece);
            }
            _ => {
                let other = &examples[below(examples.len())];
                let from = below(other.len());
                let piece = other[from..other.len().min(from + 40)].to_vec();
                out.splice(at..end, piece);
            }
        }
    }
    out
}

/// Runs a body over so many inputs; the number of the one that fails is told.
fn smoke(count: u64, examples: &[Vec<u8>], body: impl Fn(&[u8])) {
    for seed in 0..count {
        let input = changed(&SeededRng::new(seed), examples);
        let run = catch_unwind(AssertUnwindSafe(|| body(&input)));
        assert!(run.is_ok(), "seed {seed}: {:?}", String::from_utf8_lossy(&input));
    }
}

/// Bodies in every coding, cut, flipped and spliced: no panic, never more than the cap.
#[test]
fn inflating() {
    let text = b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"n\"}]}]}]}".repeat(40);
    let mut gzip = flate2::write::GzEncoder::new(vec![1, 15, 3], flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(vec![2, 15, 3], flate2::Compression::fast());
    zlib.write_all(&text).unwrap();
    let zstd = [vec![3, 15, 3], zstd::encode_all(&text[..], 1).unwrap()].concat();
    let bomb = [vec![3, 12, 200], zstd::encode_all(&vec![0; 1 << 20][..], 1).unwrap()].concat();
    let plain = [vec![0, 15, 3], text].concat();
    let examples = [gzip.finish().unwrap(), zlib.finish().unwrap(), zstd, bomb, plain];
    examples.iter().for_each(|example| inflate::body(example));
    smoke(6_000, &examples, inflate::body);
}

/// Configurations, changed in some places: no panic, and a refusal says why.
#[test]
fn configurations() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let names = [
        "config/default.yaml",
        "config/examples/honeycomb.yaml",
        "config/examples/runs.yaml",
        "tests/cases/otelcol.yaml",
    ];
    let examples: Vec<_> = names.iter().map(|name| std::fs::read(format!("{root}{name}")).unwrap()).collect();
    smoke(250, &examples[1..], config::body);
    smoke(40, &examples[..1], config::body);
}

/// A spool whose files are changed: opening answers, and what is read is what was written.
#[test]
fn spools() {
    let folder = tempfile::tempdir().unwrap();
    let (filled, scratch) = (folder.path().join("filled"), folder.path().join("scratch"));
    spool::fill(&filled);
    let examples: Vec<Vec<u8>> =
        (0..16_u8).map(|file| vec![file, file * 3, file.wrapping_mul(41), file % 3, 0xff, 0, 1, file]).collect();
    smoke(400, &examples, |input| spool::body(&filled, &scratch, input));
}
