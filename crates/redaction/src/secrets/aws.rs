//! Finds AWS secrets, forty characters of base64, near a key id or after the word `aws`. At most eight runs are
//! checked; parts of paths stay. Values of keys that name a secret are in `assign`.

use std::ops::Range;

use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::byte_counts::ByteCounts;
use super::value_facts::contains_any_case;
use super::word_score::is_words;

/// Claims the AWS secret within three lines and `reach` bytes (before and after) of `at`, where a key id or the word
/// `aws` is.
pub(super) fn claim_aws_secret(scan: &TextScan<'_>, at: usize, reach: (usize, usize)) {
    let runs = &scan.anchors.base64_runs;
    let first_index = runs.partition_point(|run| run.end + reach.0 < at);
    for run in runs.iter().skip(first_index).take_while(|run| run.start < at + reach.1).take(8) {
        let counts = ByteCounts::count(scan.bytes(run.clone()));
        let between = scan.bytes(run.end.min(at)..run.start.max(at));
        let line_breaks = between.iter().filter(|byte| **byte == b'\n').count();
        let is_example = contains_any_case(scan.bytes(run.clone()), b"EXAMPLE");
        if run.len() == 40
            && !is_example
            && line_breaks <= 3
            && counts.upper > 2
            && counts.lower > 2
            && counts.digits > 0
            && counts.joints == 0
            && scan.byte(run.end) != b'='
            && !is_path(scan, run)
            && !scan.contains_placeholder(&(run.end.min(at)..run.start.max(at)))
        {
            scan.claim_for(RuleFamily::AwsSecret, run.clone());
        }
    }
}

/// Whether a run is part of a path: it has words between slashes, or is in a URL.
fn is_path(scan: &TextScan<'_>, run: &Range<usize>) -> bool {
    let content = scan.bytes(run.clone());
    let is_word = |piece: &&[u8]| piece.len() >= 4 && piece.iter().all(u8::is_ascii_alphabetic) && is_words(piece);
    let word_count = content.split(|byte| *byte == b'/').filter(is_word).count();
    word_count > 1 || word_count == 1 && content.contains(&b'/') && b"./".contains(&scan.byte_before(run.start, 1))
}
