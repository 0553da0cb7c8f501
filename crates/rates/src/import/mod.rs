//! Converts public price lists into our schema: LiteLLM's map, genai-prices' data, models.dev's list.
//! Numbers are read as text, never through floats. Prices that cannot be held exactly and free models are skipped and
//! reported. The price of a closed window never changes. `diff` decides whether imported prices are plausible;
//! `src/cli` handles files and arguments.

mod collector;
mod genai_prices;
mod litellm;
mod models_dev;
mod raw;

use std::collections::{BTreeMap, BTreeSet};

use super::decimal::Decimal;
use super::diff::{exact_ids, find_model, flatten_prices};
use super::schema::{ModelSpec, ProviderSpec, SCHEMA, TableFile};
use super::source::{TableSource, digest_text};
use super::table::RatesError;
use collector::ModelCollector;

/// A public format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceListFormat {
    /// `model_prices_and_context_window.json` of LiteLLM.
    LiteLlm,
    /// `data.json` of genai-prices.
    GenaiPrices,
    /// `api.json` of models.dev.
    ModelsDev,
}

impl PriceListFormat {
    /// The format with this name on the command line.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "litellm" => Some(Self::LiteLlm),
            "genai-prices" => Some(Self::GenaiPrices),
            "models.dev" => Some(Self::ModelsDev),
            _ => None,
        }
    }

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LiteLlm => "litellm",
            Self::GenaiPrices => "genai-prices",
            Self::ModelsDev => "models.dev",
        }
    }
}

/// An imported list.
pub struct ImportedTable {
    /// The list as a table.
    pub source: TableSource,
    /// Skipped entries: id and reason.
    pub skipped: Vec<(String, &'static str)>,
    /// Keys of prices and rules without an equivalent in our schema, and their number of occurrences.
    pub unsupported: BTreeMap<String, usize>,
}

/// Providers that sell their own models: only these are considered if a call names no provider.
const VENDORS: [&str; 17] = [
    "anthropic",
    "openai",
    "google",
    "mistral",
    "deepseek",
    "x-ai",
    "cohere",
    "meta",
    "moonshotai",
    "zai",
    "minimax",
    "ai21",
    "voyageai",
    "voyage",
    "inception",
    "jina_ai",
    "elevenlabs",
];

/// Units and the parent whose price applies if a unit has none.
const UNIT_PARENTS: &[(&str, &str)] = &[
    ("cache_read", "input"),
    ("cache_write", "input"),
    ("cache_write_5m", "cache_write"),
    ("cache_write_30m", "cache_write"),
    ("cache_write_1h", "cache_write"),
    ("cache_write_12h", "cache_write"),
    ("input_audio", "input"),
    ("input_image", "input"),
    ("input_video", "input"),
    ("cache_read_audio", "cache_read"),
    ("cache_read_image", "cache_read"),
    ("output_audio", "output"),
    ("output_image", "output"),
    ("output_video", "output"),
    ("output_citation", "output"),
    ("reasoning", "output"),
];

impl ModelCollector {
    /// Builds the table; an id that two models claim stays with the first.
    fn into_imported(mut self, format: PriceListFormat, text: &str, version: &str) -> ImportedTable {
        let mut providers = BTreeMap::new();
        for (key, models) in std::mem::take(&mut self.providers) {
            let mut taken_ids: BTreeSet<String> = models.keys().map(|id| id.to_lowercase()).collect();
            let mut list = Vec::new();
            for mut model in models.into_values() {
                let own = model.id.to_lowercase();
                let lower = model.ids.iter().map(|id| id.to_lowercase()).filter(|id| *id != own);
                for id in lower.filter(|id| taken_ids.contains(id)) {
                    self.skipped.push((format!("{key}/{id}"), "the id is used by another model of the provider"));
                }
                model.ids = model
                    .ids
                    .iter()
                    .map(|id| id.to_lowercase())
                    .filter(|id| *id != own && taken_ids.insert(id.clone()))
                    .collect();
                model.ids.insert(0, own);
                list.push(model);
            }
            let reseller = !VENDORS.contains(&key.as_str());
            providers.insert(
                key.clone(),
                ProviderSpec { names: vec![key], reseller, models: list, ..ProviderSpec::default() },
            );
        }
        let parents = UNIT_PARENTS.iter().map(|(child, parent)| ((*child).to_owned(), (*parent).to_owned()));
        let import = BTreeMap::from([("source".to_owned(), format.as_str().to_owned())]);
        let file = TableFile {
            schema: SCHEMA,
            version: version.to_owned(),
            currency: "USD".to_owned(),
            per_tokens: 1_000_000,
            generated: None,
            overlay: false,
            base: None,
            applies: None,
            discount: None,
            imports: vec![import],
            unit_parents: parents.collect(),
            bedrock_scopes: BTreeMap::new(),
            alias: BTreeMap::new(),
            providers,
        };
        let source =
            TableSource { name: format.as_str().to_owned(), file: file.into(), digest: digest_text(text), text: None };
        ImportedTable { source, skipped: self.skipped, unsupported: self.unsupported }
    }
}

/// Reads a public list. `version` becomes the version of the table.
///
/// # Errors
/// The text is not a list of this format.
pub fn import(format: PriceListFormat, text: &str, version: &str) -> Result<ImportedTable, RatesError> {
    let mut collector = ModelCollector::default();
    let read = match format {
        PriceListFormat::LiteLlm => litellm::read(text, &mut collector),
        PriceListFormat::GenaiPrices => genai_prices::read(text, &mut collector),
        PriceListFormat::ModelsDev => models_dev::read(text, &mut collector),
    };
    read.map_err(|what| RatesError(format!("not a price list in {} format: {what}", format.as_str())))?;
    if collector.providers.is_empty() {
        return Err(RatesError(format!("not a price list in {} format: no model has a price", format.as_str())));
    }
    Ok(collector.into_imported(format, text, version))
}

impl TableSource {
    /// This table, updated with the models of `new`: a changed price closes the open window at `at` (RFC 3339) and
    /// opens a new one. Models that `new` does not list stay as they are.
    pub fn merge_import(&self, new: &Self, at: &str, version: &str) -> Self {
        let mut file = (*self.file).clone();
        version.clone_into(&mut file.version);
        file.generated = at.get(..10).map(str::to_owned);
        file.imports.extend(new.file.imports.clone());
        for (key, provider) in &new.file.providers {
            let own = file
                .providers
                .entry(key.clone())
                .or_insert_with(|| ProviderSpec { models: Vec::new(), ..provider.clone() });
            for model in &provider.models {
                let known_id = find_model(own, model).map(|known| known.id.clone());
                match known_id.and_then(|id| own.models.iter_mut().find(|known| known.id == id)) {
                    Some(known) => renew_rates(known, model, at),
                    None => {
                        let taken_ids: BTreeSet<String> =
                            own.models.iter().flat_map(exact_ids).map(|id| id.to_lowercase()).collect();
                        let free_ids: Vec<String> =
                            exact_ids(model).filter(|id| !taken_ids.contains(&id.to_lowercase())).cloned().collect();
                        if !free_ids.is_empty() {
                            own.models.push(ModelSpec { ids: free_ids, ..model.clone() });
                        }
                    }
                }
            }
        }
        let digest = digest_text(&format!("{}{}", self.digest, new.digest));
        Self { name: self.name.clone(), file: file.into(), digest, text: None }
    }

