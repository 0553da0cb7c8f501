//! **What**: values that were cut into items of a list that stand side by side: `["ghp_16C7e42F", "292c6912E7…"]`.
//! **Why**: streams and splitters cut texts where they like. **Invariants**: looked for only where a token with a
//! prefix or an `@` stands in a string that ends within it and holds no finding of its own; no key is a piece; what is
//! found is replaced in each string, its quotes stay. **Not here**: pieces that keys or objects part.

use std::ops::Range;

use super::super::json::is_key;
use super::super::rule::{Class, Family};
use super::super::scan::{Claim, Claims, Scan};
use super::blobs::sorted;
use super::items::joint;
use super::pieces;
use super::view::View;
use crate::sets::Bytes;

/// Most bytes of a value on either side of its beginning.
const MOST: usize = 256;
/// Least bytes of a piece.
const LEAST: usize = 4;

/// What tokens and addresses are made of.
static IN_TOKEN: Bytes = Bytes::of(b"-_.+/=@~").and_alnum();

pub(super) fn windows(
    scan: &Scan<'_>,
    fresh: &dyn Fn(Range<usize>) -> bool,
    claims: &Claims,
    out: &mut Vec<Range<usize>>,
) {
    let words = scan.anchors.by.tokens.iter().map(|word| word.at);
    let mut known: Option<Vec<Range<usize>>> = None;
    let mut each = |begins: &mut dyn Iterator<Item = usize>| {
        let (mut done, mut run) = (0, 0);
        for at in begins {
            // each string is read once, and of a run without an end each byte
            if at < done {
                continue;
            }
            run = token(scan, at, at.max(run));
            let Some(window) = around(scan, at, run) else { continue };
            done = window.end;
            // what was found in the first piece was whole there
            let known = known.get_or_insert_with(|| sorted(claims));
            let upto = known.partition_point(|range| range.start < run);
            let near = known.get(upto.saturating_sub(4)..upto).unwrap_or_default();
            let found = near.iter().any(|range| range.end > window.start);
            if !found && fresh(window.clone()) {
                out.push(window);
            }
        }
    };
    each(&mut words.into_iter());
    each(&mut scan.anchors.ats.iter().copied());
    pieces::windows(scan, fresh, out);
    out.sort_by_key(|window| window.start);
    out.dedup_by(|next, last| next.start < last.end);
}

/// Where what is a token from `at` up to `from` ends, or is longer than is looked at.
fn token(scan: &Scan<'_>, at: usize, from: usize) -> usize {
    let bytes = scan.text.as_bytes();
    from + IN_TOKEN.leading(bytes.get(from..bytes.len().min(at + MOST)).unwrap_or_default())
}

/// The strings around what begins at `at` and ends at `end`, if it goes on in the next one. One that began in the
/// string before is not looked for: `["import", "@pytest.fixture"]` and `["admin", "bob@example.com"]` would each be
/// one address.
fn around(scan: &Scan<'_>, at: usize, mut end: usize) -> Option<Range<usize>> {
    let bytes = scan.text.as_bytes();
    let mut joined = 0;
    while let Some(next) = joint(bytes, end).filter(|_| joined < 8) {
        let behind = token(scan, next, next);
        if behind < next + LEAST || begins_key(bytes, next - 1, behind) {
            break;
        }
        end = behind;
        joined += 1;
    }
    if joined == 0 {
        return None;
    }
    let start = at - IN_TOKEN.trailing(bytes.get(at.saturating_sub(MOST)..at).unwrap_or_default());
    (end > start + 2 * LEAST).then_some(start..end)
}

/// Whether the string that the quote at `open` opens is a key; nothing up to `from` closes it.
fn begins_key(bytes: &[u8], open: usize, from: usize) -> bool {
    let rest = bytes.get(from..bytes.len().min(from + MOST)).unwrap_or_default();
    let behind = bytes.get(open).and_then(|quote| rest.get(memchr::memchr(*quote, rest)? + 1..));
    behind.is_some_and(is_key)
}

/// Adds claims on what a window says, piece by piece: what was cut has a shape that leaves no doubt, or is none.
pub(crate) fn put(
    scan: &Scan<'_>,
    window: &Range<usize>,
    view: &View,
    found: impl Iterator<Item = Claim>,
    claims: &mut Claims,
) {
    for claim in found {
        let rule = scan.detector.rules.get(usize::from(claim.rule));
        let sure = match scan.part(window.clone()).ends_with(']') {
            true => pieces::is_sure(scan, window, view, &claim),
            false => rule.is_some_and(|rule| rule.class == Class::Secret || rule.family == Some(Family::Email)),
        };
        if !sure {
            continue;
        }
        for range in view.pieces(&claim.range) {
            if scan.bytes(range.clone()).iter().any(u8::is_ascii_alphanumeric) {
                claims.add(scan, claim.rule, range);
            }
        }
    }
}
