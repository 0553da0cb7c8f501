//! **What**: [`Table`]: a rate table made ready: exact prices per token, ids to models, windows in order.
//! **Invariants**: immutable; a price that can't be held exactly (also after its multipliers), an unknown unit or
//! variable, an id or name that stands twice and windows that overlap are refused when the table is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::hex;

use super::decimal::{Decimal, Ratio};
use super::schema::{self, File, SCHEMA};
use super::unit::{Unit, Variable};

/// Providers that sell others' models: never taken when no provider is told.
const RESELLERS: [&str; 7] = ["azure", "aws", "groq", "openrouter", "together", "fireworks", "cerebras"];

/// What is wrong with a table. Names its own keys and ids, nothing of telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatesError(pub String);

/// A rate table.
pub struct Table {
    pub(super) providers: Vec<Provider>,
    pub(super) names: HashMap<Box<str>, usize>,
    pub(super) scopes: HashMap<Box<str>, Box<str>>,
    pub(super) parents: BTreeMap<Unit, Unit>,
    stamp: Arc<str>,
    version: Arc<str>,
    digest: Arc<str>,
}

pub(super) struct Provider {
    pub(super) key: Box<str>,
    pub(super) ids: HashMap<Box<str>, usize>,
    pub(super) patterns: Vec<(Regex, usize)>,
    pub(super) models: Vec<Model>,
    pub(super) fallback: Vec<usize>,
    pub(super) reseller: bool,
}

pub(super) struct Model {
    pub(super) id: Box<str>,
    pub(super) rates: Box<[Rate]>,
}

pub(super) struct Rate {
    /// Unix ns, inclusive.
    from: u64,
    /// Unix ns, exclusive.
    to: u64,
    pub(super) from_text: Option<Box<str>>,
    pub(super) prices: Prices,
    pub(super) tiers: Box<[Tier]>,
    pub(super) incomplete: bool,
    pub(super) adjust: Box<[Adjust]>,
}

/// 1e-18 USD per token, by unit.
pub(super) type Prices = Box<[(Unit, i128)]>;

pub(super) struct Tier {
    /// Smallest prompt it holds for, tokens.
    pub(super) at_least: u64,
    pub(super) prices: Prices,
}

/// A variable and the values that match, any of them.
pub(super) type Asked = (Variable, Box<[Box<str>]>);

pub(super) struct Adjust {
    pub(super) when: Box<[Asked]>,
    pub(super) from: u64,
    pub(super) prices: Prices,
    pub(super) tiers: Box<[Tier]>,
    pub(super) multiply: Option<Ratio>,
    pub(super) last: bool,
}

impl Model {
    /// The window that holds at `time` (Unix ns).
    pub(super) fn at(&self, time: u64) -> Option<&Rate> {
        self.rates.iter().find(|rate| (rate.from..rate.to).contains(&time))
    }
}

/// The price of `unit` in a list.
pub(super) fn find(prices: &Prices, unit: Unit) -> Option<i128> {
    prices.iter().find(|(named, _)| *named == unit).map(|(_, price)| *price)
}

impl Table {
    /// `<version>+<first 12 digits of the SHA-256 of the file>`, as `tollgate.cost.rates`.
    pub fn stamp(&self) -> &Arc<str> {
        &self.stamp
    }

    /// The version written in the table.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 of the table's file, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Models over all providers.
    pub fn models(&self) -> usize {
        self.providers.iter().map(|provider| provider.models.len()).sum()
    }

    pub(super) fn compile(file: &File, digest: &str) -> Result<Self, RatesError> {
        if file.schema != SCHEMA {
            return fail(format!("schema {} is not known, only {SCHEMA}", file.schema));
        }
        if file.currency != "USD" || file.per_tokens == 0 {
            return fail("prices must be USD per a number of tokens".to_owned());
        }
        let parents = parents(&file.unit_parents)?;
        let keys: HashMap<&str, usize> = file.providers.keys().map(String::as_str).zip(0..).collect();
        let mut names = HashMap::new();
        let mut providers = Vec::with_capacity(file.providers.len());
        for (at, (key, provider)) in file.providers.iter().enumerate() {
            for name in &provider.names {
                if names.insert(name.to_lowercase().into(), at).is_some() {
                    return fail(format!("provider name {name} stands twice"));
                }
            }
            providers.push(Reader { file, provider: key }.provider(provider, &keys)?);
        }
        let short = digest.get(..12).unwrap_or(digest);
        Ok(Self {
            providers,
            names,
            scopes: file.bedrock_scopes.iter().map(|(from, to)| (from.as_str().into(), to.as_str().into())).collect(),
            parents,
            stamp: format!("{}+{short}", file.version).into(),
            version: file.version.as_str().into(),
            digest: digest.into(),
        })
    }
}

