//! Claims values by the columns of their table: the lines below a header (CSV, TSV, `|`), and the rows of
//! `INSERT INTO t (name, email) VALUES ('…', '…')`. Text is read as rows only after names with a known column. Columns
//! of secrets are checked by `secrets`.

use std::ops::Range;

use super::private_values::{claim_first, private_part};
use super::table::{KeyMatch, KeyRule, SiblingEvidence};
use crate::action::{SecretCue, WordAction};
use crate::scan::TextScan;
use crate::secrets::secret_lists::{SecretColumn, claim_cell, secret_column};
use crate::sets::ByteSet;

/// Most bytes of the names of columns before and after a known one.
const MAX_NAMES: (usize, usize) = (512, 2048);
const MAX_ROW: usize = 8 << 10;
/// Most nested brackets in a row of SQL.
const MAX_BRACKETS: usize = 4;

/// The columns of a table.
struct Columns<'t> {
    list: Vec<(KeyMatch<'t>, Option<SecretColumn>)>,
    evidence: SiblingEvidence,
    /// The byte between cells.
    separator: u8,
    /// Whether rows are in brackets, as in SQL; otherwise each is a line.
    is_sql: bool,
    /// Whether only separators are between the names, unlike in a list in code.
    has_clean_separators: bool,
}

/// Claims values by their columns.
pub(super) fn claim_rows(scan: &TextScan<'_>) {
    let mut read_end = 0;
    for word in &scan.anchors.words {
        let may_be_column = matches!(word.action, WordAction::Key | WordAction::Secret(SecretCue::Key));
        if may_be_column && word.start >= read_end && may_end_name(scan, word.end) {
            read_end = read_table(scan, word.start);
        }
    }
}

/// Whether the name of a column may end a few bytes after its word.
fn may_end_name(scan: &TextScan<'_>, end: usize) -> bool {
    static IN_NAME: ByteSet = ByteSet::new(b"_ \"`*").and_alnum();
    let rest = scan.bytes(end..end + 24);
    rest.get(IN_NAME.count_leading(rest)).is_some_and(|byte| b",;\t|\n\r)".contains(byte))
}

/// Reads the names of columns around `at` and the rows after them, and returns the end of what was read.
fn read_table(scan: &TextScan<'_>, at: usize) -> usize {
    static IN_NAMES: ByteSet = ByteSet::new(b"_ ,;\t|\".-*`").and_alnum();
    let start = at - IN_NAMES.count_trailing(scan.bytes(at.saturating_sub(MAX_NAMES.0)..at));
    let len = IN_NAMES.count_leading(scan.bytes(start..at + MAX_NAMES.1));
    let names_end = start + len;
    let Some(columns) = Columns::read(scan, start..names_end) else { return names_end };
    let Some(mut from) = first_row(scan, names_end, &columns) else { return names_end };
    while let Some(end) = read_row(scan, from, &columns) {
        from = end;
    }
    from
}

impl<'t> Columns<'t> {
    /// Reads a line of names, or those in the brackets before `VALUES`.
    fn read(scan: &TextScan<'t>, range: Range<usize>) -> Option<Self> {
        let names = scan.part(range.clone());
        let is_sql = match (scan.byte_before(range.start, 1), scan.byte(range.end)) {
            (b'(', b')') if after_values_word(scan, range.end).is_some() => true,
            (b'\n', b'\n' | b'\r') if range.end < scan.text.len() => false,
            _ => return None,
        };
        let count = |separator: &u8| names.bytes().filter(|byte| byte == separator).count();
        let separator = if is_sql { b',' } else { b",\t;|".iter().copied().max_by_key(count)? };
        let is_short = |name: &str| name.split_ascii_whitespace().count() <= 4;
        let parts = || names.split(char::from(separator));
        // `name,` on a line of code is not a header
        let name_count = parts().filter(|name| !name.trim().is_empty()).count();
        if name_count == 0 || name_count == 1 && !is_sql || !parts().all(is_short) {
            return None;
        }
        let mut evidence = SiblingEvidence::default();
        let mut read_name = |name: &str| {
            let name = name.trim_matches([' ', '"', '`', '*']);
            let name = name.rsplit('.').next().unwrap_or(name).as_bytes();
            let (key_match, own_evidence) = scan.detector.keys.find(name);
            evidence = evidence.combine(own_evidence);
            let secret = if key_match.is_none() { secret_column(&scan.detector.families, name) } else { None };
            (key_match, secret)
        };
        let list: Vec<_> = parts().map(&mut read_name).collect();
        let is_known = list.iter().any(|(key_match, secret)| !key_match.is_none() || secret.is_some());
        let has_clean_separators =
            is_sql || separator != b'|' && !names.contains(' ') && !names.ends_with(separator as char);
        evidence = if is_sql { SiblingEvidence::all() } else { evidence };
        is_known.then_some(Self { list, evidence, separator, is_sql, has_clean_separators })
    }
}

