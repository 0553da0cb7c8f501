//! Finds Chinese, Japanese and Korean names before a title (`王小明先生`, `田中様`) or after a word for a person (`姓名：王小明`).
//! These scripts have no capital letters and mostly no blanks, so a name must begin with a listed family name. Texts
//! without such letters cost one pass over their bytes, ASCII texts nothing. The lists are in
//! `config/rules/lists/names.txt`.

use crate::scan::TextScan;

/// First UTF-8 bytes of these scripts, and the same in sets of three for `memchr3`.
const FIRST_BYTES: std::ops::RangeInclusive<u8> = 0xE3..=0xED;
const FIRST_BYTE_SETS: [[u8; 3]; 4] = [[0xE4, 0xE5, 0xE6], [0xE7, 0xE8, 0xE9], [0xE3, 0xEB, 0xEC], [0xEA, 0xED, 0xED]];
/// Most characters in a name.
const MAX_CHARACTERS: usize = 6;

/// Claims names next to titles and words for persons.
pub(super) fn claim_cjk_names(scan: &TextScan<'_>, rule: u16) {
    // Most non-ASCII texts have only dashes and accents, and none of these bytes
    let has_any = |[a, b, c]: [u8; 3]| memchr::memchr3(a, b, c, scan.text.as_bytes()).is_some();
    if scan.anchors.byte_kinds.high == 0 || !FIRST_BYTE_SETS.into_iter().any(has_any) {
        return;
    }
    let starts = scan.text.bytes().enumerate().filter(|(_, byte)| FIRST_BYTES.contains(byte)).map(|(at, _)| at);
    let mut claimed_until = 0;
    for at in starts {
        let rest = scan.text.get(at..).unwrap_or_default();
        if let Some(title) = word_list!("names.cjk_titles").iter().find(|title| rest.starts_with(**title)) {
            let len = name_len_before(scan.text.get(claimed_until..at).unwrap_or_default(), title);
            let blank = if scan.byte_before(at, 1) == b' ' { 1 } else { 0 };
            if len > 0 && scan.claim(rule, at - blank - len..at - blank) {
                claimed_until = at;
                continue;
            }
        }
        let is_here = |cue: &&&str| rest.starts_with(**cue);
        let unambiguous_cue = word_list!("names.cjk_cues").iter().find(is_here);
        let ambiguous_cue = || word_list!("names.cjk_cues_ambiguous").iter().find(is_here);
        let Some(cue) = unambiguous_cue.or_else(ambiguous_cue) else { continue };
        let (gap, len) = name_len_after(rest.get(cue.len()..).unwrap_or_default(), unambiguous_cue.is_some());
        let start = at + cue.len() + gap;
        if len > 0 && start >= claimed_until && scan.claim(rule, start..start + len) {
            claimed_until = start + len;
        }
    }
}

fn is_han(c: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&c) || c == '々'
}

fn is_hangul(c: char) -> bool {
    ('\u{AC00}'..='\u{D7A3}').contains(&c)
}

/// Length of the name right before a title, optionally with a blank between.
fn name_len_before(head: &str, title: &str) -> usize {
    let head = head.strip_suffix(' ').unwrap_or(head);
    if title.starts_with(is_hangul) {
        return korean_name_len(head, title);
    }
    let starts: Vec<usize> =
        head.char_indices().rev().take(MAX_CHARACTERS).take_while(|(_, c)| is_han(*c)).map(|(at, _)| at).collect();
    // The longest one counts: 小明 alone is not a name, 王小明 is
    let names = starts.iter().rev().filter_map(|at| head.get(*at..)).filter(|name| is_name(name));
    names.map(str::len).max().unwrap_or(0)
}

/// Length of the gap after a word for a person and of the name after it. `is_sure`: other letters may follow the name.
fn name_len_after(rest: &str, is_sure: bool) -> (usize, usize) {
    let name = rest.trim_start_matches([' ', ':', '：', '是', '为', '為', 'は', '「', '“', '"', '\'', '\u{3000}']);
    let name_ends: Vec<usize> = name
        .char_indices()
        .take(MAX_CHARACTERS)
        .take_while(|(_, c)| is_han(*c))
        .map(|(at, c)| at + c.len_utf8())
        .collect();
    let is_long_name = |end: &&usize| name.get(..**end).is_some_and(|name| name.chars().count() > 1 && is_name(name));
    let whole = name_ends.last().filter(|end| !name.get(**end..).unwrap_or_default().starts_with(is_han));
    let shorter = name_ends.iter().take(if is_sure { 3 } else { 0 }).rev();
    (rest.len() - name.len(), whole.into_iter().chain(shorter).find(is_long_name).copied().unwrap_or(0))
}

/// Whether Chinese characters are a family name, alone or with a given name of the usual length.
fn is_name(text: &str) -> bool {
    let has_family_name = |list: &[&str], max_given: usize| {
        list.iter().any(|family| text.strip_prefix(family).is_some_and(|given| given.chars().count() <= max_given))
    };
    !begins_with_other_word(text)
        && (has_family_name(word_list!("names.cjk_family_names_chinese"), 2)
            || has_family_name(word_list!("names.cjk_family_names_japanese"), 3))
}

fn begins_with_other_word(text: &str) -> bool {
    word_list!("names.cjk_other_words").iter().any(|other| text.starts_with(other))
}

/// Length of a Korean name that is a whole word before its title.
fn korean_name_len(head: &str, title: &str) -> usize {
    let start =
        head.char_indices().rev().take(5).take_while(|(_, c)| is_hangul(*c)).last().map_or(head.len(), |(at, _)| at);
    let name = head.get(start..).unwrap_or_default();
    let letter_count = name.chars().count();
    // 님 also follows words for functions: 고객님, 담당자님
    let has_name_length = if title == "님" {
        letter_count == 3 && !name.ends_with(['자', '원', '장'])
    } else {
        (1..=4).contains(&letter_count)
    };
    let has_family_name = word_list!("names.cjk_family_names_korean").iter().any(|family| name.starts_with(family))
        && !begins_with_other_word(name);
    if has_name_length && has_family_name { name.len() } else { 0 }
}
