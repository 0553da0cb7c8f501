//! Finds e-mail addresses and UPI payment addresses, starting from each `@`. At most 64 characters before an `@`, 254
//! after it and 256 bytes before the address are read. A display name in front of an address is left in place. Encoded
//! addresses are found in `views`.

use std::ops::Range;

use super::action::WordAction;
use super::rule::RuleFamily;
use super::scan::TextScan;

/// Longest local part and longest domain (RFC 5321 §4.5.3.1).
const MAX_LOCAL_PART: usize = 64;
const MAX_DOMAIN: usize = 254;

/// Domains that occur only in names of algorithms.
const ALGORITHM_DOMAINS: &[&str] = &["openssh.com", "libssh.org"];

/// Claims every e-mail address and UPI address.
pub(super) fn claim_emails(scan: &TextScan<'_>) {
    let (email, upi) = (scan.rule(RuleFamily::Email), scan.rule(RuleFamily::Upi));
    let mut floor = 0;
    for at in &scan.anchors.at_signs {
        let found = email.and_then(|rule| Some((rule, match_address(scan, *at, floor)?)));
        let found = found.or_else(|| upi.and_then(|rule| Some((rule, match_payment_address(scan, *at, floor)?))));
        let Some((rule, range)) = found else { continue };
        floor = range.end;
        scan.claim(rule, range);
    }
}

/// Longest handle, and longest distance between the word "UPI" and an address.
const MAX_HANDLE: usize = 24;
const MAX_UPI_WORD_DISTANCE: usize = 24;

/// `name@okaxis`: a known handle, or any handle after a word for UPI.
fn match_payment_address(scan: &TextScan<'_>, at: usize, floor: usize) -> Option<Range<usize>> {
    let rest = scan.bytes(at + 1..at + 2 + MAX_HANDLE);
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let handle = rest.get(..len).filter(|handle| handle.len() > 1 && handle.len() <= MAX_HANDLE)?;
    let next = scan.byte(at + 1 + len);
    let continues = b"_-/@(:".contains(&next) || next == b'.' && scan.byte(at + 2 + len).is_ascii_alphanumeric();
    let start = local_part_start(scan, at, floor)
        .filter(|start| at - start > 1 && !continues && scan.byte_before(*start, 1) != b'/')?;
    let is_announced = || {
        scan.anchors.words_by_use.number_words.iter().any(|word| {
            word.action == WordAction::Number(RuleFamily::Upi)
                && word.end <= start
                && start - word.end <= MAX_UPI_WORD_DISTANCE
        })
    };
    let is_lower = handle.iter().all(u8::is_ascii_lowercase);
    (word_set!("numbers.upi_handles").contains(handle) || is_lower && is_announced()).then_some(start..at + 1 + len)
}

/// Returns the address around an `@`. Nothing before `floor` belongs to it.
fn match_address(scan: &TextScan<'_>, at: usize, floor: usize) -> Option<Range<usize>> {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    let before = scan.byte_before(at, 1);
    if !is_name_byte(scan.byte(at + 1)) || !(is_name_byte(before) || b"._%+-\"'".contains(&before)) {
        return None;
    }
    let end = domain_end(scan, at + 1)?;
    let start = local_part_start(scan, at, floor)?;
    let is_algorithm = ALGORITHM_DOMAINS.contains(&scan.part(at + 1..end));
    (!is_algorithm && !is_remote_login(scan, start, at, end) && end - start <= MAX_DOMAIN).then_some(start..end)
}

/// End of the domain that starts at `from`: up to the last label that may be a top-level domain.
fn domain_end(scan: &TextScan<'_>, from: usize) -> Option<usize> {
    let domain = code_pattern!(r"(?:[\w--_][\w-]*\.)+(?:(?i:xn--)[A-Za-z\d-]+|[\w--[\d_]]{2,})\b");
    let end = from + domain.match_len(scan.text_after(from, MAX_DOMAIN))?;
    let top = scan.bytes(from..end).rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    // A call such as `x@w.mean(…)` is not an address
    let is_call = scan.byte(end) == b'(' || scan.byte(end) == b'_';
    (!word_set!("notation.file_endings").contains(top) && !is_call).then_some(end)
}

/// Start of the local part that ends at `at`, not before `floor`.
fn local_part_start(scan: &TextScan<'_>, at: usize, floor: usize) -> Option<usize> {
    let text = scan.text.get(..at)?;
    if scan.byte_before(at, 1) == b'"' {
        return quoted_local_part_start(scan, at).filter(|start| *start >= floor);
    }
    let mut start = at;
    for (count, c) in text.chars().rev().enumerate() {
        // Latin, Greek and Cyrillic letters only: scripts without blanks would join the text before the address
        let is_letter = c.is_ascii_alphanumeric() || (('\u{c0}'..'\u{530}').contains(&c) && c.is_alphabetic());
        if count >= MAX_LOCAL_PART || start <= floor || !(is_letter || "._%+-'".contains(c)) {
            break;
        }
        start -= c.len_utf8();
    }
    start += Some(scan.escape_len(start)).filter(|len| start + len < at).unwrap_or(0);
    let name = scan.part(start..at);
    start += name.len() - name.trim_start_matches(['.', '\'', '-', '+']).len();
    let name = scan.part(start..at);
    let before = scan.byte_before(start, 1);
    let is_variable = before == b'$' || name.starts_with("%s") || name.starts_with("%(");
    let is_valid =
        !name.is_empty() && !name.contains("..") && !name.ends_with('.') && name.chars().any(char::is_alphanumeric);
    (is_valid && !is_variable).then_some(start)
}

/// `"john doe"@example.com`: position of the opening quote, unless it ends a JSON string before another one.
fn quoted_local_part_start(scan: &TextScan<'_>, at: usize) -> Option<usize> {
    let inner = scan.bytes(at.saturating_sub(MAX_LOCAL_PART + 1)..at.checked_sub(1)?);
    let len = inner.iter().rev().position(|byte| *byte == b'"')?;
    let start = at - 2 - len;
    let name = code_pattern!(r#""[A-Za-z\d](?:[A-Za-z\d ._+-]*[A-Za-z\d])?"@"#).match_len(scan.part(start..at + 1));
    let opens = b" \t\n:,<(;>".contains(&scan.byte_before(start, 1)) && scan.byte_before(start, 2) != b'"';
    (name.is_some() && opens).then_some(start)
}

/// Whether this is a remote of a program: `git@host:path`, or the end of `scheme://user:password@host`, whose
/// credentials another rule takes.
fn is_remote_login(scan: &TextScan<'_>, start: usize, at: usize, end: usize) -> bool {
    let name = scan.part(start..at);
    if ["git", "hg", "svn", "gitlab", "org-"].iter().any(|user| name.eq_ignore_ascii_case(user)) {
        let has_path = scan.byte(end) == b':' || (scan.byte(end) == b'/' && scan.byte_before(start, 1) == b'/');
        if has_path {
            return true;
        }
    }
    let before = scan.byte_before(start, 1);
    if before.is_ascii_whitespace() || b"\"'<(,;[>".contains(&before) {
        return false;
    }
    let head = scan.bytes(start.saturating_sub(256)..start);
    let Some(scheme_end) = head.windows(3).rposition(|three| three == b"://") else { return false };
    let authority = head.get(scheme_end + 3..).unwrap_or_default();
    let ends_authority = |byte: &u8| byte.is_ascii_whitespace() || b"/?#@\"'<>,;&".contains(byte);
    authority.contains(&b':') && !authority.iter().any(ends_authority)
}
