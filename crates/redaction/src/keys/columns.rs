//! Claims values by the columns of their table: `INSERT INTO t (name, email) VALUES ('…', '…')`, and the lines below a
//! header (CSV, TSV, `|`). A table has at most [`MAX_COLUMNS`] columns; each byte of its rows is read once; text is
//! read as rows only after a header with a known column. Columns of secrets are checked by `secrets`. `flat_keys`
//! handles `SET name = '…'`.

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
const MAX_COLUMNS: usize = 64;
/// Most bytes of a header.
const MAX_HEADER: usize = 2048;
/// Most rows of a table.
const MAX_ROWS: usize = 100_000;

/// The columns of a table, with the keys that they match.
struct TableColumns {
    key_matches: [KeyMatch; MAX_COLUMNS],
    secret_columns: [Option<SecretColumn>; MAX_COLUMNS],
    count: usize,
    evidence: SiblingEvidence,
    /// Whether only separators are between the names, unlike in a list in code.
    has_clean_separators: bool,
}

impl TableColumns {
    fn read<'t>(scan: &TextScan<'_>, names: impl Iterator<Item = &'t str>) -> Self {
        let mut columns = Self {
            key_matches: [KeyMatch::NONE; MAX_COLUMNS],
            secret_columns: [None; MAX_COLUMNS],
            count: 0,
            evidence: SiblingEvidence::default(),
            has_clean_separators: false,
        };
        for ((name, key_match), secret) in names.zip(&mut columns.key_matches).zip(&mut columns.secret_columns) {
            let name = name.trim_matches([' ', '"', '`', '\'', '[', ']', '\t', '\n', '\r', '\\', '*']);
            let name = name.rsplit('.').next().unwrap_or(name);
            let (found, evidence) = scan.detector.keys.find(name.as_bytes());
            *key_match = found;
            if found == KeyMatch::NONE {
                *secret = secret_column(&scan.detector.families, name.as_bytes());
            }
            columns.count += 1;
            columns.evidence = columns.evidence.combine(evidence);
        }
        columns
    }

    fn has_known_column(&self) -> bool {
        self.key_matches.iter().any(|key_match| *key_match != KeyMatch::NONE)
            || self.secret_columns.iter().any(Option::is_some)
    }

    /// The key's match and the secret of each column, in order.
    fn columns(&self) -> impl Iterator<Item = (KeyMatch, Option<SecretColumn>)> {
        self.key_matches.iter().copied().zip(self.secret_columns.iter().copied()).take(self.count)
    }
}

/// Claims values by their columns.
pub(super) fn claim_columns(scan: &TextScan<'_>, claims: &mut PrivateClaims) {
    let text = scan.text.as_bytes();
    let has_sql_values = scan.anchors.words_by_use.has_sql_values;
    // A line is read once, from its first key; most JSON of agents is a single long line
    let (mut table_end, mut line_end, mut list_end) = (0, 0, 0);
    for word in &scan.anchors.words {
        if word.start < table_end
            || !(matches!(word.action, WordAction::Key) || is_secret_name(scan, word, has_sql_values))
        {
            continue;
        }
        let skips_insert = !has_sql_values || word.start < list_end;
        let insert_end = if skips_insert { None } else { read_insert(scan, word.start, &mut list_end, claims) };
        if let Some(end) = insert_end {
            table_end = end;
        } else if word.start >= line_end {
            let end = text.get(word.start..).and_then(|rest| memchr::memchr(b'\n', rest));
            line_end = end.map_or(text.len(), |end| word.start + end);
            // A header may not be longer than that
            if line_end - word.start <= MAX_HEADER && line_end < text.len() {
                table_end = read_table(scan, word.start, claims).unwrap_or(table_end);
            }
        }
    }
}

/// Whether a word of secrets ends the name of a column.
fn is_secret_name(scan: &TextScan<'_>, word: &StemMatch, has_sql_values: bool) -> bool {
    if !matches!(word.action, WordAction::Secret(SecretCue::Key)) {
        return false;
    }
    match (scan.byte(word.end), scan.byte(word.end + 1)) {
        (b',' | b'\t' | b';' | b'|' | b'\n' | b'\r', _) | (b' ', b'|') => true,
        (b'"' | b'`', next) => b",;|\t\r\n".contains(&next) || has_sql_values && next == b')',
        (b')', _) => has_sql_values,
        _ => false,
    }
}

