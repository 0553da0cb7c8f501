//! [`RateTable`]: a compiled rate table: exact prices per token, models by id, windows in order. Immutable except for
//! the bounded cache of resolved ids. `compile` builds and validates it, `id_resolution` resolves ids, `row` prices one
//! call.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, OnceLock};

use kernel::bounded_map::{BoundedMap, Equivalent};
use parking_lot::RwLock;
use regex_automata::meta::Regex;

use super::decimal::Ratio;
use super::model_parts::PartsIndex;
use super::resolved::{ResolvedModel, UnpricedReason};
use super::unit::{Fee, Unit, Variable};

/// The problems of a table, one per line. The text contains keys and ids of the table, never telemetry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RatesError(pub String);

pub struct RateTable {
    pub(super) providers: Vec<Provider>,
    pub(super) names: HashMap<Box<str>, usize>,
    /// First segments of Bedrock ids, with their scope.
    pub(super) scopes: Vec<(Box<str>, Box<str>)>,
    pub(super) parents: BTreeMap<Unit, Unit>,
    pub(super) aliases: HashMap<Box<str>, ResolvedModel>,
    pub(super) cache: ResolutionCache,
    pub(super) stamp: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) digest: Arc<str>,
}

pub(super) struct Provider {
    pub(super) key: Box<str>,
    pub(super) fallback: Vec<usize>,
    pub(super) reseller: bool,
    /// Built on first use: most programs call two or three of seventy providers.
    pub(super) catalog: LazyCatalog,
}

pub(super) type LazyCatalog = LazyLock<ProviderCatalog, Box<dyn FnOnce() -> ProviderCatalog + Send>>;

pub(super) struct ProviderCatalog {
    pub(super) ids: HashMap<Box<str>, usize>,
    pub(super) patterns: Vec<(Regex, usize)>,
    pub(super) models: Vec<Model>,
    /// Built for the first id that is not listed.
    pub(super) parts: OnceLock<PartsIndex>,
}

pub(super) struct Model {
    pub(super) id: Box<str>,
    pub(super) rates: Box<[Rate]>,
}

/// The prices of a model in one window of time.
#[derive(PartialEq)]
pub(super) struct Rate {
    /// Unix ns, inclusive.
    pub(super) from: u64,
    /// Unix ns, exclusive.
    pub(super) to: u64,
    pub(super) from_text: Option<Box<str>>,
    pub(super) prices: UnitPrices,
    pub(super) tiers: Box<[Tier]>,
    /// 1e-18 USD per use.
    pub(super) fees: Box<[(Fee, i128)]>,
    pub(super) incomplete: bool,
    /// At most 64.
    pub(super) adjust: Box<[Adjustment]>,
}

/// 1e-18 USD per token, by unit.
pub(super) type UnitPrices = Box<[(Unit, i128)]>;

#[derive(PartialEq)]
pub(super) struct Tier {
    /// Smallest prompt that the tier applies to, tokens.
    pub(super) at_least: u64,
    pub(super) prices: UnitPrices,
}

/// A variable and the values of which one must match.
pub(super) type PriceCondition = (Variable, Box<[Box<str>]>);

#[derive(PartialEq)]
pub(super) struct Adjustment {
    pub(super) when: Box<[PriceCondition]>,
    pub(super) from: u64,
    pub(super) prices: UnitPrices,
    pub(super) tiers: Box<[Tier]>,
    pub(super) fees: Box<[(Fee, i128)]>,
    pub(super) multiply: Option<Ratio>,
    pub(super) last: bool,
}

/// 2020-01-01. Calls are not older; a smaller value is a time in seconds to microseconds taken for nanoseconds.
pub(super) const EARLIEST_CALL: u64 = 1_577_836_800_000_000_000;

impl Model {
    /// The window that covers `time` (Unix ns). A call without a time, or with one in a wrong unit, has a price only
    /// if the model's price never changed.
    pub(super) fn rate_at(&self, time: u64) -> Option<&Rate> {
        if time < EARLIEST_CALL {
            return self.rates.first().filter(|rate| self.rates.len() == 1 && rate.is_timeless());
        }
        self.rates.iter().find(|rate| (rate.from..rate.to).contains(&time))
    }
}

impl Rate {
    fn is_timeless(&self) -> bool {
        let by_clock = |(variable, _): &PriceCondition| matches!(variable, Variable::UtcTime | Variable::UtcWeekday);
        let open = (self.from, self.to) == (0, u64::MAX);
        open && self.adjust.iter().all(|adjust| adjust.from == 0 && !adjust.when.iter().any(by_clock))
    }
}

pub(super) fn find_price<W: PartialEq>(prices: &[(W, i128)], unit: W) -> Option<i128> {
    prices.iter().find(|(named, _)| *named == unit).map(|(_, price)| *price)
}

impl RateTable {
    /// `<version>+<first 12 digits of the SHA-256 of the file and its overlays>`, as in `tollgate.cost.rates`.
    pub fn stamp(&self) -> &Arc<str> {
        &self.stamp
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 of the table's file (with overlays: of all digests in order), hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub(super) fn model(&self, found: ResolvedModel) -> Option<(&Provider, &Model)> {
        let provider = self.providers.get(found.provider)?;
        Some((provider, provider.catalog.models.get(found.model)?))
    }

