//! Finds postal addresses by their grammar: house number and street in the orders of many countries, with unit, place
//! and postcode directly behind, and post office boxes. A search starts only at a number or cue and reads some 200
//! bytes at most. Address keys are in `keys`.

mod near;
mod numbers;
mod post_box;
mod street;
pub(super) mod tail;
#[cfg(test)]
mod tests;
mod told;

use super::action::Action;
use super::rule::Family;
use super::scan::{Claims, Scan};

/// Claims street lines and post boxes with their attached parts.
pub(super) fn claim(scan: &Scan<'_>, claims: &mut Claims) {
    if let Some(rule) = scan.rule(Family::Street) {
        let mut upto = 0;
        for number in &scan.anchors.numbers {
            if number.start < upto || !numbers::may_be(scan, number) {
                continue;
            }
            if let Some(found) = street::at(scan, &number.range()) {
                let end = tail::behind(scan, found.end);
                upto = end;
                claims.add(scan, rule, found.start..end);
            }
        }
    }
    let Some(rule) = scan.rule(Family::PostBox) else { return };
    for word in &scan.anchors.by.cues {
        if matches!(word.action, Action::Cue(of) if of == rule)
            && let Some((start, end)) = post_box::at(scan, word)
        {
            claims.add(scan, rule, start..tail::behind(scan, end));
        }
    }
}
