//! Finds postal addresses by their grammar: house number and street in the orders of many countries, with unit, place
//! and postcode directly after, and post office boxes. A search starts only at a number or cue and reads some 200
//! bytes at most. Address keys are in `keys`.

pub(super) mod address_parts;
mod announced_streets;
mod street;
#[cfg(test)]
mod tests;

use super::action::WordAction;
use super::rule::RuleFamily;
use super::scan::TextScan;
use super::stems::StemMatch;

/// Claims street lines and post boxes with their attached parts.
pub(super) fn claim_addresses(scan: &TextScan<'_>) {
    if let Some(rule) = scan.rule(RuleFamily::Street) {
        let mut claimed_until = 0;
        for number in &scan.anchors.digit_runs {
            if number.start < claimed_until || !announced_streets::may_be_house_number(scan, number) {
                continue;
            }
            if let Some(street_line) = street::match_street(scan, &number.range()) {
                let end = address_parts::address_end(scan, street_line.end);
                claimed_until = end;
                scan.claim(rule, street_line.start..end);
            }
        }
    }
    let Some(rule) = scan.rule(RuleFamily::PostBox) else { return };
    for word in &scan.anchors.words_by_use.cue_words {
        if matches!(word.action, WordAction::Cue(of) if of == rule)
            && let Some((start, end)) = match_post_box(scan, word)
        {
            scan.claim(rule, start..address_parts::address_end(scan, end));
        }
    }
}

/// Finds `P.O. Box 12` at a cue, and returns its start and end.
fn match_post_box(scan: &TextScan<'_>, cue: &StemMatch) -> Option<(usize, usize)> {
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
