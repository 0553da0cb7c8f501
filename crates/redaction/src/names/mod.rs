//! Finds persons' names as far as rules can: after cue words, below closing formulas, next to e-mail addresses, by a
//! list of given names, and wherever a text repeats a name that was found. A name has no shape of its own; its
//! surroundings show it.
//!
//! Cues are data (`config/rules/names.yaml`). The text read around a position is bounded. Only unambiguous names are
//! searched in the rest of the text (`name_carry`). Keys are in `keys`, postal addresses in `addresses`.

mod cjk_names;
mod email_names;
mod listed;
mod name_carry;
pub(super) mod name_cues;
pub(super) mod name_lists;
pub(super) mod name_shape;
#[cfg(test)]
mod tests;
pub(super) mod thing_names;

use super::action::WordAction;
use super::addresses;
use super::keys;
use super::rule::RuleFamily;
use super::scan::TextScan;

pub(super) use name_carry::{carried_words, claim_words};

/// Claims names by keys, addresses, cues and lists. E-mail addresses must have been claimed before. The
/// unambiguous names become `scan.claims.carried_names`, which are searched in the rest of the text.
pub(super) fn claim_names(scan: &TextScan<'_>) {
    scan.claims.carried_names.borrow_mut().clear();
    keys::claim_keys(scan);
    email_names::claim_names_at_emails(scan);
    addresses::claim_addresses(scan);
    let cues = &scan.anchors.words_by_use.cue_words;
    for (index, word) in cues.iter().enumerate() {
        let WordAction::Cue(rule) = word.action else { continue };
        let found = match scan.family(rule) {
            Some(RuleFamily::NameIntroduced) => name_cues::name_after_sure_cue(scan, word),
            Some(RuleFamily::NameCued) => name_cues::name_after_weak_cue(scan, word),
            Some(RuleFamily::NameGreeted) => {
                name_cues::name_after_greeting(scan, word, cues.get(index + 1..).unwrap_or_default())
            }
            Some(RuleFamily::NameSigned) => name_cues::name_below_closing(scan, word),
            _ => None,
        };
        if let Some(name) = found
            && scan.claim(rule, name.range.clone())
            && (name.has_given_name || name.word_count > 1 || scan.family(rule) == Some(RuleFamily::NameIntroduced))
        {
            scan.claims.carried_names.borrow_mut().push(name.range);
        }
    }
    if let Some(rule) = scan.rule(RuleFamily::NameCjk) {
        cjk_names::claim_cjk_names(scan, rule);
    }
    if let Some(rule) = scan.rule(RuleFamily::NameListed) {
        listed::claim_listed_names(scan, rule);
    }
}

/// Claims further occurrences of names that were found, also by keys in views of the text.
pub(super) fn claim_carried_names(scan: &TextScan<'_>) {
    let Some(rule) = scan.rule(RuleFamily::NameRepeated) else { return };
    let is_key = |rule: u16| {
        let rule = scan.detector.compiled_rule(rule);
        rule.is_some_and(|rule| rule.family == Some(RuleFamily::Keys) && rule.has_placeholder("PERSON"))
    };
    let mut carried_names = scan.claims.carried_names.take();
    carried_names
        .extend(scan.claims.list.borrow().iter().filter(|claim| is_key(claim.rule)).map(|claim| claim.range.clone()));
    name_carry::claim_repeated_names(scan, rule, &carried_names);
}
