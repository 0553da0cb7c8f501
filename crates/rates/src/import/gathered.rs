//! [`Gathered`]: the models of a public list while it is read, and [`NotAList`]: why a text is not such a list. Models
//! without a price, free ones and those whose price cannot be held exactly are skipped and reported. The formats are
//! in the sibling modules.

use std::collections::BTreeMap;

use crate::decimal::Decimal;
use crate::diff::flat;
use crate::schema::{Model, Price, Rate};
use crate::unit::{Fee, Unit};

/// Why a text is not a price list of its format.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAList {
    /// The text is not JSON, or not of the expected shape.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The text has no list of providers.
    #[error("no providers")]
    NoProviders,
}

/// Collects models while a list is read.
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

    /// Counts a price key or rule that has no equivalent in our schema.
    pub(super) fn unread(&mut self, word: &str) {
        let seen = self.unread.entry(word.to_owned()).or_default();
        *seen = seen.saturating_add(1);
    }

    /// Adds a model of a provider; models without any price, or free of charge, are skipped.
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

/// Inserts the price of a unit.
pub(super) fn put(price: &mut Price, unit: Unit, text: String) {
    price.insert(unit.as_str().to_owned(), text);
}

/// Inserts a fee.
pub(super) fn put_fee(fees: &mut Price, fee: Fee, text: String) {
    fees.insert(fee.as_str().to_owned(), text);
}
