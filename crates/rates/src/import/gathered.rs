//! **What**: the models of a public list while it is read ([`Gathered`]), and why a text is no list ([`NotAList`]).
//! **Invariants**: what has no price, is free or can't be held exactly is left out and told. **Not here**: the lists'
//! formats.

use std::collections::BTreeMap;

use crate::decimal::Decimal;
use crate::diff::flat;
use crate::schema::{Model, Price, Rate};
use crate::unit::{Fee, Unit};

/// Why a text is no price list of its format.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAList {
    /// It is not JSON, or not of the shape.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It has no list of providers.
    #[error("no providers")]
    NoProviders,
}

/// Gathers models while a list is read.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) providers: BTreeMap<String, BTreeMap<String, Model>>,
    pub(super) skipped: Vec<(String, &'static str)>,
    pub(super) unread: BTreeMap<String, usize>,
}

impl Gathered {
    pub(super) fn skip(&mut self, id: &str, why: &'static str) {
        self.skipped.push((id.to_owned(), why));
    }

    /// A word that nothing here stands for.
    pub(super) fn unread(&mut self, word: &str) {
        let seen = self.unread.entry(word.to_owned()).or_default();
        *seen = seen.saturating_add(1);
    }

    /// A model of a provider; one without any price, or free of charge, is left out.
    pub(super) fn add(&mut self, provider: &str, mut model: Model) {
        let name = format!("{provider}/{}", model.id);
        let priced = |rate: &Rate| !rate.price.is_empty();
        let zero = |text: &String| Decimal::parse(text).is_none_or(Decimal::is_zero);
        let held = |rate: &Rate| flat(rate).values().all(|text| exact(text));
        if !model.rates.iter().all(held) {
            return self.skip(&name, "a price can't be held exactly");
        }
        if !model.rates.iter().any(priced) {
            return self.skip(&name, "no price per token");
        }
        if model.rates.iter().all(|rate| rate.price.values().all(zero)) {
            return self.skip(&name, "free: list it yourself, or it stays unpriced");
        }
        model.ids.sort();
        model.ids.dedup();
        match self.providers.entry(provider.to_owned()).or_default().entry(model.id.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(model)),
            std::collections::btree_map::Entry::Occupied(entry) if entry.get().rates == model.rates => {}
            std::collections::btree_map::Entry::Occupied(_) => self.skip(&name, "listed twice with other prices"),
        }
    }
}

/// Whether a price per million (or fee per thousand, or factor) can be held in 1e-18 USD per token.
fn exact(text: &str) -> bool {
    Decimal::parse(text).is_some_and(|decimal| !decimal.is_negative() && decimal.per_unit(1_000_000).is_some())
}

/// Puts a price under a unit's word.
pub(super) fn put(price: &mut Price, unit: Unit, text: String) {
    price.insert(unit.as_str().to_owned(), text);
}

/// Puts a fee under its word.
pub(super) fn put_fee(fees: &mut Price, fee: Fee, text: String) {
    fees.insert(fee.as_str().to_owned(), text);
}
