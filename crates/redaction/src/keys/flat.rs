//! **What**: key rules outside JSON: `Name: John Smith` lines, YAML, forms, tables, XML, keyword arguments.
//! **Invariants**: what is read around a key is bounded (`pairs`). **Not here**: objects (`json`), SQL and CSV
//! (`columns`).

use std::ops::Range;

use super::claim::{Value, claim_value};
use super::json::Kind;
use super::table::{Evidence, KeyRule, Known, Match};
use super::values;
use crate::addresses::tail::is_unit;
use crate::names::shape;
use crate::names::things;
use crate::pairs::{self, Sep};
use crate::rule;
use crate::scan::{Claims, Scan};
use crate::sets::Bytes;
use crate::validate::dates;

/// Most words before a key's last one that are part of it (`Date of Birth`).
const WORDS: usize = 3;

/// Claims the values of keys that stand in no object. `seen`: where keys were found in objects, in order.
pub(super) fn claim(
    scan: &Scan<'_>,
    seen: &[usize],
    memory: &mut Known,
    named: &mut Vec<Range<usize>>,
    claims: &mut Claims,
) {
    let text = scan.text.as_bytes();
    let (mut last, mut seen, mut lines) = (0..0, seen.iter().peekable(), Lines::default());
    // the key before, and what it was alone
    let mut asked = (0..0, None);
    for word in &scan.anchors.by.keys {
        if word.at < last.end {
            continue;
        }
        let end = pairs::key_end(text, word.end);
        if !separated(scan, end) {
            continue;
        }
        let key = pairs::key_start(text, word.at)..end;
        if key == last {
            continue;
        }
        last = key.clone();
        // keys come in order as words do
        while seen.next_if(|seen| **seen < key.start).is_some() {}
        if seen.peek() != Some(&&key.start)
            && let Some((key, found)) = known(scan, key, memory, &mut asked)
        {
            one(scan, key, found, &mut lines, named, claims);
        }
    }
}

/// What was read of a text for one key that other keys read, too.
#[derive(Default)]
struct Lines {
    /// A part of a line: a line full of keys is read once.
    part: Range<usize>,
    /// Where neither a digit nor a mask stands.
    dull: Range<usize>,
    /// Where no mark of another notation stands either.
    words: Range<usize>,
    pairs: pairs::Read,
}

impl Lines {
    /// Where the part of its line ends that begins at `start`.
    fn part(&mut self, scan: &Scan<'_>, start: usize) -> usize {
        if !self.part.contains(&start) {
            let line = pairs::line_of(scan.text.as_bytes(), start);
            self.part = start..start + part_end(scan.part(line));
        }
        self.part.end
    }

    /// Whether what stands at `start` may be a number, a date or an id: one has a digit, or hides some, within as many
    /// bytes as are looked at.
    fn may_be_code(&mut self, text: &[u8], start: usize) -> bool {
        static DULL: Bytes = Bytes::of(b"0123456789*X").others();
        !reaches(&DULL, &mut self.dull, text, start)
    }

    /// Whether the value of `key` is words behind a colon and a blank, and no number, date or id: where it begins then.
    /// No other notation has so many bytes without a quote, a bracket, or `=`.
    fn words(&mut self, text: &[u8], key: &Range<usize>) -> Option<usize> {
        static WORDS: Bytes = Bytes::of(b"0123456789*X=(\"'`").others();
        let start = key.end + 2;
        let before = key.start.checked_sub(1).and_then(|at| text.get(at));
        let plain = matches!(text.get(key.end..)?, [b':', b' ', first, ..] if first.is_ascii_alphabetic());
        (plain && before != Some(&b'/') && reaches(&WORDS, &mut self.words, text, start)).then_some(start)
    }
}

/// Whether nothing but bytes of a set stands at `start`, as far as a value is looked at; `known`: where that is known.
fn reaches(set: &Bytes, known: &mut Range<usize>, text: &[u8], start: usize) -> bool {
    if !(known.start..=known.end).contains(&start) {
        *known = start..start;
    }
    let rest = text.get(known.end..text.len().min(start + LINE + CALLED)).unwrap_or_default();
    let more = set.leading(rest);
    known.end += more;
    more == rest.len()
}

