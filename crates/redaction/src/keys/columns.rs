//! Values whose key is elsewhere: `INSERT INTO t (name, email) VALUES ('…', '…')` by the order of columns, and the
//! lines of a table below a header (CSV, TSV, `|`). A table has at most [`MOST`] columns; each byte of its rows is read
//! once; text is read as rows only after a header with a known column. Columns of secrets are checked by `secrets`.
//! `flat_keys` handles `SET name = '…'`.

use std::ops::Range;

use super::claim::{KeyedValue, claim_value};
use super::json_tree::ValueForm;
use super::table::{KeyMatch, SiblingEvidence};

use crate::action::WordAction;
use crate::scan::{PrivateClaims, TextScan};
use crate::secrets::secret_cue::SecretCue;
use crate::secrets::secret_lists::{SecretColumn, claim_cell, secret_column};
use crate::sets::ByteSet;
use crate::stems::StemMatch;

/// Most columns of a table.
const MOST: usize = 64;
/// Most bytes of a header.
const HEADER: usize = 2048;
/// Most rows of a table.
const ROWS: usize = 100_000;

/// The columns of a table, with the keys that they match.
struct TableColumns {
    key_matches: [KeyMatch; MOST],
    secret: [Option<SecretColumn>; MOST],
    count: usize,
    evidence: SiblingEvidence,
    /// Whether only separators are between the names, unlike in a list in code.
    has_clean_separators: bool,
}

impl TableColumns {
    fn read<'t>(scan: &TextScan<'_>, names: impl Iterator<Item = &'t str>) -> Self {
        let beside = SiblingEvidence::default();
        let mut made = Self {
            key_matches: [KeyMatch::NONE; MOST],
            secret: [None; MOST],
            count: 0,
            evidence: beside,
            has_clean_separators: false,
        };
        for ((name, slot), secret) in names.zip(&mut made.key_matches).zip(&mut made.secret) {
            let name = name.trim_matches([' ', '"', '`', '\'', '[', ']', '\t', '\n', '\r', '\\', '*']);
            let name = name.rsplit('.').next().unwrap_or(name);
            let (found, says) = scan.detector.keys.find(name.as_bytes());
            *slot = found;
            *secret =
                if found == KeyMatch::NONE { secret_column(&scan.detector.secrets, name.as_bytes()) } else { None };
            made.count += 1;
            made.evidence = made.evidence.combine(says);
        }
        made
    }

    fn has_known_column(&self) -> bool {
        self.key_matches.iter().any(|found| *found != KeyMatch::NONE) || self.secret.iter().any(Option::is_some)
    }

    /// The match of each column, in order.
    fn columns(&self) -> impl Iterator<Item = (KeyMatch, Option<SecretColumn>)> {
        self.key_matches.iter().copied().zip(self.secret.iter().copied()).take(self.count)
    }
}

/// Claims values by their columns.
pub(super) fn claim_columns(scan: &TextScan<'_>, named: &mut Vec<Range<usize>>, claims: &mut PrivateClaims) {
    let text = scan.text.as_bytes();
    let inserts = scan.anchors.words_by_use.has_sql_values;
    // A line is read once, from its first key; most JSON of agents is a single long line
    let (mut upto, mut line, mut listed) = (0, 0, 0);
    for word in &scan.anchors.words {
        if word.start < upto || !(matches!(word.action, WordAction::Key) || is_secret_name(scan, word, inserts)) {
            continue;
        }
        let tried = !inserts || word.start < listed;
        if let Some(end) = if tried { None } else { read_insert(scan, word.start, &mut listed, named, claims) } {
            upto = end;
        } else if word.start >= line {
            let end = text.get(word.start..).and_then(|rest| memchr::memchr(b'\n', rest));
            line = end.map_or(text.len(), |end| word.start + end);
            // A header may not be longer than that
            if line - word.start <= HEADER && line < text.len() {
                upto = read_table(scan, word.start, named, claims).unwrap_or(upto);
            }
        }
    }
}

/// Whether a word of secrets ends the name of a column.
fn is_secret_name(scan: &TextScan<'_>, word: &StemMatch, inserts: bool) -> bool {
    if !matches!(word.action, WordAction::Secret(SecretCue::Key)) {
        return false;
    }
    match (scan.byte(word.end), scan.byte(word.end + 1)) {
        (b',' | b'\t' | b';' | b'|' | b'\n' | b'\r', _) | (b' ', b'|') => true,
        (b'"' | b'`', next) => b",;|\t\r\n".contains(&next) || inserts && next == b')',
        (b')', _) => inserts,
        _ => false,
    }
}