/// Position of the first row after the names that end at `end`: after `VALUES`, or below the line, with dashes below
/// it in markup.
fn first_row(scan: &TextScan<'_>, end: usize, columns: &Columns<'_>) -> Option<usize> {
    let rest = scan.bytes(end..end + MAX_NAMES.0);
    if columns.is_sql {
        return after_values_word(scan, end);
    }
    let line = end + rest.iter().position(|byte| *byte == b'\n')? + 1;
    if columns.separator != b'|' {
        return Some(line);
    }
    let rest = scan.bytes(line..line + MAX_NAMES.0);
    let dashes = rest.iter().take_while(|byte| b"|-+: \r".contains(byte)).count();
    (dashes >= 3 && rest.get(dashes) == Some(&b'\n')).then_some(line + dashes + 1)
}

/// Position after `VALUES` behind the bracket at `end`.
fn after_values_word(scan: &TextScan<'_>, end: usize) -> Option<usize> {
    let rest = scan.bytes(end + 1..end + 64);
    let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    rest.get(blanks..blanks + 6)?.eq_ignore_ascii_case(b"values").then_some(end + 7 + blanks)
}

/// Reads the row at `from`, and returns its end; `None` if there is none, or it has fewer cells than there are columns.
fn read_row(scan: &TextScan<'_>, from: usize, columns: &Columns<'_>) -> Option<usize> {
    let between: &[u8] = if columns.is_sql { b" ,\r\n\t(" } else { b"" };
    let blanks = scan.bytes(from..from + 64).iter().take_while(|byte| between.contains(byte)).count();
    let from = from + blanks;
    if columns.is_sql && scan.byte_before(from, 1) != b'(' {
        return None;
    }
    let row = scan.bytes(from..from + MAX_ROW);
    let quotes: &[u8] = if columns.is_sql { b"'\"" } else { b"\"" };
    let (mut cells, mut start, mut quote, mut brackets) = (Vec::with_capacity(columns.list.len()), 0, None, 0_usize);
    let mut end = row.len();
    for (at, byte) in row.iter().enumerate() {
        match (quote, *byte) {
            (_, b'\n') if !columns.is_sql => end = at,
            (Some(open), byte) => quote = Some(open).filter(|open| *open != byte),
            (None, b'(') if columns.is_sql => brackets += 1,
            (None, b')') if columns.is_sql && brackets > 0 => brackets -= 1,
            (None, b')') if columns.is_sql => end = at,
            (None, byte) if quotes.contains(&byte) => quote = Some(byte),
            (None, byte) if byte == columns.separator && brackets == 0 => {
                cells.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
        if end == at || brackets > MAX_BRACKETS {
            break;
        }
    }
    cells.push(start..end);
    let is_whole = end < row.len() || !columns.is_sql;
    // An unquoted separator in a cell gives too many; the next line may be regular again
    if end == 0 || !is_whole || cells.len() < columns.list.len() || columns.is_sql && cells.len() != columns.list.len()
    {
        return None;
    }
    if cells.len() == columns.list.len() {
        for (cell, (key_match, secret)) in cells.iter().zip(&columns.list) {
            claim_column(scan, from + cell.start..from + cell.end, columns, (*key_match, *secret));
        }
    }
    Some(from + end + 1)
}

/// Claims a cell by its column.
fn claim_column(
    scan: &TextScan<'_>,
    cell: Range<usize>,
    columns: &Columns<'_>,
    (key_match, secret): (KeyMatch<'_>, Option<SecretColumn>),
) {
    static AROUND: ByteSet = ByteSet::new(b" \t\r\n\"'*\\");
    let bytes = scan.bytes(cell.clone());
    // `N'…'`, `E'…'`
    let lead = AROUND.count_leading(bytes);
    let prefix = usize::from(matches!(bytes.get(lead..lead + 2), Some(b"N'" | b"E'")));
    let inner = bytes.get(lead + 2 * prefix..).unwrap_or_default();
    let start = cell.start + lead + 2 * prefix;
    let range = start..start + inner.len() - AROUND.count_trailing(inner);
    let content = scan.bytes(range.clone());
    // Functions and parameters of SQL are no values
    let is_value = !columns.is_sql || range.end < cell.end || content.iter().all(u8::is_ascii_digit);
    if content.is_empty() || !is_value {
        return;
    }
    if !key_match.is_none() {
        let accept = |rule: &KeyRule, range| {
            let is_allowed = rule.is_allowed(key_match, columns.evidence);
            is_allowed.then(|| private_part(scan.text, range, rule.value_form, false))?
        };
        claim_first(scan, key_match, range, false, accept);
    } else if let Some(secret) = secret {
        claim_cell(scan, secret, range, columns.has_clean_separators);
    }
}
