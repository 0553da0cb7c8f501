//! Key rules outside JSON: `Name: John Smith` lines, YAML, forms, tables, XML, keyword arguments. The text read around
//! a key is bounded (`pairs`). Objects are in `json_tree`, SQL and CSV in `columns`.

use std::ops::Range;

use super::claim::{KeyedValue, claim_value};
use super::json_tree::ValueForm;
use super::private_values;
use super::table::{KeyCache, KeyMatch, KeyRule, SiblingEvidence};
use crate::addresses::address_parts::is_unit;
use crate::names::name_shape;
use crate::names::thing_names;
use crate::pairs::{self, PairSeparator};
use crate::rule;
use crate::scan::{PrivateClaims, TextScan};
use crate::sets::ByteSet;
use crate::validate::dates;

/// Most words before a key's last one that belong to it (`Date of Birth`).
const MAX_WORDS_BEFORE: usize = 3;

/// Claims the values of keys outside objects. `json_keys`: positions of keys found in objects, in order.
pub(super) fn claim_flat_keys(
    scan: &TextScan<'_>,
    json_keys: &[usize],
    cache: &mut KeyCache,
    claims: &mut PrivateClaims,
) {
    let text = scan.text.as_bytes();
    let (mut last_key, mut json_keys, mut lines) = (0..0, json_keys.iter().peekable(), LineCache::default());
    // The last key without the words before it, and its match
    let mut last_lookup = (0..0, None);
    for word in &scan.anchors.words_by_use.key_words {
        if word.start < last_key.end {
            continue;
        }
        let end = pairs::key_end(text, word.end);
        if !may_have_separator(scan, end) {
            continue;
        }
        let key = pairs::key_start(text, word.start)..end;
        if key == last_key {
            continue;
        }
        last_key = key.clone();
        // Keys are ordered like the words
        while json_keys.next_if(|start| **start < key.start).is_some() {}
        if json_keys.peek() != Some(&&key.start)
            && let Some((key, key_match)) = match_key(scan, key, cache, &mut last_lookup)
        {
            claim_key_value(scan, key, key_match, &mut lines, claims);
        }
    }
}

/// Results of reading a line that are shared by the keys on it.
#[derive(Default)]
struct LineCache {
    /// A part of a line that ends where something else begins; a line with many keys is read once.
    part: Range<usize>,
    pair_cache: pairs::PairReadCache,
}

impl LineCache {
    /// End of the part of a line that begins at `start`.
    fn line_part_end(&mut self, scan: &TextScan<'_>, start: usize) -> usize {
        if !self.part.contains(&start) {
            let line = pairs::line_range(scan.text.as_bytes(), start);
            self.part = start..start + part_end(scan.part(line));
        }
        self.part.end
    }
}

/// Whether a separator may follow a key; a cheap check before the complete one.
fn may_have_separator(scan: &TextScan<'_>, end: usize) -> bool {
    static BETWEEN: ByteSet = ByteSet::new(b" *\"'`\\\t]?");
    static SEPARATORS: ByteSet = ByteSet::new(b":=|>,(");
    let rest = scan.bytes(end..end + 8);
    // The end of a table cell or term
    let ends_cell = || [&b"</td>"[..], b"</th>", b"</dt>"].iter().any(|tag| rest.starts_with(tag));
    rest.get(BETWEEN.count_leading(rest)).is_some_and(|byte| SEPARATORS.contains(*byte) || *byte == b'<' && ends_cell())
}