    /// The table as JSON, one model per line.
    pub fn to_json(&self) -> String {
        let mut head = (*self.file).clone();
        let providers = std::mem::take(&mut head.providers);
        let head = serde_json::to_string(&head).unwrap_or_default(); // maps of text: can't fail
        let mut out = head.strip_suffix("\"providers\":{}}").unwrap_or(&head).to_owned();
        out.push_str("\"providers\":{\n");
        for (at, (key, mut provider)) in providers.into_iter().enumerate() {
            let models = std::mem::take(&mut provider.models);
            let line = serde_json::to_string(&provider).unwrap_or_default();
            let line = line.strip_suffix("\"models\":[]}").unwrap_or(&line).to_owned();
            let key = serde_json::to_string(&key).unwrap_or_default();
            out.push_str(&format!("{}{key}:{line}\"models\":[\n", if at == 0 { "" } else { ",\n" }));
            let lines: Vec<String> = models.iter().filter_map(|model| serde_json::to_string(model).ok()).collect();
            out.push_str(&lines.join(",\n"));
            out.push_str("\n]}");
        }
        out.push_str("\n}}\n");
        out
    }

    /// Compares the prices of the newest windows of models that both tables list.
    pub fn differences(&self, other: &Self) -> PriceListComparison {
        let mut out = PriceListComparison::default();
        for (key, theirs) in &other.file.providers {
            let Some(ours) = self.file.providers.get(key) else {
                out.theirs_only += theirs.models.len();
                continue;
            };
            for model in &theirs.models {
                let Some(known) = find_model(ours, model) else {
                    out.theirs_only += 1;
                    continue;
                };
                let (Some(own_rate), Some(other_rate)) = (known.rates.last(), model.rates.last()) else { continue };
                out.both += 1;
                let found_before = out.differences.len();
                for (unit, theirs) in &other_rate.price {
                    let ours = own_rate.price.get(unit);
                    let same = ours
                        .and_then(|text| Decimal::parse(text))
                        .zip(Decimal::parse(theirs))
                        .is_some_and(|(a, b)| a.equals(b));
                    if !same {
                        let place = format!("{key}/{}", model.id);
                        out.differences.push((place, unit.clone(), ours.cloned().unwrap_or_default(), theirs.clone()));
                    }
                }
                out.equal += usize::from(out.differences.len() == found_before);
            }
        }
        out
    }
}

/// The result of comparing two tables.
#[derive(Debug, Default)]
pub struct PriceListComparison {
    /// Number of models that both list.
    pub both: usize,
    /// Number of these with equal list prices.
    pub equal: usize,
    /// Number of models that only the other table lists.
    pub theirs_only: usize,
    /// Differing prices: `provider/id`, unit, ours ("" = none), theirs.
    pub differences: Vec<(String, String, String, String)>,
}

/// If any price changed: closes the open window at `at` and opens a new one.
fn renew_rates(known: &mut ModelSpec, new: &ModelSpec, at: &str) {
    let (Some(old), Some(now)) = (known.rates.last_mut(), new.rates.last()) else { return };
    // prices that the list does not contain did not change
    let (before, after) = (flatten_prices(old), flatten_prices(now));
    let changed = after.iter().any(|(unit, text)| {
        let same = before
            .get(unit)
            .and_then(|text| Decimal::parse(text))
            .zip(Decimal::parse(text))
            .is_some_and(|(a, b)| a.equals(b));
        !same
    });
    if !changed || old.to.is_some() {
        return;
    }
    let mut next = old.clone();
    next.from = Some(at.to_owned());
    next.price.extend(now.price.clone());
    next.fees_per_1000.extend(now.fees_per_1000.clone());
    if !now.tiers.is_empty() {
        next.tiers.clone_from(&now.tiers);
    }
    for adjust in &now.adjust {
        match next.adjust.iter_mut().find(|known| known.when == adjust.when) {
            Some(known) => known.clone_from(adjust),
            None => next.adjust.push(adjust.clone()),
        }
    }
    old.to = Some(at.to_owned());
    known.rates.push(next);
}
