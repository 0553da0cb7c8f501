//! **What**: private keys in PEM, OpenPGP and PuTTY form, also cut, also with escaped line ends. **Invariants**: a block
//! without its end goes as far as its alphabet does; quotes between its lines stay, so that JSON stays JSON; at most
//! 64 KiB of a block is read, and none twice. **Not here**: certificates and public keys, which stay.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::scan::{Claims, Scan};
use super::ahead;
use super::values::contains;

/// Most bytes of a block.
const MOST: usize = 64 << 10;

/// Where a block ends, where the next one begins, and what stands around their titles: made once, as making them costs more than a look.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("END "));
static NEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("-----BEGIN "));
static DASHES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("----"));

/// A PEM block whose `BEGIN` is at `at`; gives where it ends.
pub(super) fn pem(scan: &Scan<'_>, at: usize, rule: u16, claims: &mut Claims) -> usize {
    let head = scan.bytes(at.saturating_sub(5)..at);
    if head != b"-----" && !head.ends_with(b"---- ") {
        return at;
    }
    let start = at - 5;
    let title = ahead(scan, at, 64);
    let title_end = title.windows(4).position(|part| part == b"----").unwrap_or(title.len());
    if !contains(title.get(..title_end).unwrap_or_default(), b"PRIVATE KEY") {
        return at;
    }
    let from = at + title_end;
    let rest = ahead(scan, from, MOST);
    // one that was cut ends where the next begins: its end is not this one's
    let rest = NEXT.find(rest).and_then(|next| rest.get(..next)).unwrap_or(rest);
    let behind = from + rest.iter().take_while(|byte| **byte == b'-').count();
    let end = END.find(rest).and_then(|end| {
        let marks = rest.get(end..).unwrap_or_default().windows(4).take(80).position(|part| part == b"----")?;
        let dashes = rest.iter().skip(end + marks).take_while(|byte| **byte == b'-').count();
        Some(from + end + marks + dashes)
    });
    let end =
        end.unwrap_or_else(|| behind + rest.iter().skip(behind - from).take_while(|byte| in_block(**byte)).count());
    pieces(scan, start..end, rule, claims);
    end
}

/// Base64, blanks, escapes, and the letters of headers such as `Proc-Type: 4,ENCRYPTED`.
fn in_block(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=\\ \t\r\n:,.-*_@()".contains(&byte)
}

/// A block may stand in one string or be a list of strings: each line between quotes goes by itself.
fn pieces(scan: &Scan<'_>, block: Range<usize>, rule: u16, claims: &mut Claims) {
    let bytes = scan.bytes(block.clone());
    let mut at = block.start;
    for part in bytes.split(|byte| b"\"'`".contains(byte)) {
        let trimmed = part.iter().rev().take_while(|byte| **byte == b'\\').count();
        let kept = part.get(..part.len() - trimmed).unwrap_or_default();
        let token = kept.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        let plain = kept.iter().all(|byte| in_block(*byte) && !b"@()".contains(byte));
        if plain && token >= 8 && has_body(kept.trim_ascii()) && token * 2 > kept.len() {
            let blanks = kept.len() - kept.trim_ascii_start().len();
            claims.add(scan, rule, at + blanks..at + kept.trim_ascii_end().len());
        }
        at += part.len() + 1;
    }
}

/// Anything but the lines that begin and end a block.
fn has_body(part: &[u8]) -> bool {
    let mut lines = Dashes(part);
    let letters = |line: &[u8]| line.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    lines.any(|line| !contains(line, b"PRIVATE KEY") && letters(line) >= 4)
}

/// What stands between runs of five dashes.
struct Dashes<'a>(&'a [u8]);

impl<'a> Iterator for Dashes<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().take_while(|byte| **byte == b'-').count();
        let rest = self.0.get(start..).filter(|rest| !rest.is_empty())?;
        let end = DASHES.find(rest).unwrap_or(rest.len());
        let (line, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        Some(line)
    }
}

/// A PuTTY key file whose first word is at `at`: its private lines.
pub(super) fn putty(scan: &Scan<'_>, at: usize, rule: u16, claims: &mut Claims) -> usize {
    let rest = ahead(scan, at, MOST);
    let Some(private) = memchr::memmem::find(rest, b"Private-Lines:") else { return at };
    let from = at + private + 14;
    let count = ahead(scan, from, 8).iter().take_while(|byte| byte.is_ascii_digit() || **byte == b' ').count();
    let rest = scan.bytes(from + count..scan.text.len().min(at + MOST));
    let mac = memchr::memmem::find(rest, b"Private-MAC").unwrap_or(rest.len());
    let len =
        rest.iter().take(mac).take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=\\ \t\r\n".contains(byte)).count();
    let body = rest.get(..len).unwrap_or_default();
    let lead = escapes(body);
    let trailing = if body.ends_with(b"\\n") { 2 } else { 0 };
    let end = from + count + body.get(..len - trailing).unwrap_or_default().trim_ascii_end().len();
    claims.add(scan, rule, from + count + lead..end);
    end
}

/// Length of the line ends, escaped or not, that `body` starts with.
fn escapes(body: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match (body.get(at), body.get(at + 1)) {
            (Some(b'\r' | b'\n' | b' '), _) => at += 1,
            (Some(b'\\'), Some(b'n' | b'r')) => at += 2,
            _ => return at,
        }
    }
}
