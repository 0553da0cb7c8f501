//! **What**: what code falls back to where the environment has no value: `process.env.TOKEN ?? "v"`, `getenv("TOKEN", "v")`,
//! `ENV['TOKEN'] || 'v'`. **Invariants**: at most [`MOST`] bytes of the line behind a key are read, and only where a read of the environment
//! begins the value. **Not here**: `${X:-v}`, whether the literal is secret (`assign`).

use std::ops::Range;

use super::super::pairs::{Pair, Sep};
use super::super::scan::Scan;
use super::values::Look;
use super::{ahead, calls};

/// Bytes of a line that are read.
const MOST: usize = 240;

/// What reads the environment, in small letters.
const READS: [&[u8]; 13] = [
    b"process.env",
    b"import.meta.env",
    b"os.environ",
    b"os.getenv",
    b"getenv(",
    b"system.getenv",
    b"env[",
    b"env.fetch",
    b"env.get",
    b"env(",
    b"deno.env",
    b"$_env",
    b"$env:",
];

/// Puts the literal behind a read of the environment in place of the value.
pub(super) fn take(scan: &Scan<'_>, pair: &mut Pair) {
    let assigned = matches!(pair.sep, Sep::Equals | Sep::Colon | Sep::Arrow);
    if pair.quote.is_some() || !assigned || !b"pigosednPIGOSEDN$(".contains(&scan.byte(pair.value.start)) {
        return;
    }
    let rest = ahead(scan, pair.value.start, MOST);
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
    let open = usize::from(line.first() == Some(&b'('));
    let head = line.get(open..).unwrap_or_default();
    if !READS.iter().any(|read| head.get(..read.len()).is_some_and(|head| head.eq_ignore_ascii_case(read))) {
        return;
    }
    // what only says that nothing is set is a word
    let mixed = |range: &Range<usize>| {
        let look = Look::at(line.get(range.clone()).unwrap_or_default());
        look.digits > 0 || look.marks > look.joints
    };
    if let Some(literal) = literal(line, open).filter(mixed) {
        pair.quote = Some(b'"');
        pair.value = pair.value.start + literal.start..pair.value.start + literal.end;
    }
}

/// The first literal behind `||`, `??`, `or`, `:` or a comma of a call, from `at` on.
fn literal(line: &[u8], mut at: usize) -> Option<Range<usize>> {
    let mut asked = false;
    while let Some(byte) = line.get(at) {
        let rest = line.get(at..).unwrap_or_default();
        let joint = match byte {
            b'"' | b'\'' | b'`' => {
                at = calls::string(line, at)?.1 + 1;
                continue;
            }
            b';' => return None,
            b'?' if rest.starts_with(b"? ") => {
                asked = true;
                0
            }
            b'|' | b'?' if rest.starts_with(b"||") || rest.starts_with(b"??") => 2,
            b' ' if rest.starts_with(b" or ") => 4,
            b':' if asked => 1,
            b',' => 1,
            _ => 0,
        };
        if joint > 0
            && let Some(found) = calls::quoted(line, at + joint)
        {
            return Some(found);
        }
        at += joint.max(1);
    }
    None
}
