//! Finds AWS secrets, forty characters of base64, near a key id or behind the word `aws`. At most eight runs are
//! checked; parts of paths stay. Values of keys that name a secret are in `assign`.

use std::ops::Range;

use super::super::scan::{PrivateClaims, TextScan};
use super::value_checks::{ByteCounts, contains_any_case, is_wordlike};

/// Claims the AWS secret within three lines of the key id at `at`, or right behind the word `aws`.
pub(super) fn claim_aws_secret(
    scan: &TextScan<'_>,
    at: usize,
    (back, on): (usize, usize),
    rule: u16,
    claims: &mut PrivateClaims,
) {
    let runs = &scan.anchors.base64_runs;
    let first = runs.partition_point(|run| run.end + back < at);
    for run in runs.iter().skip(first).take_while(|run| run.start < at + on).take(8) {
        let look = ByteCounts::count(scan.bytes(run.clone()));
        let between = scan.bytes(run.end.min(at)..run.start.max(at));
        let lines = between.iter().filter(|byte| **byte == b'\n').count();
        let example = contains_any_case(scan.bytes(run.clone()), b"EXAMPLE");
        if run.len() == 40
            && !example
            && lines <= 3
            && look.upper > 2
            && look.lower > 2
            && look.digits > 0
            && look.joints == 0
            && scan.byte(run.end) != b'='
            && !is_path(scan, run)
            && !scan.contains_placeholder(&(run.end.min(at)..run.start.max(at)))
        {
            claims.add(scan, rule, run.clone());
        }
    }
}

/// Whether a run is part of a path: it has words between slashes, or is in a URL.
fn is_path(scan: &TextScan<'_>, run: &Range<usize>) -> bool {
    let text = scan.bytes(run.clone());
    let word = |piece: &&[u8]| piece.len() >= 4 && piece.iter().all(u8::is_ascii_alphabetic) && is_wordlike(piece);
    let words = text.split(|byte| *byte == b'/').filter(word).count();
    words > 1 || words == 1 && text.contains(&b'/') && b"./".contains(&scan.byte_before(run.start, 1))
}