    /// `provider/model`.
    pub(super) fn model_name(&self, found: ResolvedModel) -> String {
        self.model(found).map_or_else(String::new, |(provider, model)| format!("{}/{}", provider.key, model.id))
    }

    /// The exact ids that a provider and its fallback providers list.
    pub(super) fn known_ids(&self, provider: usize) -> impl Iterator<Item = &Box<str>> {
        let own = self.providers.get(provider);
        let fallback = own.map_or(&[][..], |own| &own.fallback).iter().filter_map(|at| self.providers.get(*at));
        own.into_iter().chain(fallback).flat_map(|provider| provider.catalog.ids.keys())
    }

    /// Number of models of all providers.
    pub fn model_count(&self) -> usize {
        self.providers.iter().map(|provider| provider.catalog.models.len()).sum()
    }

    /// Number of ids of all providers.
    pub fn id_count(&self) -> usize {
        self.providers.iter().map(|provider| provider.catalog.ids.len()).sum()
    }

    /// The listed id most similar to `model`, as `provider/id`. Searches the ids of `provider` if it is known;
    /// otherwise all, preferring vendors to resellers.
    pub fn nearest_id(&self, provider: Option<&str>, model: &str) -> Option<String> {
        let model: String = model.trim().to_lowercase().chars().take(128).collect();
        let searched_provider = provider.and_then(|name| self.provider_index(name));
        let searched =
            self.providers.iter().enumerate().filter(|(at, _)| searched_provider.is_none_or(|wanted| wanted == *at));
        let ids = searched.flat_map(|(_, provider)| provider.catalog.ids.keys().map(move |id| (provider, &**id)));
        let scored = ids.map(|(provider, id)| (strsim::jaro_winkler(&model, id), provider, id));
        let order = |a: &(f64, &Provider, &str), b: &(f64, &Provider, &str)| {
            let (later, earlier) = ((b.1.reseller, &b.1.key, b.2), (a.1.reseller, &a.1.key, a.2));
            a.0.total_cmp(&b.0).then_with(|| later.cmp(&earlier))
        };
        let (similarity, provider, id) = scored.max_by(order)?;
        (similarity > MIN_SIMILARITY).then(|| format!("{}/{id}", provider.key))
    }

    /// For an unknown provider: the `provider/id` of the most similarly named provider that lists this model, else of
    /// the model's vendor. `None` for a platform that bills nothing.
    pub fn find_seller(&self, provider: &str, model: &str) -> Option<String> {
        let (name, id) = (provider.trim().to_lowercase(), model.trim().to_lowercase());
        if LOCAL_PLATFORMS.contains(&&*name) {
            return None;
        }
        let vendor = self.resolve_one("", &id).ok().map(|found| found.provider);
        let sellers = self.providers.iter().enumerate().filter_map(|(at, seller)| {
            let similarity = strsim::jaro_winkler(&name, &seller.key);
            let is_offered = similarity > MIN_SIMILARITY || vendor == Some(at);
            let found = is_offered.then(|| self.resolve_one(&seller.key, &id).ok())??;
            Some((similarity, Reverse(&seller.key), found))
        });
        let (_, Reverse(key), found) = sellers.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)))?;
        Some(format!("{key}/{}", self.model(found)?.1.id))
    }

    /// The table's key of a provider that telemetry or a bill names.
    pub fn provider_key(&self, name: &str) -> Option<&str> {
        self.provider_index(name).and_then(|at| self.providers.get(at)).map(|provider| &*provider.key)
    }

    /// The provider's name most similar to `name`.
    pub fn nearest_provider(&self, name: &str) -> Option<&str> {
        nearest_name(&name.trim().to_lowercase(), self.names.keys().map(|name| &**name))
    }
}

/// Platforms that run models on the caller's machines, by current name, so that no price of another applies.
const LOCAL_PLATFORMS: [&str; 6] = ["ollama", "vllm", "llama_cpp", "llamafile", "lm_studio", "xinference"];
/// Ids less similar than this are not offered as hints.
const MIN_SIMILARITY: f64 = 0.8;
/// The same for names of providers, and for models of one provider.
const MIN_NAME_SIMILARITY: f64 = 0.7;

pub(super) fn nearest_name<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let scored = names.map(|name| (strsim::jaro_winkler(word, name), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)));
    best.filter(|(similarity, _)| *similarity > MIN_NAME_SIMILARITY).map(|(_, name)| name)
}

/// The result of resolving an id, by provider as sent ("" = none) and by model.
pub(super) type ResolutionCache =
    RwLock<BoundedMap<(Box<str>, Box<str>), Result<ResolvedModel, UnpricedReason>, MAX_CACHED_IDS>>;

/// Maximum number of cached ids.
const MAX_CACHED_IDS: usize = 4_096;

/// A key of the cache that a look-up borrows, so that it allocates nothing.
#[derive(Hash)]
pub(super) struct BorrowedId<'a>(pub(super) &'a str, pub(super) &'a str);

impl Equivalent<(Box<str>, Box<str>)> for BorrowedId<'_> {
    fn equivalent(&self, (provider, model): &(Box<str>, Box<str>)) -> bool {
        *self.0 == **provider && *self.1 == **model
    }
}
