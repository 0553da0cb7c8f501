//! Finds mail addresses that are spelt out: `jane dot doe at example dot com`, `jane (at) example.com`. They hide an
//! address from harvesters but not from readers. Only if the user has chosen it; plain words need a word such as
//! `email_names` before them on the line. At most 160 bytes around an `at` are read. Ordinary addresses are in `email`.

use std::ops::Range;
use std::sync::LazyLock;

use super::rule::RuleFamily;
use super::scan::{PrivateClaims, TextScan};
use crate::wordlists;

/// Most bytes before and behind an `at` that may belong to an address.
const REACH: usize = 80;
/// Most bytes between an announcing word and an address.
const CONTEXT: usize = 48;
/// Words that announce an address.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("notation.spelled_email_cues").collect());

/// Claims every spelt address.
pub(super) fn claim_spelled_emails(scan: &TextScan<'_>, claims: &mut PrivateClaims) {
    let Some(rule) = scan.rule(RuleFamily::Email).filter(|_| scan.detector.options.spelled_emails) else { return };
    let mut floor = 0;
    for at in memchr::memchr2_iter(b'a', b'A', scan.text.as_bytes()) {
        if !scan.byte(at + 1).eq_ignore_ascii_case(&b't') {
            continue;
        }
        if let Some(range) = match_spelled_address(scan, at, floor) {
            floor = range.end;
            claims.add(scan, rule, range);
        }
    }
}

/// Returns the address around the `at` at position `at`.
fn match_spelled_address(scan: &TextScan<'_>, at: usize, floor: usize) -> Option<Range<usize>> {
    let floor = floor.max(at.saturating_sub(REACH)).min(at);
    let before = scan.widen_to_characters(floor..at);
    let behind = scan.widen_to_characters(at + 2..scan.text.len().min(at + REACH));
    let (before, behind) = (scan.part(before), scan.part(behind));
    let (local, open) = strip_opening(before)?;
    let domain = strip_closing(behind, open)?;
    let start = at - (before.len() - local.len()) - local_len(local)?;
    let (end, spelt) = domain_len(domain)?;
    let end = at + 2 + (behind.len() - domain.len()) + end;
    let head = scan.bytes(start.saturating_sub(CONTEXT)..start).to_ascii_lowercase();
    let line = head.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let told = WORDS.iter().any(|word| memchr::memmem::find(line, word.as_bytes()).is_some());
    (open.is_some() || (spelt && told)).then_some(start..end)
}

/// The text before an `at`, and its opening bracket.
fn strip_opening(before: &str) -> Option<(&str, Option<char>)> {
    match before.chars().next_back()? {
        open @ ('(' | '[' | '{') => Some((before.get(..before.len() - 1)?.trim_end_matches(' '), Some(open))),
        ' ' => Some((before.trim_end_matches(' '), None)),
        _ => None,
    }
}

/// The text behind an `at` and its closing bracket.
fn strip_closing(behind: &str, open: Option<char>) -> Option<&str> {
    let rest = match open {
        None => behind.strip_prefix(' ')?,
        Some('(') => behind.strip_prefix(')')?,
        Some('[') => behind.strip_prefix(']')?,
        Some(_) => behind.strip_prefix('}')?,
    };
    Some(rest.trim_start_matches(' '))
}

const DOTS: [&str; 9] = [" dot ", "(dot)", "[dot]", "{dot}", " (dot) ", " [dot] ", " DOT ", " [DOT] ", "."];

/// Length of the local part at the end of a text: words separated by dots.
fn local_len(text: &str) -> Option<usize> {
    let word = |text: &str| text.bytes().rev().take_while(|b| b.is_ascii_alphanumeric() || b"_+-".contains(b)).count();
    let mut len = word(text);
    while len > 0 {
        let rest = text.get(..text.len() - len)?;
        let Some(dot) = DOTS.iter().find(|dot| rest.ends_with(**dot)) else { break };
        let more = word(rest.get(..rest.len() - dot.len())?);
        if more == 0 {
            break;
        }
        len += dot.len() + more;
    }
    (len > 0).then_some(len)
}

/// Length of the domain at the start of a text, and whether one of its dots is spelt.
fn domain_len(text: &str) -> Option<(usize, bool)> {
    let word = |text: &str| text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count();
    let (mut len, mut spelt, mut dots, mut last) = (word(text), false, 0, 0..0);
    while len > 0 {
        let rest = text.get(len..)?;
        let Some(dot) = DOTS.iter().find(|dot| rest.starts_with(**dot)) else { break };
        let more = word(rest.get(dot.len()..)?);
        if more == 0 {
            break;
        }
        last = len + dot.len()..len + dot.len() + more;
        (len, spelt, dots) = (last.end, spelt || dot.len() > 1, dots + 1);
    }
    let top = text.get(last).unwrap_or_default();
    let is_top = (2..=24).contains(&top.len()) && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    (dots > 0 && is_top).then_some((len, spelt))
}
