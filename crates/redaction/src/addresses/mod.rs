//! Finds postal addresses by their grammar: house number and street in the orders of many countries, with unit, place
//! and postcode directly after, and post office boxes. A search starts only at a number or cue and reads some 200
//! bytes at most. Address keys are in `keys`.

pub(super) mod address_parts;
mod announced_streets;
mod house_numbers;
mod post_box;
mod street;
#[cfg(test)]
mod tests;

use super::action::WordAction;
use super::rule::RuleFamily;
use super::scan::TextScan;

/// Claims street lines and post boxes with their attached parts.
pub(super) fn claim_addresses(scan: &TextScan<'_>) {
    if let Some(rule) = scan.rule(RuleFamily::Street) {
        let mut claimed_until = 0;
        for number in &scan.anchors.digit_runs {
            if number.start < claimed_until || !house_numbers::may_be_house_number(scan, number) {
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
            && let Some((start, end)) = post_box::match_post_box(scan, word)
        {
            scan.claim(rule, start..address_parts::address_end(scan, end));
        }
    }
}
