//! Post boxes and military addresses, which have no street. Streets are in `street`, attached units and places in
//! `address_parts`.

use crate::scan::TextScan;
use crate::stems::StemMatch;

/// Finds `P.O. Box 12` at a cue, and returns its start and end.
pub(super) fn match_post_box(scan: &TextScan<'_>, cue: &StemMatch) -> Option<(usize, usize)> {
    let word = scan.part(cue.start..cue.end);
    let rest = scan.bytes(cue.end..cue.end + 24);
    let blanks = rest.iter().take_while(|byte| b" #:.".contains(byte)).count();
    // `APO`, `FPO` and `DPO` are the only cues of three letters
    if word.len() == 3 {
        return match_military(scan, cue, rest);
    }
    let id_len = box_number_len(rest.get(blanks..).unwrap_or_default());
    (blanks > 0 && id_len > 0).then_some((cue.start, cue.end + blanks + id_len))
}

/// Most digits of a grouped number such as `12 345`; further digits are not part of it.
const MAX_GROUPED_DIGITS: usize = 6;
/// Most digits of a box number without groups.
const MAX_DIGITS: usize = 10;

/// Length of the box number at the start of `rest`; 0 if there is none.
fn box_number_len(rest: &[u8]) -> usize {
    let (mut len, mut digits) = (0, 0);
    loop {
        let from = len + usize::from(len > 0);
        let group = rest.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let max_digits = if len == 0 { MAX_DIGITS } else { MAX_GROUPED_DIGITS };
        if group == 0 || digits + group > max_digits {
            return len;
        }
        (len, digits) = (from + group, digits + group);
        if rest.get(len) != Some(&b' ') {
            return len;
        }
    }
}

/// `APO AE 09012`, with the unit in the line before it: `PSC 12, Box 34`.
fn match_military(scan: &TextScan<'_>, cue: &StemMatch, rest: &[u8]) -> Option<(usize, usize)> {
    if !scan.part(cue.start..cue.end).bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    if let [b' ', b'A', b'A' | b'E' | b'P', b' ', digits @ ..] = rest {
        let len = digits.iter().take(5).take_while(|byte| byte.is_ascii_digit()).count();
        let head = scan.text_before(cue.start, 48);
        let line = head.trim_end_matches(['\n', ' ', ',']);
        let line = line.rsplit(['\n', '"', ':']).next().unwrap_or("");
        let unit_start = ["PSC ", "Unit ", "USNS ", "USCGC ", "USNV ", "USS "]
            .iter()
            .filter_map(|unit_start| line.rfind(unit_start))
            .min();
        let start = unit_start.map_or(cue.start, |at| {
            let offset = line.as_ptr() as usize - head.as_ptr() as usize;
            cue.start - head.len() + offset + at
        });
        return (len == 5).then_some((start, cue.end + 4 + len));
    }
    None
}
