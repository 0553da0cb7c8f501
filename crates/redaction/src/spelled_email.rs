//! Finds mail addresses that are spelt out: `jane dot doe at example dot com`, `jane (at) example.com`. They hide an
//! address from harvesters but not from readers. Only if the user has chosen it; without brackets, a word such as
//! `email_names` must be before the address on its line. At most 160 bytes around an `at` are read. Ordinary addresses
//! are in `email`.

use std::ops::Range;

use super::rule::RuleFamily;
use super::scan::{PrivateClaims, TextScan};

/// Most bytes before and after an `at` that may belong to an address.
const REACH: usize = 80;
/// Most bytes between an announcing word and an address.
const CUE_REACH: usize = 48;

/// Claims every spelt address.
pub(super) fn claim_spelled_emails(scan: &TextScan<'_>, claims: &mut PrivateClaims) {
    let Some(rule) = scan.rule(RuleFamily::Email).filter(|_| scan.detector.options.spelled_emails) else { return };
    let mut claimed_end = 0;
    for at in memchr::memchr2_iter(b'a', b'A', scan.text.as_bytes()) {
        if !scan.byte(at + 1).eq_ignore_ascii_case(&b't') {
            continue;
        }
        if let Some(range) = match_spelled_address(scan, at, claimed_end) {
            claimed_end = range.end;
            claims.add(scan, rule, range);
        }
    }
}

/// Returns the address around the `at` at position `at`, after an earlier address that ends at `claimed_end`.
fn match_spelled_address(scan: &TextScan<'_>, at: usize, claimed_end: usize) -> Option<Range<usize>> {
    let lowest = claimed_end.max(at.saturating_sub(REACH)).min(at);
    let before = scan.widen_to_characters(lowest..at);
    let after = scan.widen_to_characters(at + 2..at + REACH);
    let (before, after) = (scan.part(before), scan.part(after));
    let (local, bracket) = strip_opening(before)?;
    let domain = strip_closing(after, bracket)?;
    let start = at - (before.len() - local.len()) - local_len(local)?;
    let (end, has_spelt_dot) = domain_len(domain)?;
    let end = at + 2 + (after.len() - domain.len()) + end;
    let head = scan.bytes(start.saturating_sub(CUE_REACH)..start).to_ascii_lowercase();
    let line = head.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let has_cue = word_list!("notation.spelled_email_cues")
        .iter()
        .any(|word| memchr::memmem::find(line, word.as_bytes()).is_some());
    (bracket.is_some() || (has_spelt_dot && has_cue)).then_some(start..end)
}

/// The text before an `at`, and its opening bracket.
fn strip_opening(before: &str) -> Option<(&str, Option<char>)> {
    match before.chars().next_back()? {
        open @ ('(' | '[' | '{') => Some((before.get(..before.len() - 1)?.trim_end_matches(' '), Some(open))),
        ' ' => Some((before.trim_end_matches(' '), None)),
        _ => None,
    }
}

/// The text after an `at` and its closing bracket.
fn strip_closing(after: &str, bracket: Option<char>) -> Option<&str> {
    let rest = match bracket {
        None => after.strip_prefix(' ')?,
        Some('(') => after.strip_prefix(')')?,
        Some('[') => after.strip_prefix(']')?,
        Some(_) => after.strip_prefix('}')?,
    };
    Some(rest.trim_start_matches(' '))
}

const DOTS: [&str; 9] = [" dot ", "(dot)", "[dot]", "{dot}", " (dot) ", " [dot] ", " DOT ", " [DOT] ", "."];

/// Length of the local part at the end of a text: words separated by dots.
fn local_len(text: &str) -> Option<usize> {
    let word_len =
        |text: &str| text.bytes().rev().take_while(|b| b.is_ascii_alphanumeric() || b"_+-".contains(b)).count();
    let mut len = word_len(text);
    while len > 0 {
        let rest = text.get(..text.len() - len)?;
        let Some(dot) = DOTS.iter().find(|dot| rest.ends_with(**dot)) else { break };
        let next_len = word_len(rest.get(..rest.len() - dot.len())?);
        if next_len == 0 {
            break;
        }
        len += dot.len() + next_len;
    }
    (len > 0).then_some(len)
}

/// Length of the domain at the start of a text, and whether one of its dots is spelt.
fn domain_len(text: &str) -> Option<(usize, bool)> {
    let word_len = |text: &str| text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count();
    let (mut len, mut has_spelt_dot, mut dots, mut last_part) = (word_len(text), false, 0, 0..0);
    while len > 0 {
        let rest = text.get(len..)?;
        let Some(dot) = DOTS.iter().find(|dot| rest.starts_with(**dot)) else { break };
        let next_len = word_len(rest.get(dot.len()..)?);
        if next_len == 0 {
            break;
        }
        last_part = len + dot.len()..len + dot.len() + next_len;
        (len, has_spelt_dot, dots) = (last_part.end, has_spelt_dot || dot.len() > 1, dots + 1);
    }
    let top_level = text.get(last_part).unwrap_or_default();
    let is_top_level = (2..=24).contains(&top_level.len()) && top_level.bytes().all(|byte| byte.is_ascii_alphabetic());
    (dots > 0 && is_top_level).then_some((len, has_spelt_dot))
}