/// Whether a separator may follow a key: a cheap look before a dear one.
fn separated(scan: &Scan<'_>, end: usize) -> bool {
    static BETWEEN: Bytes = Bytes::of(b" *\"'`\\\t]?");
    static SEPARATORS: Bytes = Bytes::of(b":=|>,(");
    let rest = scan.bytes(end..scan.text.len().min(end + 8));
    // the end of a cell, or of a term
    let cell = || [&b"</td>"[..], b"</th>", b"</dt>"].iter().any(|tag| rest.starts_with(tag));
    rest.get(BETWEEN.leading(rest)).is_some_and(|byte| SEPARATORS.has(*byte) || *byte == b'<' && cell())
}

/// The key with the words of its line before it, or alone, where a rule may count.
fn known(
    scan: &Scan<'_>,
    key: Range<usize>,
    memory: &mut Known,
    asked: &mut (Range<usize>, Option<Match>),
) -> Option<(Range<usize>, Match)> {
    let table = &scan.detector.keys;
    let mut find = |key: &Range<usize>| {
        let found = memory.find(table, scan.bytes(key.clone())).0;
        table.rules(found).iter().any(|rule| rule.allowed(found, Evidence::all())).then_some(found)
    };
    let whole = with_words(scan, &key);
    if whole.start < key.start
        && let Some(found) = find(&whole)
    {
        return Some((whole, found));
    }
    if scan.bytes(asked.0.clone()) != scan.bytes(key.clone()) {
        *asked = (key.clone(), find(&key));
    }
    asked.1.map(|found| (key, found))
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
    lines: &mut Lines,
    named: &mut Vec<Range<usize>>,
    claims: &mut Claims,
) -> Option<()> {
    let codes = scan.detector.keys.rules(found).iter().all(|rule| is_cut(rule.value));
    if codes && let Some(start) = lines.words(scan.text.as_bytes(), &key) {
        // what was read of the line counts for keys behind it
        lines.part(scan, start);
        return None;
    }
    let pair = pairs::pair(scan.text.as_bytes(), key.clone(), &mut lines.pairs)?;
    let doubtful = |rule: &KeyRule| {
        rule.asks() && matches!(rule.value, rule::KeyValue::Name | rule::KeyValue::Listed)
            || !rule.allowed(found, Evidence::all())
    };
    // a name begins with a capital letter
    let first = scan.byte(pair.value.start);
    if first.is_ascii() && !first.is_ascii_uppercase() && scan.detector.keys.rules(found).iter().all(doubtful) {
        return None;
    }
    let range = match (pair.quote, pair.sep) {
        (Some(_), Sep::Compare | Sep::Call | Sep::Comma) => return None,
        (Some(_), _) | (None, Sep::Cell | Sep::Element) => pair.value.clone(),
        (None, Sep::Equals | Sep::Colon) => {
            let part = if pair.sep == Sep::Colon { lines.part(scan, pair.value.start) } else { 0 };
            if codes && !lines.may_be_code(scan.text.as_bytes(), pair.value.start) {
                return None;
            }
            if pair.sep == Sep::Colon { line(scan, pair.value.start, part)? } else { unquoted(scan, &pair) }
        }
        _ => return None,
    };
    let bare = pair.is_bare_json();
    let unquoted = pair.quote.is_none() && matches!(pair.sep, Sep::Equals | Sep::Colon);
    let kind = if bare { Kind::Bare } else { Kind::Text };
    let label = scan.byte(key.start).is_ascii_uppercase() && !matches!(pair.sep, Sep::Equals);
    let text = scan.part(range.clone());
    let labelled = || label && values::is_labelled(text) || values::is_turned(text);
    for rule in scan.detector.keys.rules(found) {
        if !rule.allowed(found, Evidence::all()) || (text.len() > values::LONGEST && !may_be_cut(text, rule.value)) {
            continue;
        }
        // without keys beside it, a key that things have too needs a value that is beyond doubt
        let doubtful = rule.asks();
        let wanted = match rule.value {
            rule::KeyValue::Name | rule::KeyValue::Listed if doubtful => {
                (labelled() || is_sure(text, label)) && !things::is_named(scan, &range)
            }
            rule::KeyValue::Words | rule::KeyValue::Name if unquoted => {
                let joined = pair.sep == Sep::Equals && scan.byte(key.end) == b'=' && scan.byte(key.end + 1) != b' ';
                let form =
                    joined && text.starts_with(char::is_uppercase) && text.chars().skip(1).all(char::is_lowercase);
                form || values::is_plain_name(text) || labelled()
            }
            rule::KeyValue::Street | rule::KeyValue::Any if unquoted => {
                let begins = text.starts_with(char::is_uppercase) || text.contains(|c: char| c.is_ascii_digit());
                !doubtful && begins && !text.contains(['(', ')', '_', '='])
            }
            _ => !doubtful,
        };
        if wanted {
            let range = if unquoted { own(scan, range, rule.value, kind) } else { range };
            let value = Value { found, beside: Evidence::all(), range, kind };
            claim_value(scan, &scan.detector.keys, &value, named, claims);
            return Some(());
        }
    }
    None
}