/// Reads `(a, b, c) VALUES (…), (…)` with a known column at `at`, and returns its end. Otherwise sets `listed`, so that
/// the same list is not read again for its other words.
fn read_insert(
    scan: &TextScan<'_>,
    at: usize,
    listed: &mut usize,
    named: &mut Vec<Range<usize>>,
    claims: &mut PrivateClaims,
) -> Option<usize> {
    static IN_LIST: ByteSet = ByteSet::new(b"_ ,.`\"[]\t\r\n\\").and_alnum();
    let open = at - IN_LIST.count_trailing(scan.bytes(at.saturating_sub(512)..at));
    if scan.byte_before(open, 1) != b'(' {
        *listed = at + IN_LIST.count_leading(scan.bytes(at..scan.text.len().min(at + 512)));
        return None;
    }
    let rest = scan.bytes(open..scan.text.len().min(open + HEADER));
    let len = IN_LIST.count_leading(rest);
    *listed = open + len;
    if rest.get(len) != Some(&b')') {
        return None;
    }
    let behind = scan.part(open + len + 1..scan.widen_to_characters(open..scan.text.len().min(open + len + 24)).end);
    let trimmed = behind.trim_start_matches([' ', '\n', '\r', '\t', '\\', 'n']);
    if !trimmed.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("values")) {
        return None;
    }
    let columns = TableColumns::read(scan, scan.part(open..open + len).split(','));
    let mut from = open + len + 1 + (behind.len() - trimmed.len()) + 6;
    for _ in 0..ROWS {
        match read_insert_row(scan, from, &columns, named, claims) {
            Some(end) => from = end,
            None => break,
        }
    }
    Some(from)
}

/// Reads one `(…)` of values at `from`, and returns its end.
fn read_insert_row(
    scan: &TextScan<'_>,
    from: usize,
    columns: &TableColumns,
    named: &mut Vec<Range<usize>>,
    claims: &mut PrivateClaims,
) -> Option<usize> {
    let blanks = scan.bytes(from..scan.text.len().min(from + 64));
    let blanks = blanks.iter().take_while(|byte| b" ,\n\r\t\\n".contains(byte)).count();
    let mut at = from + blanks;
    if scan.byte(at) != b'(' {
        return None;
    }
    at += 1;
    for (found, secret) in columns.columns() {
        while b" \n\t\\".contains(&scan.byte(at)) && scan.byte(at + 1) != b'\'' && at < scan.text.len() {
            at += 1;
        }
        at += usize::from(b" \\".contains(&scan.byte(at)));
        at += usize::from(b"NEn".contains(&scan.byte(at)) && scan.byte(at + 1) == b'\'');
        let quote = scan.byte(at);
        let (range, behind) = if quote == b'\'' || quote == b'"' {
            let end = literal_end(scan, at + 1, quote)?;
            (at + 1..end, end + 1)
        } else {
            let rest = scan.bytes(at..scan.text.len().min(at + 256));
            let len = rest.iter().take_while(|byte| !b",)\n".contains(byte)).count();
            let value = rest.get(..len).unwrap_or_default().trim_ascii_end().len();
            (at..at + value, at + len)
        };
        let literal = quote == b'\'' || quote == b'"';
        let number = scan.bytes(range.clone()).iter().all(u8::is_ascii_digit);
        if found != KeyMatch::NONE && (literal || number) {
            let value = KeyedValue {
                key_match: found,
                evidence: columns.evidence.combine(SiblingEvidence::all()),
                range,
                kind: ValueForm::Text,
            };
            claim_value(scan, &scan.detector.keys, &value, named, claims);
        } else if let Some(secret) = secret.filter(|_| literal || number) {
            claim_cell(scan, secret, range, true, claims);
        }
        at = behind;
        while b" \n\t".contains(&scan.byte(at)) && at < scan.text.len() {
            at += 1;
        }
        match scan.byte(at) {
            b',' => at += 1,
            b')' => return Some(at + 1),
            _ => return None,
        }
    }
    None
}

