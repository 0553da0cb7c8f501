//! Finds persons' names as far as rules can: behind cue words, under sign-offs, next to e-mail addresses, by a list of
//! given names, and wherever a text repeats a name that was found. A name has no shape of its own; its surroundings
//! show it.
//!
//! Cues are data (`config/rules/names.yaml`). The text read around a position is bounded. Only keys and strong cues
//! give seeds for the carry-over. Keys are in `keys`, postal addresses in `addresses`.

mod carry;
pub(super) mod cues;
mod eastern;
mod in_ids;
mod listed;
mod mail;
mod places;
mod records;
pub(super) mod shape;
#[cfg(test)]
mod tests;
pub(super) mod things;
pub(super) mod words;

use std::ops::Range;

use super::action::Action;
use super::addresses;
use super::detector::Says;
use super::keys::{self, KeyScratch};
use super::rule::Family;
use super::scan::{Claims, Scan};

pub(super) use carry::{claim_words, words_of as carried_words};
pub(super) use in_ids::{id_names, is_given_word};

/// Buffers, reused between texts.
#[derive(Default)]
pub(super) struct NameScratch {
    keys: KeyScratch,
    /// Unambiguous names, which are searched elsewhere in the text.
    seeds: Vec<Range<usize>>,
}

impl NameScratch {
    /// Whether to accept every key as if its siblings confirmed it.
    pub(super) fn trust_keys(&mut self, trust: bool) {
        self.keys.trust = trust;
    }
}

/// Claims names by keys, addresses, cues and lists. E-mail addresses must have been claimed before.
pub(super) fn claim(scan: &Scan<'_>, scratch: &mut NameScratch, claims: &mut Claims) {
    scratch.seeds.clear();
    keys::claim(scan, &mut scratch.keys, claims);
    mail::claim(scan, &mut scratch.seeds, claims);
    addresses::claim(scan, claims);
    let cues = &scan.anchors.by.cues;
    for (index, word) in cues.iter().enumerate() {
        let (rule, found) = match word.action {
            Action::Cue(rule) => (rule, scan.family(rule)),
            // `1. Lei Kim (DOB: …)`
            Action::Number(Family::Birth) if scan.before(word.at, 1) == b'(' => match scan.rule(Family::NameCued) {
                Some(rule) => (rule, Some(Family::Birth)),
                None => continue,
            },
            _ => continue,
        };
        let found = match found {
            Some(Family::Birth) => cues::born(scan, word),
            Some(Family::NameRecord) => {
                records::claim(scan, word, rule, claims);
                None
            }
            Some(Family::NameIntroduced) => cues::introduced(scan, word),
            Some(Family::NameCued) => cues::cued(scan, word),
            Some(Family::NameGreeted) => cues::greeted(scan, word, cues.get(index + 1..).unwrap_or_default()),
            Some(Family::NameSigned) => cues::signed(scan, word),
            _ => None,
        };
        if let Some(name) = found
            && claims.add(scan, rule, name.range.clone())
            && (name.given || name.words > 1 || scan.family(rule) == Some(Family::NameIntroduced))
        {
            scratch.seeds.push(name.range);
        }
    }
    if let Some(rule) = scan.rule(Family::NameEastern) {
        eastern::claim(scan, rule, claims);
    }
    if let Some(rule) = scan.rule(Family::NameListed) {
        listed::claim(scan, rule, &mut scratch.seeds, claims);
    }
}

/// Claims further occurrences of names that were found, also by keys in views of the text.
pub(super) fn carry(scan: &Scan<'_>, scratch: &mut NameScratch, claims: &mut Claims) {
    let Some(rule) = scan.rule(Family::NameCarried) else { return };
    let is_key = |rule: u16| {
        let rule = scan.detector.rules.get(usize::from(rule));
        rule.is_some_and(|rule| rule.says == Says::Person && rule.family == Some(Family::Keys))
    };
    scratch.seeds.extend(claims.list.iter().filter(|claim| is_key(claim.rule)).map(|claim| claim.range.clone()));
    carry::claim(scan, rule, &scratch.seeds, claims);
}
