//! Runs the bodies of fuzz targets (`tests/fuzz/bodies`) over inputs that a seed mutates, short enough for every test
//! run. The nightly part `fuzz` searches at length; `crates/otlp/src/tests/fuzz.rs` runs the data plane's targets.

use std::io::Write as _;

use kernel::rng::{Rng, SeededRng};

#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../fuzz/bodies/config.rs"]
mod config;
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../fuzz/bodies/inflate.rs"]
mod inflate;
#[allow(unreachable_pub, reason = "shared with the library's own")]
#[path = "../fuzz/bodies/smoke.rs"]
mod smoke;
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../fuzz/bodies/spool.rs"]
mod spool;

use smoke::smoke;

/// Bodies in every coding, cut, flipped and spliced, cause no panic and never exceed the limit.
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

/// Mutated configurations cause no panic, and a refusal gives a reason.
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

/// With mutated spool files, opening the spool returns, and each record read is one that was written.
#[test]
fn spools() {
    let folder = tempfile::tempdir().unwrap();
    let (filled, scratch) = (folder.path().join("filled"), folder.path().join("scratch"));
    spool::fill(&filled);
    let examples: Vec<Vec<u8>> =
        (0..16_u8).map(|file| vec![file, file * 3, file.wrapping_mul(41), file % 3, 0xff, 0, 1, file]).collect();
    smoke(400, &examples, |input| spool::body(&filled, &scratch, input));
}
