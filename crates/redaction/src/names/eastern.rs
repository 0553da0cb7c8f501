//! **What**: names of persons in Chinese, Japanese and Korean, before a title (`王小明先生`, `田中様`) or behind a word for a
//! person (`姓名：王小明`). **Why**: these scripts have no capital letters and mostly no blanks. **Invariants**: a name
//! begins with a family name of the lists; texts without such letters cost one look at each byte, texts of ASCII
//! nothing. **Not here**: the lists (`config/rules/lists/names.txt`).

use std::sync::LazyLock;

use crate::scan::{Claims, Scan};
use crate::wordlists;

/// A list of words.
macro_rules! list {
    ($name:ident, $list:literal) => {
        static $name: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words($list).collect());
    };
}

list!(TITLES, "names.eastern_titles");
list!(CUES, "names.eastern_cues");
list!(CUES_MAYBE, "names.eastern_cues_maybe");
list!(CHINESE, "names.eastern_chinese");
list!(JAPANESE, "names.eastern_japanese");
list!(KOREAN, "names.eastern_korean");
list!(OTHERS, "names.eastern_others");

/// First bytes of these scripts in UTF-8, and the same in sets that are looked for at once.
const LEADS: std::ops::RangeInclusive<u8> = 0xE3..=0xED;
const SETS: [[u8; 3]; 4] = [[0xE4, 0xE5, 0xE6], [0xE7, 0xE8, 0xE9], [0xE3, 0xEB, 0xEC], [0xEA, 0xED, 0xED]];
/// Most characters of a name.
const MOST: usize = 6;

/// Claims the names beside titles and words for persons.
pub(super) fn claim(scan: &Scan<'_>, rule: u16, claims: &mut Claims) {
    // dashes and accents make most texts that are not ASCII: those have none of these bytes
    let has = |[a, b, c]: [u8; 3]| memchr::memchr3(a, b, c, scan.text.as_bytes()).is_some();
    if !scan.anchors.facts.high || !SETS.into_iter().any(has) {
        return;
    }
    let leads = scan.text.bytes().enumerate().filter(|(_, byte)| LEADS.contains(byte)).map(|(at, _)| at);
    let mut done = 0;
    for at in leads {
        let rest = scan.text.get(at..).unwrap_or_default();
        if let Some(title) = TITLES.iter().find(|title| rest.starts_with(**title)) {
            let len = before(scan.text.get(done..at).unwrap_or_default(), title);
            let blank = if scan.before(at, 1) == b' ' { 1 } else { 0 };
            if len > 0 && claims.add(scan, rule, at - blank - len..at - blank) {
                done = at;
                continue;
            }
        }
        let sure = CUES.iter().find(|cue| rest.starts_with(**cue));
        let Some(cue) = sure.or_else(|| CUES_MAYBE.iter().find(|cue| rest.starts_with(**cue))) else { continue };
        let (gap, len) = behind(rest.get(cue.len()..).unwrap_or_default(), sure.is_some());
        let start = at + cue.len() + gap;
        if len > 0 && start >= done && claims.add(scan, rule, start..start + len) {
            done = start + len;
        }
    }
}

fn is_han(c: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&c) || c == '々'
}

fn is_hangul(c: char) -> bool {
    ('\u{AC00}'..='\u{D7A3}').contains(&c)
}

/// Bytes of the name that ends right before a title, or before the blank in front of it.
fn before(head: &str, title: &str) -> usize {
    let head = head.strip_suffix(' ').unwrap_or(head);
    if title.starts_with(is_hangul) {
        return korean(head, title);
    }
    let run: Vec<usize> =
        head.char_indices().rev().take(MOST).take_while(|(_, c)| is_han(*c)).map(|(at, _)| at).collect();
    // the longest one: 小明 alone is none, 王小明 is
    let names = run.iter().rev().filter_map(|at| head.get(*at..)).filter(|name| is_name(name));
    names.map(str::len).max().unwrap_or(0)
}

/// Bytes before the name that stands behind a word for a person, and the name's; `sure`: more letters may follow it.
fn behind(rest: &str, sure: bool) -> (usize, usize) {
    let name = rest.trim_start_matches([' ', ':', '：', '是', '为', '為', 'は', '「', '“', '"', '\'', '\u{3000}']);
    let ends: Vec<usize> =
        name.char_indices().take(MOST).take_while(|(_, c)| is_han(*c)).map(|(at, c)| at + c.len_utf8()).collect();
    let whole = ends.last().copied().unwrap_or(0);
    let closed = !name.get(whole..).unwrap_or_default().starts_with(is_han) && is_name(name.get(..whole).unwrap_or(""));
    let gap = rest.len() - name.len();
    match (closed && ends.len() > 1, sure) {
        (true, _) => (gap, whole),
        (false, true) => {
            let fits = |end: &&usize| name.get(..**end).is_some_and(|name| name.chars().count() > 1 && is_name(name));
            (gap, ends.iter().take(3).rev().find(fits).copied().unwrap_or(0))
        }
        _ => (gap, 0),
    }
}

/// Whether Chinese characters are a family name, alone or with a given name of the usual length.
fn is_name(text: &str) -> bool {
    let with = |list: &[&str], most: usize| {
        list.iter().any(|family| text.strip_prefix(family).is_some_and(|given| given.chars().count() <= most))
    };
    !OTHERS.iter().any(|other| text.starts_with(other)) && (with(&CHINESE, 2) || with(&JAPANESE, 3))
}

/// Bytes of a Korean name that is a whole word before its title.
fn korean(head: &str, title: &str) -> usize {
    let start =
        head.char_indices().rev().take(5).take_while(|(_, c)| is_hangul(*c)).last().map_or(head.len(), |(at, _)| at);
    let name = head.get(start..).unwrap_or_default();
    let letters = name.chars().count();
    // 님 is also put behind functions: 고객님, 담당자님
    let fits = if title == "님" {
        letters == 3 && !name.ends_with(['자', '원', '장'])
    } else {
        (1..=4).contains(&letters)
    };
    let known =
        KOREAN.iter().any(|family| name.starts_with(family)) && !OTHERS.iter().any(|other| name.starts_with(other));
    if fits && known { name.len() } else { 0 }
}