/// Reads `(a, b, c) VALUES (…), (…)` with a known column at `at`, and returns its end. Sets `list_end` to the end of
/// the list of columns, so that the list is not read again for its other words.
fn read_insert(scan: &TextScan<'_>, at: usize, list_end: &mut usize, claims: &mut PrivateClaims) -> Option<usize> {
    static IN_LIST: ByteSet = ByteSet::new(b"_ ,.`\"[]\t\r\n\\").and_alnum();
    let list_start = at - IN_LIST.count_trailing(scan.bytes(at.saturating_sub(512)..at));
    if scan.byte_before(list_start, 1) != b'(' {
        *list_end = at + IN_LIST.count_leading(scan.bytes(at..at + 512));
        return None;
    }
    let rest = scan.bytes(list_start..list_start + MAX_HEADER);
    let len = IN_LIST.count_leading(rest);
    *list_end = list_start + len;
    if rest.get(len) != Some(&b')') {
        return None;
    }
    let after = scan.part(list_start + len + 1..scan.widen_to_characters(list_start..list_start + len + 24).end);
    let values = after.trim_start_matches([' ', '\n', '\r', '\t', '\\', 'n']);
    if !values.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("values")) {
        return None;
    }
    let columns = TableColumns::read(scan, scan.part(list_start..list_start + len).split(','));
    let mut from = list_start + len + 1 + (after.len() - values.len()) + 6;
    for _ in 0..MAX_ROWS {
        match read_insert_row(scan, from, &columns, claims) {
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
    claims: &mut PrivateClaims,
) -> Option<usize> {
    let blanks = scan.bytes(from..from + 64);
    let blanks = blanks.iter().take_while(|byte| b" ,\n\r\t\\n".contains(byte)).count();
    let mut at = from + blanks;
    if scan.byte(at) != b'(' {
        return None;
    }
    at += 1;
    for (key_match, secret) in columns.columns() {
        while b" \n\t\\".contains(&scan.byte(at)) && scan.byte(at + 1) != b'\'' && at < scan.text.len() {
            at += 1;
        }
        at += usize::from(b" \\".contains(&scan.byte(at)));
        at += usize::from(b"NEn".contains(&scan.byte(at)) && scan.byte(at + 1) == b'\'');
        let quote = scan.byte(at);
        let is_literal = quote == b'\'' || quote == b'"';
        let (range, next) = if is_literal {
            let end = literal_end(scan, at + 1, quote)?;
            (at + 1..end, end + 1)
        } else {
            let rest = scan.bytes(at..at + 256);
            let len = rest.iter().take_while(|byte| !b",)\n".contains(byte)).count();
            let value_len = rest.get(..len).unwrap_or_default().trim_ascii_end().len();
            (at..at + value_len, at + len)
        };
        let is_number = scan.bytes(range.clone()).iter().all(u8::is_ascii_digit);
        if key_match != KeyMatch::NONE && (is_literal || is_number) {
            let value = KeyedValue {
                key_match,
                evidence: columns.evidence.combine(SiblingEvidence::all()),
                range,
                kind: ValueForm::Text,
            };
            claim_value(scan, &value, claims);
        } else if let Some(secret) = secret.filter(|_| is_literal || is_number) {
            claim_cell(scan, secret, range, true, claims);
        }
        at = next;
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
    let rest = scan.bytes(from..from + 8192);
    let mut at = 0;
    loop {
        at += memchr::memchr(quote, rest.get(at..)?)?;
        if rest.get(at + 1) == Some(&quote) {
            at += 2;
            continue;
        }
        let is_quote_escaped = at > 0 && rest.get(at - 1) == Some(&b'\\');
        return Some(from + at - usize::from(is_quote_escaped));
    }
}

/// Reads a header line around `at` and the table below it, and returns the end.
fn read_table(scan: &TextScan<'_>, at: usize, claims: &mut PrivateClaims) -> Option<usize> {
    static IN_HEADER: ByteSet = ByteSet::new(b"_ ,;\t|\".-*").and_alnum();
    let start = at - IN_HEADER.count_trailing(scan.bytes(at.saturating_sub(512)..at));
    if start > 0 && scan.byte_before(start, 1) != b'\n' {
        return None;
    }
    let rest = scan.bytes(start..start + MAX_HEADER);
    let len = IN_HEADER.count_leading(rest);
    if !matches!(rest.get(len), Some(b'\n' | b'\r')) {
        return None;
    }
    let header = scan.part(start..start + len);
    let count_separators = |separator: char| header.matches(separator).count();
    let separator = [',', '\t', ';', '|'].into_iter().max_by_key(|by| count_separators(*by))?;
    if count_separators(separator) == 0 {
        return None;
    }
    // `name,` on a line of code is not a header
    header.split(separator).filter(|name| !name.trim().is_empty()).nth(1)?;
    let has_short_names =
        header.split(separator).all(|name| name.split(' ').filter(|word| !word.is_empty()).count() <= 4);
    let mut columns = TableColumns::read(scan, header.split(separator));
    columns.has_clean_separators = separator != '|' && !header.contains(' ') && !header.ends_with(separator);
    if !has_short_names || !columns.has_known_column() {
        return None;
    }
    let mut from = start + len + 1;
    if separator == '|' {
        let rest = scan.bytes(from..from + 512);
        let dashes = rest.iter().take_while(|byte| b"|-+: \r".contains(byte)).count();
        if dashes < 3 || rest.get(dashes) != Some(&b'\n') {
            return None;
        }
        from += dashes + 1;
    }
    for _ in 0..MAX_ROWS {
        match read_table_line(scan, from, separator, &columns, claims) {
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
    separator: char,
    columns: &TableColumns,
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
    let mut cells = [const { 0..0 }; MAX_COLUMNS];
    let (mut count, mut start, mut is_quoted) = (0, 0, false);
    for (index, byte) in text.bytes().chain([separator as u8]).enumerate() {
        if byte == b'"' {
            is_quoted = !is_quoted;
        } else if byte == separator as u8 && (!is_quoted || index == text.len()) {
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
    for (cell_range, (key_match, secret)) in cells.iter().zip(columns.columns()) {
        let cell_text = text.get(cell_range.clone()).unwrap_or("");
        let inner = cell_text.trim_matches([' ', '\t', '\r', '"', '\'', '*']);
        let lead_len = cell_text.len() - cell_text.trim_start_matches([' ', '\t', '\r', '"', '\'', '*']).len();
        let range = from + cell_range.start + lead_len..from + cell_range.start + lead_len + inner.len();
        if key_match != KeyMatch::NONE && !inner.is_empty() {
            let value = KeyedValue { key_match, evidence: columns.evidence, range, kind: ValueForm::Text };
            claim_value(scan, &value, claims);
        } else if let Some(secret) = secret {
            claim_cell(scan, secret, range, columns.has_clean_separators, claims);
        }
    }
    Some(from + len + 1)
}
