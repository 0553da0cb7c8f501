//! Carries findings from one text of an item to its other texts: an attribute says `customer.name`, and an event of the
//! same span has the bare name. Only values behind a key or word and names of persons are carried, at most [`MOST`] of
//! each, and only if they could hardly mean anything else, as within one text ([`super::carry`]). Hits avoid existing
//! placeholders, keep JSON valid, and are searched again for what they expose. `processors/redact` knows which texts
//! belong to one item.

use std::sync::LazyLock;

use super::anchors::Anchors;
use super::carry::{Seed, is_seed};
use super::detector::{Detector, Says};
use super::find::Scratch;
use super::json;
use super::names;
use super::resolve::{Hit, reserved, resolve};
use super::rule::Family;
use super::scan::{Claims, Scan};

/// Most values, and most words of names, of one item.
const MOST: usize = 64;

/// Values and names found in the texts of one item.
#[derive(Default)]
pub struct Told {
    /// Values, with the rules that found them.
    values: Vec<(Box<str>, usize)>,
    /// Words of names.
    names: Vec<Box<str>>,
}

impl Told {
    /// Whether there are no values and no names.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.names.is_empty()
    }

    /// Adds the values and names of another text, up to the limit.
    pub fn join(&mut self, other: Self) {
        other.values.into_iter().for_each(|(value, rule)| self.value(&value, rule));
        other.names.into_iter().for_each(|name| self.name(&name));
    }

    fn value(&mut self, value: &str, rule: usize) {
        if self.values.len() < MOST && !self.values.iter().any(|(known, _)| **known == *value) {
            self.values.push((value.into(), rule));
        }
    }

    fn name(&mut self, name: &str) {
        if self.names.len() < MOST && !self.names.iter().any(|known| **known == *name) {
            self.names.push(name.into());
        }
    }
}

/// An empty list of anchors: carried names may occur anywhere.
static NOTHING: LazyLock<Anchors> = LazyLock::new(Anchors::default);

impl Detector {
    /// Adds to `told` those `hits` of a text that are to be found in the other texts of its item.
    pub fn tell(&self, text: &str, hits: &[Hit], told: &mut Told) {
        if !self.choices.carry_over {
            return;
        }
        for hit in hits {
            let Some(rule) = self.rules.get(hit.rule) else { continue };
            let found = text.get(hit.range.clone()).unwrap_or_default();
            if is_seed(rule, found) {
                told.value(found, hit.rule);
            }
            let named = match rule.family {
                Some(Family::NameIntroduced) => true,
                Some(Family::Keys) => rule.says == Says::Person,
                Some(Family::NameCued | Family::NameSigned | Family::NameMail) => found.contains(' '),
                _ => false,
            };
            names::carried_words(found).filter(|_| named).for_each(|word| told.name(word));
        }
    }

    /// Finds the values and names of `told` in `text`, the value of `key` ("" if it has none), and whatever their
    /// placeholders then expose. The hits are sorted, do not overlap, and are valid until the next call with this
    /// scratch.
    pub fn find_told<'s>(&self, key: &str, text: &str, told: &Told, scratch: &'s mut Scratch) -> &'s [Hit] {
        scratch.hits.clear();
        let mut held = Vec::new();
        reserved(text, &|name| self.is_placeholder(name), &mut held);
        let seeds: Vec<Seed<'_>> = told.values.iter().map(|(value, rule)| Seed { value, rule: *rule }).collect();
        let mut hits = self.repeated(text, &held, &seeds, seeds.iter().copied());
        if let Some(rule) = self.families.rule(Family::NameCarried) {
            let scan = Scan { text, anchors: &NOTHING, reserved: &held, detector: self };
            let (mut claims, words) = (Claims::default(), told.names.iter().map(|name| &**name).collect());
            names::claim_words(&scan, rule, words, &mut claims);
            hits.extend(claims.list.into_iter().map(|claim| Hit {
                range: claim.range,
                rule: usize::from(claim.rule),
                bare: None,
            }));
        }
        if hits.is_empty() {
            return &scratch.hits;
        }
        resolve(&mut hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
        json::mend(text, &mut hits, &|name| self.is_placeholder(name));
        scratch.hits = hits;
        self.find_again(key, text, scratch);
        &scratch.hits
    }
}
