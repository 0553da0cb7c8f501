//! A table in a form for people: the models it lists, and their prices in each window.

use super::decimal::plain;
use super::diff::{flat, ids};
use super::overlay::Effective;
use super::schema::Rate;
use super::source::Source;
use super::table::Table;

/// A listed model.
pub struct Listed {
    /// `provider/model`.
    pub place: String,
    /// All exact ids.
    pub ids: Vec<String>,
    /// Its windows, in order.
    pub windows: Vec<Window>,
}

/// One window.
pub struct Window {
    /// Inclusive; `None` = no start.
    pub from: Option<String>,
    /// Exclusive; `None` = open.
    pub to: Option<String>,
    /// All prices.
    pub prices: Vec<Sold>,
}

/// One price.
pub struct Sold {
    /// The unit and its circumstances.
    pub what: String,
    /// USD per million tokens (fees: per 1,000 uses).
    pub price: String,
    /// File and version of the price, if overlays were applied.
    pub source: Option<String>,
}

impl Source {
    /// Providers with their number of models and ids.
    pub fn summary(&self) -> Vec<(String, usize, usize)> {
        let one = |(key, provider): (&String, &super::schema::Provider)| {
            (key.clone(), provider.models.len(), provider.models.iter().flat_map(ids).count())
        };
        self.file.providers.iter().map(one).collect()
    }

    /// Models whose id, or `provider/id`, is `wanted`; if there are none, those with `wanted` in an id.
    pub fn listed(&self, wanted: &str) -> Vec<Listed> {
        self.listed_above(wanted, None)
    }

    /// `below`: the source of prices that no overlay changed.
    fn listed_above(&self, wanted: &str, below: Option<&str>) -> Vec<Listed> {
        let sold = |rate: &Rate, (what, text): (String, String)| {
            let source = rate.sources.get(&what).map(String::as_str).or(below).map(str::to_owned);
            Sold { what, price: plain(text), source }
        };
        let wanted = wanted.trim().to_lowercase();
        let pick = |fits: &dyn Fn(&str, &str) -> bool| -> Vec<Listed> {
            let mut out = Vec::new();
            for (key, provider) in &self.file.providers {
                for model in provider.models.iter().filter(|model| ids(model).any(|id| fits(key, &id.to_lowercase()))) {
                    let windows = model.rates.iter().map(|rate| Window {
                        from: rate.from.clone(),
                        to: rate.to.clone(),
                        prices: flat(rate).into_iter().map(|price| sold(rate, price)).collect(),
                    });
                    out.push(Listed {
                        place: format!("{key}/{}", model.id),
                        ids: ids(model).cloned().collect(),
                        windows: windows.collect(),
                    });
                }
            }
            out
        };
        let exact = pick(&|key, id| id == wanted || format!("{key}/{id}") == wanted);
        if exact.is_empty() { pick(&|_, id| id.contains(&wanted)) } else { exact }
    }
}

impl Effective {
    /// The models that [`Source::listed`] would find, with overlays applied and the source of each price.
    pub fn listed(&self, wanted: &str) -> Vec<Listed> {
        self.source.listed_above(wanted, Some(&self.below))
    }
}

impl Table {
    /// Providers, models and ids of the table, in one line.
    pub fn size(&self) -> String {
        format!("{} providers, {} models, {} ids", self.providers.len(), self.models(), self.ids())
    }
}