/// SHA-256 of a table's file.
pub(super) fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes()))
}

fn fail<T>(what: String) -> Result<T, RatesError> {
    Err(RatesError(what))
}

fn parents(map: &BTreeMap<String, String>) -> Result<BTreeMap<Unit, Unit>, RatesError> {
    map.iter().map(|(child, parent)| Ok((unit(child)?, unit(parent)?))).collect()
}

fn unit(word: &str) -> Result<Unit, RatesError> {
    Unit::parse(word).ok_or_else(|| RatesError(format!("unit {word} is not known")))
}

/// Reads one provider.
struct Reader<'f> {
    file: &'f File,
    provider: &'f str,
}

impl Reader<'_> {
    fn provider(&self, data: &schema::Provider, keys: &HashMap<&str, usize>) -> Result<Provider, RatesError> {
        let mut ids = HashMap::new();
        let mut patterns = Vec::new();
        let mut models = Vec::with_capacity(data.models.len());
        for (at, model) in data.models.iter().enumerate() {
            for id in &model.ids {
                if ids.insert(id.to_lowercase().into(), at).is_some() {
                    return self.fail(&model.id, format!("id {id} stands twice"));
                }
            }
            for pattern in &model.patterns {
                let syntax = syntax::Config::new().unicode(false).utf8(false);
                let regex = Regex::builder().syntax(syntax).build(pattern).ok();
                let regex = regex.filter(|_| pattern.starts_with('^') && pattern.ends_with('$'));
                let Some(regex) = regex else {
                    return self.fail(&model.id, format!("pattern {pattern} is not anchored"));
                };
                patterns.push((regex, at));
            }
            models.push(self.model(model)?);
        }
        let fallback = data.fallback.iter().map(|key| {
            keys.get(key.as_str()).copied().ok_or_else(|| RatesError(format!("fallback {key} is no provider")))
        });
        Ok(Provider {
            key: self.provider.into(),
            ids,
            patterns,
            models,
            fallback: fallback.collect::<Result<_, _>>()?,
            reseller: RESELLERS.contains(&self.provider),
        })
    }

    fn model(&self, data: &schema::Model) -> Result<Model, RatesError> {
        let rates: Vec<Rate> =
            data.rates.iter().map(|rate| self.rate(&data.id, rate)).collect::<Result<_, RatesError>>()?;
        let apart = |pair: &[Rate]| matches!(pair, [first, second] if first.to <= second.from);
        if rates.is_empty() || !rates.windows(2).all(apart) || rates.iter().any(|rate| rate.from >= rate.to) {
            return self.fail(&data.id, "windows are missing, empty, out of order or overlap".to_owned());
        }
        Ok(Model { id: data.id.as_str().into(), rates: rates.into() })
    }

    fn rate(&self, model: &str, data: &schema::Rate) -> Result<Rate, RatesError> {
        let adjust: Vec<Adjust> =
            data.adjust.iter().map(|adjust| self.adjust(model, adjust)).collect::<Result<_, RatesError>>()?;
        let rate = Rate {
            from: self.time(model, data.from.as_deref(), 0)?,
            to: self.time(model, data.to.as_deref(), u64::MAX)?,
            from_text: data.from.as_deref().map(Into::into),
            prices: self.prices(model, &data.price)?,
            tiers: self.tiers(model, &data.tiers)?,
            incomplete: data.incomplete.is_some(),
            adjust: adjust.into(),
        };
        self.check_multipliers(model, &rate)?;
        Ok(rate)
    }

    /// Each multiplier alone and all together must leave every price a whole number of 1e-18 USD.
    fn check_multipliers(&self, model: &str, rate: &Rate) -> Result<(), RatesError> {
        let mut ratios: Vec<Ratio> = rate.adjust.iter().filter_map(|adjust| adjust.multiply).collect();
        let all = ratios.iter().try_fold(Ratio::ONE, |all, ratio| all.times(*ratio));
        let Some(all) = all else { return self.fail(model, "its multipliers are too fine".to_owned()) };
        ratios.push(all);
        let tiers = rate.tiers.iter().chain(rate.adjust.iter().flat_map(|adjust| &adjust.tiers));
        let lists = tiers.map(|tier| &tier.prices).chain(rate.adjust.iter().map(|adjust| &adjust.prices));
        let mut prices = lists.chain([&rate.prices]).flatten().map(|(_, price)| *price);
        if prices.all(|price| ratios.iter().all(|ratio| ratio.of(price).is_some())) {
            return Ok(());
        }
        self.fail(model, "a price times its multipliers is finer than 1e-18 USD per token".to_owned())
    }

    fn adjust(&self, model: &str, data: &schema::Adjust) -> Result<Adjust, RatesError> {
        let mut when = Vec::with_capacity(data.when.len());
        for (word, values) in &data.when {
            let Some(variable) = Variable::parse(word) else {
                return self.fail(model, format!("`when: {word}` is not known"));
            };
            let readable =
                variable != Variable::UtcTime || values.iter().all(|value| super::row::window(value).is_some());
            if values.is_empty() || !readable {
                return self.fail(model, format!("`when: {word}` has no usable value"));
            }
            when.push((variable, values.iter().map(|value| value.as_str().into()).collect()));
        }
        let multiply = match data.multiply.as_deref() {
            None => None,
            Some(text) => {
                match Decimal::parse(text).filter(|decimal| !decimal.is_negative()).and_then(Decimal::ratio) {
                    Some(ratio) => Some(ratio),
                    None => return self.fail(model, format!("multiplier {text} is no decimal")),
                }
            }
        };
        Ok(Adjust {
            when: when.into(),
            from: self.time(model, data.from.as_deref(), 0)?,
            prices: self.prices(model, &data.price)?,
            tiers: self.tiers(model, &data.tiers)?,
            multiply,
            last: data.last,
        })
    }

    fn tiers(&self, model: &str, list: &[schema::Tier]) -> Result<Box<[Tier]>, RatesError> {
        let mut tiers = Vec::with_capacity(list.len());
        for tier in list {
            let at_least = match (tier.over_input, tier.at_least_input) {
                (Some(over), None) => over.saturating_add(1),
                (None, Some(at_least)) => at_least,
                _ => return self.fail(model, "a tier needs over_input or at_least_input".to_owned()),
            };
            tiers.push(Tier { at_least, prices: self.prices(model, &tier.price)? });
        }
        tiers.sort_by_key(|tier| tier.at_least);
        Ok(tiers.into())
    }

    fn prices(&self, model: &str, map: &schema::Price) -> Result<Prices, RatesError> {
        let mut out = Vec::with_capacity(map.len());
        for (word, text) in map {
            let decimal = Decimal::parse(text).filter(|decimal| !decimal.is_negative());
            match decimal.and_then(|decimal| decimal.per_unit(self.file.per_tokens)) {
                Some(price) => out.push((unit(word)?, price)),
                None => return self.fail(model, format!("price {text} of {word} can't be held exactly")),
            }
        }
        Ok(out.into())
    }

    fn time(&self, model: &str, text: Option<&str>, default: u64) -> Result<u64, RatesError> {
        let Some(text) = text else { return Ok(default) };
        let time = OffsetDateTime::parse(text, &Rfc3339).ok();
        match time.and_then(|time| u64::try_from(time.unix_timestamp_nanos()).ok()) {
            Some(time) => Ok(time),
            None => self.fail(model, format!("time {text} is not RFC 3339")),
        }
    }

    fn fail<T>(&self, model: &str, what: String) -> Result<T, RatesError> {
        fail(format!("{}/{model}: {what}", self.provider))
    }
}