/// Whether all of a text is a name beyond doubt; `label`: it stands behind a label with a capital letter.
fn is_sure(text: &str, label: bool) -> bool {
    shape::read(text, 0)
        .is_some_and(|name| name.range.end == text.len() && (name.given || (label && name.words > 1 && !name.common)))
}

/// A value behind `=` without quotes: code has names there, not values; forms and logs have words.
fn unquoted(scan: &Scan<'_>, pair: &pairs::Pair) -> Range<usize> {
    let upto = scan.text.floor_char_boundary(scan.text.len().min(pair.value.start + LINE));
    let range = pair.line(scan.bytes(0..upto));
    let line = scan.part(range.clone());
    // `first_name=John last_name=Smith`: up to the next key
    match line.split_once('=') {
        None if !line.contains(['(', ';', '{', '&', ',']) => range,
        _ => called(scan, pair),
    }
}

/// A value without quotes; one such as `datetime.date(1990, 3, 4)` whole.
fn called(scan: &Scan<'_>, pair: &pairs::Pair) -> Range<usize> {
    let value = pair.value.clone();
    let open = memchr::memchr(b'(', scan.bytes(value.clone()));
    let rest = scan.bytes(value.end..scan.text.len().min(value.end + CALLED));
    let more = rest.iter().take_while(|byte| byte.is_ascii_digit() || b", ".contains(byte)).count();
    match open.is_some() && rest.get(more) == Some(&b')') {
        true => value.start..value.end + more + 1,
        false => value,
    }
}

/// A value behind a colon: the line, up to where something else begins, which is at `end`.
fn line(scan: &Scan<'_>, start: usize, end: usize) -> Option<Range<usize>> {
    let line = scan.part(start..scan.text.floor_char_boundary(end.min(start + LINE)));
    // `Name: Ann, Email: x` goes on with the next label
    let comma = memchr::memchr(b',', line.as_bytes()).and_then(|_| line.find(", ")).filter(|comma| {
        line.get(comma + 2..)
            .is_some_and(|rest| rest.split([' ', ',']).take(3).any(|word| word.ends_with(':') || word.contains('=')))
    });
    let line = if scan.before(start, 1) == b':' { field(line) } else { line };
    let text = comma.and_then(|comma| line.get(..comma)).unwrap_or(line).trim_end_matches([' ', ',', '.', ';', '*']);
    (!text.is_empty()).then(|| start..start + text.len())
}

/// What of a line right behind `Key:` is its value, where fields follow (`Philippa LastName:McAllister}`), as Go prints
/// records.
fn field(line: &str) -> &str {
    let next = |at: usize| {
        let name = line.get(at + 1..).unwrap_or_default().bytes().take_while(u8::is_ascii_alphanumeric).count();
        let behind = line.as_bytes().get(at + 1 + name..at + 3 + name);
        // `12 Main Street Apt:4B`
        let unit = || line.get(at + 1..at + 1 + name).is_some_and(is_unit);
        name > 1 && !unit() && behind.is_some_and(|behind| behind.starts_with(b":") && behind != b": ")
    };
    let blank = line.match_indices(' ').take(8).map(|(at, _)| at).find(|at| next(*at));
    let end = blank.or_else(|| line.find('}')).unwrap_or(line.len());
    line.get(..end).unwrap_or(line)
}

/// Bytes behind a value in which the call that it begins ends.
const CALLED: usize = 32;
/// Most bytes of a line that are looked at for one value: more than the longest has.
const LINE: usize = values::LONGEST + 20;

/// What of a line is its first key's value: all of it where what would be cut out is none.
fn own(scan: &Scan<'_>, line: Range<usize>, value: rule::KeyValue, kind: Kind) -> Range<usize> {
    let cut = line.start..line.start + own_len(scan.part(line.clone()), value);
    let is_value = cut == line || values::private(scan.text, cut.clone(), value, kind, Evidence::all()).is_some();
    if is_value { cut } else { line }
}

