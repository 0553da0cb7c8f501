//! **What**: persons' names as far as rules honestly go: behind words that announce them, under sign-offs, beside
//! e-mail addresses, by a list of given names, and again wherever a text repeats one that was found. **Why**: a name
//! has no shape; what stands around it tells. **Invariants**: cues are data (`config/rules/names.yaml`); what is read
//! around a place is bounded; seeds of the carry-over come from keys and strong cues only. **Not here**: keys (`keys`),
//! postal addresses (`addresses`).

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

/// Reused memory.
#[derive(Default)]
pub(super) struct NameScratch {
    keys: KeyScratch,
    /// Names that leave no doubt: they are found again elsewhere in the text.
    seeds: Vec<Range<usize>>,
}

impl NameScratch {
    /// Whether keys count as if everything beside them spoke for them.
    pub(super) fn trust_keys(&mut self, trust: bool) {
        self.keys.trust = trust;
    }
}

/// Claims by keys, cues, lists, and by what they found. E-mail addresses are claimed already.
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

/// Claims what was found, also by keys within views of the text, wherever else it stands.
pub(super) fn carry(scan: &Scan<'_>, scratch: &mut NameScratch, claims: &mut Claims) {
    let Some(rule) = scan.rule(Family::NameCarried) else { return };
    let is_key = |rule: u16| {
        let rule = scan.detector.rules.get(usize::from(rule));
        rule.is_some_and(|rule| rule.says == Says::Person && rule.family == Some(Family::Keys))
    };
    scratch.seeds.extend(claims.list.iter().filter(|claim| is_key(claim.rule)).map(|claim| claim.range.clone()));
    carry::claim(scan, rule, &scratch.seeds, claims);
}
