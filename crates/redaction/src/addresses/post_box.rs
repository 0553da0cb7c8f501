//! Post boxes and military addresses, which have no street. Streets are in `street`, attached units and places in
//! `address_parts`.

use crate::scan::TextScan;
use crate::stems::StemMatch;

/// Finds `P.O. Box 12` at a cue, and returns its start and end.
pub(super) fn match_post_box(scan: &TextScan<'_>, cue: &StemMatch) -> Option<(usize, usize)> {
    let rest = scan.text_after(cue.end, 24);
    // `APO`, `FPO` and `DPO` are the only cues of three letters: `APO AE 09012`
    if cue.end - cue.start > 3 {
        let number = code_pattern!(r"[ #:.]+(?:\d{1,3}(?: \d{2,3}){1,2}(?-u:\b)|\d{1,10})");
        return number.match_len(rest).map(|len| (cue.start, cue.end + len));
    }
    let is_upper = scan.bytes(cue.start..cue.end).iter().all(u8::is_ascii_uppercase);
    let len = code_pattern!(r" A[AEP] \d{5}(?-u:\b)").match_len(rest).filter(|_| is_upper)?;
    // The unit in the line before it: `PSC 12, Box 34`
    let head = scan.text_before(cue.start, 48).trim_end_matches(['\n', ' ', ',']);
    let line_start = head.rfind(['\n', '"', ':']).map_or(0, |at| at + 1);
    let line = head.get(line_start..).unwrap_or_default();
    let units = ["PSC ", "Unit ", "USNS ", "USCGC ", "USNV ", "USS "];
    let unit = units.iter().filter_map(|unit| line.rfind(unit)).min();
    let before = scan.text_before(cue.start, 48).len();
    Some((unit.map_or(cue.start, |at| cue.start - before + line_start + at), cue.end + len))
}
