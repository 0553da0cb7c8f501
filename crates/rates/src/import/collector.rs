//! [`ModelCollector`]: the models of a public list while it is read, and [`PriceListError`]: why a text is not such a
//! list. Models without a price, free ones and those whose price cannot be held exactly are skipped and reported. The
//! sibling modules read the formats.

use std::collections::BTreeMap;

use crate::decimal::Decimal;
use crate::diff::flatten_prices;
use crate::schema::{ModelSpec, PriceTexts, RateSpec};
use crate::unit::{Fee, Unit};

/// Why a text is not a price list of its format.
#[derive(Debug, thiserror::Error)]
pub(super) enum PriceListError {
    /// The text is not JSON, or not of the expected shape.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The text has no list of providers.
    #[error("no providers")]
    NoProviders,
}

/// Collects models while a list is read.
#[derive(Default)]
pub(super) struct ModelCollector {
    pub(super) providers: BTreeMap<String, BTreeMap<String, ModelSpec>>,
    pub(super) skipped: Vec<(String, &'static str)>,
    pub(super) unsupported: BTreeMap<String, usize>,
}

impl ModelCollector {
    pub(super) fn skip_model(&mut self, id: &str, reason: &'static str) {
        self.skipped.push((id.to_owned(), reason));
    }

    /// Counts a price key or rule that has no equivalent in our schema.
    pub(super) fn count_unsupported(&mut self, word: &str) {
        let count = self.unsupported.entry(word.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds a model of a provider; models without any price, or free of charge, are skipped.
    pub(super) fn add_model(&mut self, provider: &str, mut model: ModelSpec) {
        let name = format!("{provider}/{}", model.id);
        let has_price = |rate: &RateSpec| !rate.price.is_empty();
        let is_zero = |text: &String| Decimal::parse(text).is_none_or(Decimal::is_zero);
        let is_exact_rate = |rate: &RateSpec| flatten_prices(rate).values().all(|text| is_exact(text));
        if !model.rates.iter().all(is_exact_rate) {
            return self.skip_model(&name, "a price has too many digits");
        }
        if !model.rates.iter().any(has_price) {
            return self.skip_model(&name, "no price per token");
        }
        if model.rates.iter().all(|rate| rate.price.values().all(is_zero)) {
            return self.skip_model(&name, "free of charge: add it yourself, otherwise its calls have no price");
        }
        model.ids.sort();
        model.ids.dedup();
        match self.providers.entry(provider.to_owned()).or_default().entry(model.id.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(model)),
            std::collections::btree_map::Entry::Occupied(entry) if entry.get().rates == model.rates => {}
            std::collections::btree_map::Entry::Occupied(_) => {
                self.skip_model(&name, "listed twice with different prices")
            }
        }
    }
}

/// Whether a price per million (or fee per thousand, or factor) can be held in 1e-18 USD per token.
fn is_exact(text: &str) -> bool {
    Decimal::parse(text).is_some_and(|decimal| !decimal.is_negative() && decimal.per_unit(1_000_000).is_some())
}

/// Inserts the price of a unit.
pub(super) fn put_price(price: &mut PriceTexts, unit: Unit, text: String) {
    price.insert(unit.as_str().to_owned(), text);
}

/// Inserts a fee.
pub(super) fn put_fee(fees: &mut PriceTexts, fee: Fee, text: String) {
    fees.insert(fee.as_str().to_owned(), text);
}