/// Whether the value of a long line may be its first words: it begins soon, with digits.
fn may_be_cut(line: &str, value: rule::KeyValue) -> bool {
    let head = line.as_bytes().get(..line.len().min(SOON)).unwrap_or_default();
    // all of them at once, without a way out between
    is_cut(value) && head.iter().fold(false, |digit, byte| digit | byte.is_ascii_digit())
}

/// Bytes of a long line in which its first key's value begins.
const SOON: usize = 64;

/// Whether values of a kind end where something else begins on their line.
fn is_cut(value: rule::KeyValue) -> bool {
    use rule::KeyValue::{Card, Code, Date, Digits, Phone};
    matches!(value, Card | Code | Date | Digits | Phone)
}

/// Words without a digit behind which no number is a key's own.
const WITHOUT: usize = 8;

/// How much of a line belongs to its first key, by what the kind of value allows: `04/12/1987, MRN 00482913` goes on
/// with something else.
fn own_len(line: &str, value: rule::KeyValue) -> usize {
    use rule::KeyValue::{Date, Phone};
    if !is_cut(value) {
        return line.len();
    }
    let (mut own, mut start, mut end) = (Own::default(), 0, 0);
    let mut words = line.split(' ').enumerate().peekable();
    while let Some((count, word)) = words.next() {
        if count > WITHOUT && own.digits == 0 {
            return line.len();
        }
        let bare = bare(word);
        let digits = digits(word);
        let behind = words.peek().map_or("", |(_, word)| word);
        let goes_on = bare.is_empty()
            || match value {
                Date => own.date_goes_on(bare, behind),
                Phone => ["ext", "x", "extension"].contains(&bare),
                _ => is_part_of_code(word, bare, behind),
            };
        if digits == 0 && !goes_on && own.digits > 0 {
            break;
        }
        own.add(digits);
        // a slash, or what stands between the numbers of a date, counts with what stands behind it
        let joins = bare.is_empty() || (value == Date && digits == 0 && dates::month(bare).is_none());
        end = if joins { end } else { start + word.len() };
        start += word.len() + 1;
        let listed = word.ends_with([',', ';']) && value != Date;
        if (value == Date && own.digits >= 6) || (listed && own.digits > 0) {
            break;
        }
    }
    line.get(..end).map_or(line.len(), |own| {
        let own = own.trim_end_matches([',', ';', ' ', '.']);
        // `(DOB: 1980-01-02)`: the bracket was open before
        own.strip_suffix(')').filter(|inner| !inner.contains('(')).unwrap_or(own).len()
    })
}

/// A word without the punctuation around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn digits(word: &str) -> usize {
    word.bytes().filter(u8::is_ascii_digit).count()
}

/// What was read of a value.
#[derive(Default)]
struct Own {
    digits: usize,
    /// Words with digits.
    numbers: usize,
    year: bool,
    month: bool,
}

impl Own {
    fn add(&mut self, digits: usize) {
        self.digits += digits;
        self.numbers += usize::from(digits > 0);
        self.year |= digits == 4;
    }

    /// Whether a word without digits is part of a date: a month, or, where no date is whole yet, whatever one word
    /// stands between two of its numbers: no list has the months of every language.
    fn date_goes_on(&mut self, bare: &str, behind: &str) -> bool {
        if dates::month(bare).is_some() {
            self.month = true;
            return true;
        }
        let whole = self.year && (self.month || self.numbers > 1);
        let between = || (1..=4).contains(&digits(behind)) && bare.chars().all(char::is_alphabetic);
        ["of", "de", "del", "den", "the"].contains(&bare) || (!whole && between())
    }
}

/// Whether a word without digits is part of a code: a few capitals; where they could be a word, only before digits.
fn is_part_of_code(word: &str, bare: &str, behind: &str) -> bool {
    let longest = if digits(behind) > 0 { 5 } else { 3 };
    bare.len() <= longest && bare.bytes().all(|byte| byte.is_ascii_uppercase()) && !word.ends_with(':')
}

/// Where something else begins on a line.
fn part_end(line: &str) -> usize {
    static BEGINS: Bytes = Bytes::of(b" ;\t*<\\.");
    let bytes = line.as_bytes();
    let ends = |at: usize| {
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
    bytes.iter().enumerate().position(|(at, byte)| BEGINS.has(*byte) && ends(at)).unwrap_or(line.len())
}