/// Returns the key with or without the words before it, whichever some rule may accept.
fn match_key(
    scan: &TextScan<'_>,
    key: Range<usize>,
    cache: &mut KeyCache,
    last_lookup: &mut (Range<usize>, Option<KeyMatch>),
) -> Option<(Range<usize>, KeyMatch)> {
    let table = &scan.detector.keys;
    let mut find = |key: &Range<usize>| {
        let key_match = cache.find(table, scan.bytes(key.clone())).0;
        table
            .rules(key_match)
            .iter()
            .any(|rule| rule.is_allowed(key_match, SiblingEvidence::all()))
            .then_some(key_match)
    };
    let extended = extend_by_words(scan, &key);
    if extended.start < key.start
        && let Some(key_match) = find(&extended)
    {
        return Some((extended, key_match));
    }
    if scan.bytes(last_lookup.0.clone()) != scan.bytes(key.clone()) {
        *last_lookup = (key.clone(), find(&key));
    }
    last_lookup.1.map(|key_match| (key, key_match))
}

/// Extends the key by the words before it on its line.
fn extend_by_words(scan: &TextScan<'_>, key: &Range<usize>) -> Range<usize> {
    let head = scan.bytes(key.start.saturating_sub(40)..key.start);
    let mut start = key.start;
    let mut words = 0;
    let mut rest = head;
    while words < MAX_WORDS_BEFORE {
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

/// Claims the value of a key by the first of its rules that accepts it; `None` if no rule does.
fn claim_key_value(
    scan: &TextScan<'_>,
    key: Range<usize>,
    key_match: KeyMatch,
    lines: &mut LineCache,
    claims: &mut PrivateClaims,
) -> Option<()> {
    let pair = pairs::read_pair(scan.text.as_bytes(), key.clone(), &mut lines.pair_cache)?;
    let needs_capital = |rule: &KeyRule| {
        rule.needs_evidence() && matches!(rule.value_form, rule::KeyValueForm::Name | rule::KeyValueForm::Listed)
            || !rule.is_allowed(key_match, SiblingEvidence::all())
    };
    // A name begins with a capital letter
    let first_byte = scan.byte(pair.value.start);
    if first_byte.is_ascii()
        && !first_byte.is_ascii_uppercase()
        && scan.detector.keys.rules(key_match).iter().all(needs_capital)
    {
        return None;
    }
    let range = match (pair.quote, pair.sep) {
        (Some(_), PairSeparator::Compare | PairSeparator::Call | PairSeparator::Comma) => return None,
        (Some(_), _) | (None, PairSeparator::Cell | PairSeparator::Element) => pair.value.clone(),
        (None, PairSeparator::Equals | PairSeparator::Colon) => {
            let part_end =
                if pair.sep == PairSeparator::Colon { lines.line_part_end(scan, pair.value.start) } else { 0 };
            if pair.sep == PairSeparator::Colon {
                line_value(scan, pair.value.start, part_end)?
            } else {
                unquoted_range(scan, &pair)
            }
        }
        _ => return None,
    };
    let is_unquoted = pair.quote.is_none() && matches!(pair.sep, PairSeparator::Equals | PairSeparator::Colon);
    let kind = if pair.is_bare_json() { ValueForm::Bare } else { ValueForm::Text };
    let is_label = scan.byte(key.start).is_ascii_uppercase() && !matches!(pair.sep, PairSeparator::Equals);
    let text = scan.part(range.clone());
    for rule in scan.detector.keys.rules(key_match) {
        if !rule.is_allowed(key_match, SiblingEvidence::all())
            || (text.len() > private_values::LONGEST && !ends_before_other_text(rule.value_form))
        {
            continue;
        }
        // Without sibling keys, an ambiguous key such as `name` needs an unambiguous value
        let is_ambiguous = rule.needs_evidence();
        let is_private = match rule.value_form {
            rule::KeyValueForm::Name | rule::KeyValueForm::Listed if is_ambiguous => {
                (is_certain_name(text, is_label) || private_values::is_family_name_first(text))
                    && !thing_names::is_thing_name(scan, &range)
            }
            rule::KeyValueForm::Words | rule::KeyValueForm::Name if is_unquoted => {
                let is_form_field =
                    pair.sep == PairSeparator::Equals && scan.byte(key.end) == b'=' && scan.byte(key.end + 1) != b' ';
                let is_form_name = is_form_field
                    && text.starts_with(char::is_uppercase)
                    && text.chars().skip(1).all(char::is_lowercase);
                is_form_name || private_values::is_plain_name(text) || private_values::is_family_name_first(text)
            }
            rule::KeyValueForm::Street | rule::KeyValueForm::Any if is_unquoted => {
                let may_be_address =
                    text.starts_with(char::is_uppercase) || text.contains(|c: char| c.is_ascii_digit());
                !is_ambiguous && may_be_address && !text.contains(['(', ')', '_', '='])
            }
            _ => !is_ambiguous,
        };
        if is_private {
            let range = if is_unquoted { own_part(scan, range, rule.value_form, kind) } else { range };
            let value = KeyedValue { key_match, evidence: SiblingEvidence::all(), range, kind };
            claim_value(scan, &value, claims);
            return Some(());
        }
    }
    None
}

/// Whether a text is certainly a name. `has_label`: it follows a label that begins with a capital letter.
fn is_certain_name(text: &str, has_label: bool) -> bool {
    name_shape::read_name(text, 0).is_some_and(|name| {
        name.range.end == text.len()
            && (name.has_given_name || (has_label && name.word_count > 1 && !name.starts_with_common_word))
    })
}

/// The range of an unquoted value after `=`. In code it is one identifier; in forms and logs it may be several words.
fn unquoted_range(scan: &TextScan<'_>, pair: &pairs::KeyValuePair) -> Range<usize> {
    let read_end = scan.text.floor_char_boundary(scan.text.len().min(pair.value.start + MAX_LINE));
    let range = pair.line_range(scan.bytes(0..read_end));
    let line = scan.part(range.clone());
    // `first_name=John last_name=Smith`: ends before the next key
    match line.split_once('=') {
        None if !line.contains(['(', ';', '{', '&', ',']) => range,
        _ => include_call(scan, pair),
    }
}

/// An unquoted value; a call such as `datetime.date(1990, 3, 4)` is included whole.
fn include_call(scan: &TextScan<'_>, pair: &pairs::KeyValuePair) -> Range<usize> {
    let value = pair.value.clone();
    let bracket = memchr::memchr(b'(', scan.bytes(value.clone()));
    let rest = scan.bytes(value.end..value.end + MAX_CALL_END);
    let more_len = rest.iter().take_while(|byte| byte.is_ascii_digit() || b", ".contains(byte)).count();
    match bracket.is_some() && rest.get(more_len) == Some(&b')') {
        true => value.start..value.end + more_len + 1,
        false => value,
    }
}

/// A value after a colon: the rest of the line up to `end`, where something else begins.
fn line_value(scan: &TextScan<'_>, start: usize, end: usize) -> Option<Range<usize>> {
    let line = scan.part(start..scan.text.floor_char_boundary(end.min(start + MAX_LINE)));
    // `Name: Ann, Email: x` continues with the next label
    let comma = memchr::memchr(b',', line.as_bytes()).and_then(|_| line.find(", ")).filter(|comma| {
        line.get(comma + 2..)
            .is_some_and(|rest| rest.split([' ', ',']).take(3).any(|word| word.ends_with(':') || word.contains('=')))
    });
    let line = if scan.byte_before(start, 1) == b':' { first_field(line) } else { line };
    let text = comma.and_then(|comma| line.get(..comma)).unwrap_or(line).trim_end_matches([' ', ',', '.', ';', '*']);
    (!text.is_empty()).then(|| start..start + text.len())
}

/// The value right after `Key:` if further fields follow, as Go prints records (`Philippa LastName:McAllister}`).
fn first_field(line: &str) -> &str {
    let begins_field = |at: usize| {
        let name_len = line.get(at + 1..).unwrap_or_default().bytes().take_while(u8::is_ascii_alphanumeric).count();
        let after = line.as_bytes().get(at + 1 + name_len..at + 3 + name_len);
        // `12 Main Street Apt:4B`
        let is_unit_label = || line.get(at + 1..at + 1 + name_len).is_some_and(is_unit);
        name_len > 1 && !is_unit_label() && after.is_some_and(|after| after.starts_with(b":") && after != b": ")
    };
    let blank = line.match_indices(' ').take(8).map(|(at, _)| at).find(|at| begins_field(*at));
    let end = blank.or_else(|| line.find('}')).unwrap_or(line.len());
    line.get(..end).unwrap_or(line)
}

/// Most bytes after a value to the end of a call that it begins.
const MAX_CALL_END: usize = 32;
/// Most bytes of a line that are read for one value; more than the longest value.
const MAX_LINE: usize = private_values::LONGEST + 20;

/// The part of a line that is its first key's value; the whole line if that part would not be accepted.
fn own_part(scan: &TextScan<'_>, line: Range<usize>, form: rule::KeyValueForm, kind: ValueForm) -> Range<usize> {
    let own_range = line.start..line.start + own_part_len(scan.part(line.clone()), form);
    let is_value =
        own_range == line || private_values::private_part(scan.text, own_range.clone(), form, kind).is_some();
    if is_value { own_range } else { line }
}

/// Whether values of this form end where something else begins on their line.
fn ends_before_other_text(form: rule::KeyValueForm) -> bool {
    use rule::KeyValueForm::{Amount, Card, Code, Date, Digits, Phone};
    matches!(form, Amount | Card | Code | Date | Digits | Phone)
}

/// Length of the part of a line that belongs to its first key: `04/12/1987, MRN 00482913` continues with something else
/// at a comma, after a whole date, or at a word without digits that continues no date, extension or code.
fn own_part_len(line: &str, form: rule::KeyValueForm) -> usize {
    use rule::KeyValueForm::{Date, Phone};
    if !ends_before_other_text(form) {
        return line.len();
    }
    let (mut digits, mut start, mut end) = (0, 0, 0);
    for word in line.split(' ') {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let word_digits = count_digits(word);
        let is_code_word = |word: &str| word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let continues = match form {
            // No list has the months of every language
            Date => digits <= 3 || dates::month_of_name(bare).is_some() || matches!(bare, "" | "of" | "de" | "del"),
            Phone => matches!(bare, "" | "ext" | "x" | "extension"),
            _ => is_code_word(bare) && !word.ends_with(':'),
        };
        if digits > 0 && word_digits == 0 && !continues {
            break;
        }
        digits += word_digits;
        end = if word_digits > 0 || form != Date && !bare.is_empty() { start + word.len() } else { end };
        start += word.len() + 1;
        if form == Date && digits > 5 || form != Date && digits > 0 && word.ends_with([',', ';']) {
            break;
        }
    }
    if digits == 0 {
        return line.len();
    }
    let own = line.get(..end).unwrap_or(line).trim_end_matches([',', ';', ' ', '.']);
    // `(DOB: 1980-01-02)`: the bracket was opened before
    own.strip_suffix(')').filter(|inner| !inner.contains('(')).unwrap_or(own).len()
}

fn count_digits(word: &str) -> usize {
    word.bytes().filter(u8::is_ascii_digit).count()
}

/// Position in a line at which something else begins.
fn part_end(line: &str) -> usize {
    static FIRST_BYTES: ByteSet = ByteSet::new(b" ;\t*<\\.");
    let bytes = line.as_bytes();
    let begins_other = |at: usize| {
        matches!(
            bytes.get(at..).unwrap_or_default(),
            [b' ', b' ' | b'(', ..]
                | [b' ', b'|' | b'-', b' ', ..]
                | [b';' | b'.', b' ', ..]
                | [b'<', b'/', ..]
                | [b'<', b'b', b'r', ..]
                | [b'\t', ..]
                | [b'*', b'*', ..]
                | [b'\\', b'n', ..]
        )
    };
    bytes
        .iter()
        .enumerate()
        .position(|(at, byte)| FIRST_BYTES.contains(*byte) && begins_other(at))
        .unwrap_or(line.len())
}
