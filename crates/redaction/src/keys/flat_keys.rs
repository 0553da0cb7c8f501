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
    /// A range without a digit or mask character.
    without_digits: Range<usize>,
    /// A range that is also without characters of other notations.
    plain_words: Range<usize>,
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

    /// Whether the value at `start` may be a number, date or id: it has a digit or a mask character within the bytes
    /// that are read.
    fn may_be_code(&mut self, text: &[u8], start: usize) -> bool {
        static NOT_IN_CODES: ByteSet = ByteSet::new(b"0123456789*X").complement();
        !has_only_bytes(&NOT_IN_CODES, &mut self.without_digits, text, start)
    }

    /// Start of the value of `key`, if it consists of plain words after a colon and a blank, so that it can't be a
    /// number, date or id. No other notation has so many bytes without a quote, a bracket, or `=`.
    fn plain_words_start(&mut self, text: &[u8], key: &Range<usize>) -> Option<usize> {
        static IN_PLAIN_WORDS: ByteSet = ByteSet::new(b"0123456789*X=(\"'`").complement();
        let start = key.end + 2;
        let before = key.start.checked_sub(1).and_then(|at| text.get(at));
        let has_plain_start = matches!(text.get(key.end..)?, [b':', b' ', first, ..] if first.is_ascii_alphabetic());
        (has_plain_start
            && before != Some(&b'/')
            && has_only_bytes(&IN_PLAIN_WORDS, &mut self.plain_words, text, start))
        .then_some(start)
    }
}