/// End of a quoted SQL literal; a doubled quote is part of it.
fn literal_end(scan: &TextScan<'_>, from: usize, quote: u8) -> Option<usize> {
    let rest = scan.bytes(from..scan.text.len().min(from + 8192));
    let mut at = 0;
    loop {
        at += memchr::memchr(quote, rest.get(at..)?)?;
        if rest.get(at + 1) == Some(&quote) {
            at += 2;
            continue;
        }
        let slashed = at > 0 && rest.get(at - 1) == Some(&b'\\');
        return Some(from + at - usize::from(slashed));
    }
}

/// Reads a header line around `at` and the table below it, and returns the end.
fn read_table(
    scan: &TextScan<'_>,
    at: usize,
    named: &mut Vec<Range<usize>>,
    claims: &mut PrivateClaims,
) -> Option<usize> {
    static IN_HEADER: ByteSet = ByteSet::new(b"_ ,;\t|\".-*").and_alnum();
    let start = at - IN_HEADER.count_trailing(scan.bytes(at.saturating_sub(512)..at));
    if start > 0 && scan.byte_before(start, 1) != b'\n' {
        return None;
    }
    let rest = scan.bytes(start..scan.text.len().min(start + HEADER));
    let len = IN_HEADER.count_leading(rest);
    if !matches!(rest.get(len), Some(b'\n' | b'\r')) {
        return None;
    }
    let header = scan.part(start..start + len);
    let parts = |by: char| header.matches(by).count();
    let by = [',', '\t', ';', '|'].into_iter().max_by_key(|by| parts(*by)).filter(|by| parts(*by) > 0)?;
    // `name,` on a line of code is not a header
    header.split(by).filter(|name| !name.trim().is_empty()).nth(1)?;
    let short = header.split(by).all(|name| name.split(' ').filter(|word| !word.is_empty()).count() <= 4);
    let mut columns = TableColumns::read(scan, header.split(by));
    columns.has_clean_separators = by != '|' && !header.contains(' ') && !header.ends_with(by);
    if !short || !columns.has_known_column() {
        return None;
    }
    let mut from = start + len + 1;
    if by == '|' {
        let rest = scan.bytes(from..scan.text.len().min(from + 512));
        let dashes = rest.iter().take_while(|byte| b"|-+: \r".contains(byte)).count();
        if dashes < 3 || rest.get(dashes) != Some(&b'\n') {
            return None;
        }
        from += dashes + 1;
    }
    for _ in 0..ROWS {
        match read_table_line(scan, from, by, &columns, named, claims) {
            Some(end) => from = end,
            None => break,
        }
    }
    Some(from)
}

/// Reads one line of a table; `None` if it has fewer columns than the header.
fn read_table_line(
    scan: &TextScan<'_>,
    from: usize,
    by: char,
    columns: &TableColumns,
    named: &mut Vec<Range<usize>>,
    claims: &mut PrivateClaims,
) -> Option<usize> {
    let rest = scan.part(from..scan.text.len());
    let rest = rest.strip_prefix('\n').unwrap_or(rest);
    let from = scan.text.len() - rest.len();
    let len = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len()).min(16 << 10);
    let text = rest.get(..len)?;
    if text.is_empty() {
        return None;
    }
    let mut cells = [const { 0..0 }; MOST];
    let (mut count, mut start, mut quoted) = (0, 0, false);
    for (index, byte) in text.bytes().chain([by as u8]).enumerate() {
        if byte == b'"' {
            quoted = !quoted;
        } else if byte == by as u8 && (!quoted || index == text.len()) {
            if let Some(cell) = cells.get_mut(count) {
                *cell = start..index;
            }
            count += 1;
            start = index + 1;
        }
    }
    // An unquoted separator in a cell gives too many columns; the next line may be regular again
    if count != columns.count {
        return (count > columns.count).then_some(from + len + 1);
    }
    for (place, (found, secret)) in cells.iter().zip(columns.columns()) {
        let all = text.get(place.clone()).unwrap_or("");
        let inner = all.trim_matches([' ', '\t', '\r', '"', '\'', '*']);
        let lead = all.len() - all.trim_start_matches([' ', '\t', '\r', '"', '\'', '*']).len();
        let range = from + place.start + lead..from + place.start + lead + inner.len();
        if found != KeyMatch::NONE && !inner.is_empty() {
            let value = KeyedValue { key_match: found, evidence: columns.evidence, range, kind: ValueForm::Text };
            claim_value(scan, &scan.detector.keys, &value, named, claims);
        } else if let Some(secret) = secret {
            claim_cell(scan, secret, range, columns.has_clean_separators, claims);
        }
    }
    Some(from + len + 1)
}
