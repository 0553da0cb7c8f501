//! Carries findings from one text of an item to its other texts: an attribute says `customer.name`, and an event of the
//! same span has the bare name. Only values after a key or word and names of persons are carried, at most
//! [`MAX_FINDINGS`] of each, and only if they could hardly mean anything else, as within one text (`value_carry`). Hits
//! avoid existing placeholders and keep JSON valid, and the text is searched again with its placeholders.
//! `processors/redact` knows which texts belong to one item.

use std::sync::LazyLock;

use super::anchors::Anchors;
use super::detector::Detector;
use super::find::SearchScratch;
use super::names;
use super::resolve::{RedactionHit, find_placeholders};
use super::rule::RuleFamily;
use super::scan::{PrivateClaims, TextScan};
use super::value_carry::{FoundValue, is_carried};

/// Most values, and most words of names, of one item.
const MAX_FINDINGS: usize = 64;

/// Values and names found in the texts of one item.
#[derive(Default)]
pub struct ItemFindings {
    /// Values, with the rules that found them.
    values: Vec<(Box<str>, u16)>,
    /// Words of names.
    names: Vec<Box<str>>,
}

impl ItemFindings {
    /// Whether there are no values and no names.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.names.is_empty()
    }

    /// Adds the values and names of another text, up to the limit.
    pub fn merge(&mut self, other: Self) {
        other.values.into_iter().for_each(|(value, rule)| self.add_value(&value, rule));
        other.names.into_iter().for_each(|name| self.add_name(&name));
    }

    fn add_value(&mut self, value: &str, rule: u16) {
        if self.values.len() < MAX_FINDINGS && !self.values.iter().any(|(known, _)| **known == *value) {
            self.values.push((value.into(), rule));
        }
    }

    fn add_name(&mut self, name: &str) {
        if self.names.len() < MAX_FINDINGS && !self.names.iter().any(|known| **known == *name) {
            self.names.push(name.into());
        }
    }
}

/// An empty list of anchors: carried names may occur anywhere.
static NO_ANCHORS: LazyLock<Anchors> = LazyLock::new(Anchors::default);

impl Detector {
    /// Adds to `findings` those `hits` of a text that are to be found in the other texts of its item.
    pub fn collect_item_findings(&self, text: &str, hits: &[RedactionHit], findings: &mut ItemFindings) {
        if !self.options.redact_repeats {
            return;
        }
        for hit in hits {
            let Some(rule) = self.compiled_rule(hit.rule) else { continue };
            let found = text.get(hit.range.clone()).unwrap_or_default();
            if is_carried(rule, found) {
                findings.add_value(found, hit.rule);
            }
            let is_name = match rule.family {
                Some(RuleFamily::NameIntroduced) => true,
                Some(RuleFamily::Keys) => rule.has_placeholder("PERSON"),
                Some(RuleFamily::NameCued | RuleFamily::NameSigned | RuleFamily::NameMail) => found.contains(' '),
                _ => false,
            };
            names::carried_words(found).filter(|_| is_name).for_each(|word| findings.add_name(word));
        }
    }

    /// Finds the values and names of `findings` in `text`, the value of `key` ("" if it has none), and whatever their
    /// placeholders then expose. The hits are sorted, do not overlap, and are valid until the next call with this
    /// scratch.
    pub fn find_item_findings<'s>(
        &self,
        key: &str,
        text: &str,
        findings: &ItemFindings,
        scratch: &'s mut SearchScratch,
    ) -> &'s [RedactionHit] {
        scratch.hits.clear();
        let mut placeholders = Vec::new();
        find_placeholders(text, &|name| self.is_placeholder(name), &mut placeholders);
        let values = findings.values.iter().map(|(value, rule)| FoundValue { value, rule: *rule });
        let mut hits = self.find_values(text, &placeholders, values);
        if let Some(rule) = self.families.rule(RuleFamily::NameRepeated) {
            let claims = PrivateClaims::default();
            let scan =
                TextScan { text, anchors: &NO_ANCHORS, placeholders: &placeholders, detector: self, claims: &claims };
            let words: Vec<&str> = findings.names.iter().map(|name| &**name).collect();
            names::claim_words(&scan, rule, &words);
            hits.extend(claims.list.take());
        }
        if hits.is_empty() {
            return &scratch.hits;
        }
        self.settle_hits(text, &mut hits);
        scratch.hits = hits;
        self.find_exposed(key, text, scratch);
        &scratch.hits
    }
}
