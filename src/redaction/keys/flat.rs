//! **What**: key rules outside JSON: `Name: John Smith` lines, YAML, forms, tables, XML, keyword arguments. **Invariants**:
//! what is read around a key is bounded (`pairs`). **Not here**: objects (`json`), SQL and CSV (`columns`).

use std::ops::Range;

use super::json::Kind;
use super::table::{Evidence, Match};
use super::{Value, claim_value, values};
use crate::redaction::find::Action;
use crate::redaction::names::shape;
use crate::redaction::pairs::{self, Sep};
use crate::redaction::rule;
use crate::redaction::scan::{Claims, Scan};

/// Most words before a key's last one that are part of it (`Date of Birth`).
const WORDS: usize = 3;

/// Claims the values of keys that stand in no object. `seen` says whether a key was found there.
pub(super) fn claim(scan: &Scan<'_>, seen: &dyn Fn(usize) -> bool, named: &mut Vec<Range<usize>>, claims: &mut Claims) {
    let mut last = 0..0;
    for word in &scan.anchors.words {
        if word.action != Action::Key || word.at < last.end || scan.is_reserved(&(word.at..word.end)) {
            continue;
        }
        let key = pairs::key_around(scan.text.as_bytes(), word.at..word.end);
        if !separated(scan, key.end) || key == last {
            continue;
        }
        last = key.clone();
        if seen(key.start) {
            continue;
        }
        let whole = with_words(scan, &key);
        let found = scan.detector.keys.find(scan.bytes(whole.clone())).0;
        let counts = scan.detector.keys.rules(found).iter().any(|rule| rule.allowed(found, Evidence::all()));
        let (found, key) =
            if counts { (found, whole) } else { (scan.detector.keys.find(scan.bytes(key.clone())).0, key) };
        if found != Match::NONE {
            one(scan, key, found, named, claims);
        }
    }
}

/// Whether a separator may follow a key: a cheap look before a dear one.
fn separated(scan: &Scan<'_>, end: usize) -> bool {
    let rest = scan.bytes(end..scan.text.len().min(end + 8));
    rest.iter().find(|byte| !b" *\"'`\\\t]?".contains(byte)).is_some_and(|byte| b":=|>,(".contains(byte))
}

/// The key with the words of its line before it.
fn with_words(scan: &Scan<'_>, key: &Range<usize>) -> Range<usize> {
    let head = scan.bytes(key.start.saturating_sub(40)..key.start);
    let mut start = key.start;
    let mut words = 0;
    let mut rest = head;
    while words < WORDS {
        let Some(before) = rest.strip_suffix(b" ") else { break };
        let len = before.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if len == 0 {
            break;
        }
        words += 1;
        start -= len + 1;
        rest = before.get(..before.len() - len).unwrap_or_default();
    }
    start..key.end
}

fn one(
    scan: &Scan<'_>,
    key: Range<usize>,
    found: Match,
    named: &mut Vec<Range<usize>>,
    claims: &mut Claims,
) -> Option<()> {
    let pair = pairs::pair(scan.text.as_bytes(), key.clone())?;
    let range = match (pair.quote, pair.sep) {
        (Some(_), Sep::Compare | Sep::Call | Sep::Comma) => return None,
        (Some(_), _) | (None, Sep::Cell | Sep::Element) => pair.value.clone(),
        (None, Sep::Equals) => unquoted(scan, &pair),
        (None, Sep::Colon) => line(scan, &pair)?,
        _ => return None,
    };
    let bare = pair.is_bare_json();
    let unquoted = pair.quote.is_none() && matches!(pair.sep, Sep::Equals | Sep::Colon);
    let kind = if bare { Kind::Bare } else { Kind::Text };
    let label = scan.byte(key.start).is_ascii_uppercase() && !matches!(pair.sep, Sep::Equals);
    for rule in scan.detector.keys.rules(found) {
        if !rule.allowed(found, Evidence::all()) {
            continue;
        }
        // without keys beside it, a key that things have too needs a value that is beyond doubt
        let doubtful = rule.asks();
        let text = scan.part(range.clone());
        let name = shape::read(text, 0);
        let labelled = label && values::is_labelled(text);
        let sure = labelled
            || name.is_some_and(|name| {
                name.range.end == text.len() && (name.given || (label && name.words > 1 && !name.common))
            });
        let wanted = match rule.value {
            rule::KeyValue::Name | rule::KeyValue::Listed if doubtful => sure,
            rule::KeyValue::Words | rule::KeyValue::Name if unquoted => {
                let joined = pair.sep == Sep::Equals && scan.byte(key.end) == b'=' && scan.byte(key.end + 1) != b' ';
                let form =
                    joined && text.starts_with(char::is_uppercase) && text.chars().skip(1).all(char::is_lowercase);
                labelled || form || values::is_plain_name(text)
            }
            rule::KeyValue::Street | rule::KeyValue::Any if unquoted => {
                let begins = text.starts_with(char::is_uppercase) || text.contains(|c: char| c.is_ascii_digit());
                !doubtful && begins && !text.contains(['(', ')', '_', '='])
            }
            _ => !doubtful,
        };
        if wanted {
            let value = Value { found, beside: Evidence::all(), range, kind };
            claim_value(scan, &scan.detector.keys, &value, named, claims);
            return Some(());
        }
    }
    None
}

/// A value behind `=` without quotes: code has names there, not values; forms and logs have words.
fn unquoted(scan: &Scan<'_>, pair: &pairs::Pair) -> Range<usize> {
    let range = pair.line(scan.text.as_bytes());
    let line = scan.part(range.clone());
    // `first_name=John last_name=Smith`: up to the next key
    match line.split_once('=') {
        None if !line.contains(['(', ';', '{', '&', ',']) => range,
        _ => pair.value.clone(),
    }
}

/// A value behind a colon: the line, up to where something else begins.
fn line(scan: &Scan<'_>, pair: &pairs::Pair) -> Option<Range<usize>> {
    let range = pair.line(scan.text.as_bytes());
    let (start, line) = (range.start, scan.part(range));
    let ends = [" | ", "; ", "  ", "\t", "**", " - ", " (", "</", "<br", "\\n", ". "];
    let end = ends.iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
    // `Name: Ann, Email: x` goes on with the next label
    let comma = line.find(", ").filter(|comma| {
        line.get(comma + 2..)
            .is_some_and(|rest| rest.split([' ', ',']).take(3).any(|word| word.ends_with(':') || word.contains('=')))
    });
    let end = comma.map_or(end, |comma| comma.min(end));
    let text = line.get(..end)?.trim_end_matches([' ', ',', '.', ';', '*']);
    (!text.is_empty()).then(|| start..start + text.len())
}
