//! Finds values that were split into adjacent items of a list, as streams and text splitters do:
//! `["ghp_16C7e42F", "292c6912E7…"]`. The search starts at a token prefix or an `@` in a string that ends within the
//! value and has no finding of its own; keys are not items. A finding is replaced in each string, and quotes stay.
//! Pieces separated by keys or objects are not joined.

use std::ops::Range;

use super::super::json::is_key;
use super::super::rule::{Class, Family};
use super::super::scan::{Claim, Claims, Scan};
use super::blobs::sorted;
use super::items::joint;
use super::pieces;
use super::view::View;
use crate::sets::Bytes;

/// Most bytes of a value on either side of its start.
const MOST: usize = 256;
/// Least bytes of a piece.
const LEAST: usize = 4;

/// Bytes of tokens and addresses.
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
            // Each string is read once, and so is each byte of a run without an end
            if at < done {
                continue;
            }
            run = token(scan, at, at.max(run));
            let Some(window) = around(scan, at, run) else { continue };
            done = window.end;
            // A finding in the first piece was complete there
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

/// End of the token from `at` on, which was read up to `from`; bounded.
fn token(scan: &Scan<'_>, at: usize, from: usize) -> usize {
    let bytes = scan.text.as_bytes();
    from + IN_TOKEN.leading(bytes.get(from..bytes.len().min(at + MOST)).unwrap_or_default())
}

/// The strings around the token from `at` to `end`, if it continues in the next one. A value that began in an earlier
/// string is not searched: `["import", "@pytest.fixture"]` and `["admin", "bob@example.com"]` would each become one
/// address.
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

/// Whether the string opened by the quote at `open` is a key; nothing before `from` closes it.
fn begins_key(bytes: &[u8], open: usize, from: usize) -> bool {
    let rest = bytes.get(from..bytes.len().min(from + MOST)).unwrap_or_default();
    let behind = bytes.get(open).and_then(|quote| rest.get(memchr::memchr(*quote, rest)? + 1..));
    behind.is_some_and(is_key)
}

/// Adds claims from a joined window, one for each piece. Only unambiguous findings count: secrets, e-mail addresses,
/// and those accepted by `pieces`.
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
