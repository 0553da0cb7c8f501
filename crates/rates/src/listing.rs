//! A table in a form for people: the models it lists, and their prices in each window.

use super::decimal::plain_decimal;
use super::overlay::EffectiveTable;
use super::schema::{ProviderSpec, RateSpec};
use super::source::TableSource;
use super::table::RateTable;

pub struct ListedModel {
    /// `provider/model`.
    pub place: String,
    pub ids: Vec<String>,
    pub windows: Vec<PriceWindow>,
}

pub struct PriceWindow {
    /// Inclusive; `None` = no start.
    pub from: Option<String>,
    /// Exclusive; `None` = open.
    pub to: Option<String>,
    pub prices: Vec<ListedPrice>,
}

pub struct ListedPrice {
    pub unit: String,
    /// USD per million tokens (fees: per 1,000 uses).
    pub price: String,
    /// File and version of the price, if overlays were applied.
    pub source: Option<String>,
}

impl ListedPrice {
    /// What the price is for: a fee is per use, everything else per token.
    pub fn measure(&self) -> &'static str {
        if self.unit.split(' ').any(|word| word == "fee") { "USD per 1,000 uses" } else { "USD per million tokens" }
    }
}

impl TableSource {
    /// Providers with their numbers of models and of ids.
    pub fn summary(&self) -> Vec<(String, usize, usize)> {
        let count = |(key, provider): (&String, &ProviderSpec)| {
            (key.clone(), provider.models.len(), provider.models.iter().map(|model| model.exact_ids().len()).sum())
        };
        self.file.providers.iter().map(count).collect()
    }

    /// Models whose id, or `provider/id`, is `wanted`; if there are none, those with `wanted` in an id.
    pub fn find_models(&self, wanted: &str) -> Vec<ListedModel> {
        self.find_models_with_base(wanted, None)
    }

    /// `base_label`: the source of prices that no overlay changed.
    fn find_models_with_base(&self, wanted: &str, base_label: Option<&str>) -> Vec<ListedModel> {
        let list_price = |rate: &RateSpec, (what, text): (String, String)| {
            let source = rate.sources.get(&what).map(String::as_str).or(base_label).map(str::to_owned);
            ListedPrice { unit: what, price: plain_decimal(text), source }
        };
        let wanted = wanted.trim().to_lowercase();
        let select = |matches: &dyn Fn(&str, &str) -> bool| -> Vec<ListedModel> {
            let mut out = Vec::new();
            for (key, provider) in &self.file.providers {
                for model in provider
                    .models
                    .iter()
                    .filter(|model| model.exact_ids().iter().any(|id| matches(key, &id.to_lowercase())))
                {
                    let windows = model.rates.iter().map(|rate| PriceWindow {
                        from: rate.from.clone(),
                        to: rate.to.clone(),
                        prices: rate.flatten_prices().into_iter().map(|price| list_price(rate, price)).collect(),
                    });
                    out.push(ListedModel {
                        place: format!("{key}/{}", model.id),
                        ids: model.exact_ids().to_vec(),
                        windows: windows.collect(),
                    });
                }
            }
            out
        };
        let exact = select(&|key, id| id == wanted || format!("{key}/{id}") == wanted);
        if exact.is_empty() { select(&|_, id| id.contains(&wanted)) } else { exact }
    }
}

impl EffectiveTable {
    /// The models that [`TableSource::find_models`] would find, with overlays applied and the source of each price.
    pub fn find_models(&self, wanted: &str) -> Vec<ListedModel> {
        self.source.find_models_with_base(wanted, Some(&self.base_label))
    }
}

impl RateTable {
    /// Providers, models and ids of the table, in one line.
    pub fn size_summary(&self) -> String {
        format!("{} providers, {} models, {} ids", self.providers.len(), self.model_count(), self.id_count())
    }
}