/// Whether only bytes of a set follow `start`, as far as a value is read; `checked` caches the range checked so far.
fn has_only_bytes(set: &ByteSet, checked: &mut Range<usize>, text: &[u8], start: usize) -> bool {
    if !(checked.start..=checked.end).contains(&start) {
        *checked = start..start;
    }
    let rest = text.get(checked.end..text.len().min(start + MAX_LINE + MAX_CALL_END)).unwrap_or_default();
    let more = set.count_leading(rest);
    checked.end += more;
    more == rest.len()
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
    let are_codes = scan.detector.keys.rules(key_match).iter().all(|rule| ends_before_other_text(rule.value_form));
    if are_codes && let Some(start) = lines.plain_words_start(scan.text.as_bytes(), &key) {
        // The part of the line that was read is reused for keys after it
        lines.line_part_end(scan, start);
        return None;
    }
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
            if are_codes && !lines.may_be_code(scan.text.as_bytes(), pair.value.start) {
                return None;
            }
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
    let is_labelled =
        || is_label && private_values::is_labelled_name(text) || private_values::is_family_name_first(text);
    for rule in scan.detector.keys.rules(key_match) {
        if !rule.is_allowed(key_match, SiblingEvidence::all())
            || (text.len() > private_values::LONGEST && !may_be_cut(text, rule.value_form))
        {
            continue;
        }
        // Without sibling keys, an ambiguous key such as `name` needs an unambiguous value
        let is_ambiguous = rule.needs_evidence();
        let is_private = match rule.value_form {
            rule::KeyValueForm::Name | rule::KeyValueForm::Listed if is_ambiguous => {
                (is_labelled() || is_certain_name(text, is_label)) && !thing_names::is_thing_name(scan, &range)
            }
            rule::KeyValueForm::Words | rule::KeyValueForm::Name if is_unquoted => {
                let is_form_field =
                    pair.sep == PairSeparator::Equals && scan.byte(key.end) == b'=' && scan.byte(key.end + 1) != b' ';
                let is_form_name = is_form_field
                    && text.starts_with(char::is_uppercase)
                    && text.chars().skip(1).all(char::is_lowercase);
                is_form_name || private_values::is_plain_name(text) || is_labelled()
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

/// Whether the value of a long line may be its first words: one of its first bytes is a digit.
fn may_be_cut(line: &str, form: rule::KeyValueForm) -> bool {
    let head = line.as_bytes().get(..line.len().min(MAX_LEAD)).unwrap_or_default();
    // No early exit, so that it compiles to vector code
    ends_before_other_text(form) && head.iter().fold(false, |digit, byte| digit | byte.is_ascii_digit())
}

/// Bytes of a long line in which its first key's value must begin.
const MAX_LEAD: usize = 64;

/// Whether values of this form end where something else begins on their line.
fn ends_before_other_text(form: rule::KeyValueForm) -> bool {
    use rule::KeyValueForm::{Amount, Card, Code, Date, Digits, Phone};
    matches!(form, Amount | Card | Code | Date | Digits | Phone)
}

/// Most words without a digit before a number that still belongs to the key.
const MAX_WORDS_WITHOUT_DIGITS: usize = 8;

/// Length of the part of a line that belongs to its first key, by the form of values: `04/12/1987, MRN 00482913`
/// continues with something else.
fn own_part_len(line: &str, form: rule::KeyValueForm) -> usize {
    use rule::KeyValueForm::{Date, Phone};
    if !ends_before_other_text(form) {
        return line.len();
    }
    let (mut partial, mut start, mut end) = (PartialValue::default(), 0, 0);
    let mut words = line.split(' ').enumerate().peekable();
    while let Some((count, word)) = words.next() {
        if count > MAX_WORDS_WITHOUT_DIGITS && partial.digits == 0 {
            return line.len();
        }
        let bare = trim_punctuation(word);
        let digits = count_digits(word);
        let next_word = words.peek().map_or("", |(_, word)| word);
        let continues = bare.is_empty()
            || match form {
                Date => partial.continues_date(bare, next_word),
                Phone => ["ext", "x", "extension"].contains(&bare),
                _ => is_part_of_code(word, bare, next_word),
            };
        if digits == 0 && !continues && partial.digits > 0 {
            break;
        }
        partial.add(digits);
        // A slash, or a word between the numbers of a date, counts only with the word after it
        let only_joins = bare.is_empty() || (form == Date && digits == 0 && dates::month_of_name(bare).is_none());
        end = if only_joins { end } else { start + word.len() };
        start += word.len() + 1;
        let ends_item = word.ends_with([',', ';']) && form != Date;
        if (form == Date && partial.digits >= 6) || (ends_item && partial.digits > 0) {
            break;
        }
    }
    line.get(..end).map_or(line.len(), |own| {
        let own = own.trim_end_matches([',', ';', ' ', '.']);
        // `(DOB: 1980-01-02)`: the bracket was opened before
        own.strip_suffix(')').filter(|inner| !inner.contains('(')).unwrap_or(own).len()
    })
}

/// A word without surrounding punctuation.
fn trim_punctuation(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn count_digits(word: &str) -> usize {
    word.bytes().filter(u8::is_ascii_digit).count()
}

/// The parts of a value read so far.
#[derive(Default)]
struct PartialValue {
    digits: usize,
    /// Number of words with digits.
    numbers: usize,
    has_year: bool,
    /// Whether a name of a month was read.
    has_month: bool,
}

impl PartialValue {
    fn add(&mut self, digits: usize) {
        self.digits += digits;
        self.numbers += usize::from(digits > 0);
        self.has_year |= digits == 4;
    }

    /// Whether a word without digits belongs to a date: a month, or, while the date is incomplete, any one word between
    /// two numbers, because no list has the months of every language.
    fn continues_date(&mut self, bare: &str, next_word: &str) -> bool {
        if dates::month_of_name(bare).is_some() {
            self.has_month = true;
            return true;
        }
        let is_complete = self.has_year && (self.has_month || self.numbers > 1);
        let is_between_numbers = || (1..=4).contains(&count_digits(next_word)) && bare.chars().all(char::is_alphabetic);
        ["of", "de", "del", "den", "the"].contains(&bare) || (!is_complete && is_between_numbers())
    }
}

/// Whether a word without digits belongs to a code: a few capitals; four or five of them only before digits.
fn is_part_of_code(word: &str, bare: &str, next_word: &str) -> bool {
    let max_len = if count_digits(next_word) > 0 { 5 } else { 3 };
    bare.len() <= max_len && bare.bytes().all(|byte| byte.is_ascii_uppercase()) && !word.ends_with(':')
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
