//! Compiles a parsed table ([`TableFile`]) into a [`RateTable`], or returns its first 50 problems, each with its place.
//! A table is refused if a price cannot be held exactly (also after its multipliers), a unit or variable is unknown,
//! an id or name occurs twice, windows overlap, or aliases form a loop. A window is the time in which a model's
//! [`Rate`] (written: [`schema::RateSpec`]) applies. `apply_overlay` and `overlay` apply overlays.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::decimal::{Decimal, Ratio};
use super::id_resolution::IdMatch;
use super::schema::{self, SCHEMA, TableFile};
use super::table::{
    Adjustment, LazyCatalog, Model, Provider, ProviderCatalog, Rate, RateTable, ResolutionCache, Tier, UnitPrices,
};
use super::unit::{Fee, Unit, Variable};

/// Providers that sell the models of others, even if the table does not say so.
const RESELLERS: [&str; 7] = ["azure", "aws", "groq", "openrouter", "together", "fireworks", "cerebras"];
/// Maximum number of problems reported for a table.
const MAX_PROBLEMS: usize = 50;
/// Maximum number of adjustments in one window.
const MAX_ADJUSTMENTS: usize = 64;
/// Fees are written per this many uses.
const USES_PER_FEE: u64 = 1_000;

/// One problem: a path such as `providers.openai.models[3].rates[0]`, and a description.
pub(super) struct TableProblem {
    pub(super) path: String,
    pub(super) message: String,
}

/// Compiles a table; `digest` becomes part of its stamp.
pub(super) fn compile(file: &TableFile, digest: &str) -> Result<RateTable, Vec<TableProblem>> {
    compile_with(file, digest, |compiler, key, spec| {
        let catalog = compiler.compile_catalog(key, &spec.models);
        LazyCatalog::new(Box::new(|| catalog))
    })
}

/// Like [`compile`], for a table known to be valid: a provider's models are parsed from their text on first use.
pub(super) fn compile_lazily(
    file: &TableFile,
    model_text: impl Fn(&str) -> &'static str,
    digest: &str,
) -> Result<RateTable, Vec<TableProblem>> {
    let per_tokens = file.per_tokens;
    compile_with(file, digest, |_, key, _| {
        let (key, text) = (key.to_owned(), model_text(key));
        LazyCatalog::new(Box::new(move || {
            let models: Vec<schema::ModelSpec> = serde_json::from_str(text).unwrap_or_default();
            TableCompiler::new(per_tokens).compile_catalog(&key, &models)
        }))
    })
}

fn compile_with(
    file: &TableFile,
    digest: &str,
    make_catalog: impl Fn(&mut TableCompiler, &str, &schema::ProviderSpec) -> LazyCatalog,
) -> Result<RateTable, Vec<TableProblem>> {
    let mut compiler = TableCompiler::new(file.per_tokens);
    compiler.check_head(file);
    let parents = compiler.compile_parents(&file.unit_parents);
    let mut names = HashMap::new();
    let keys: HashMap<&str, usize> = file.providers.keys().map(String::as_str).zip(0..).collect();
    let mut providers = Vec::with_capacity(file.providers.len());
    for (at, (key, spec)) in file.providers.iter().enumerate() {
        compiler.compile_names((at, key), &spec.names, &mut names);
        let fallback = compiler.compile_fallback(key, spec, &keys);
        let reseller = spec.reseller || RESELLERS.contains(&&**key);
        let catalog = make_catalog(&mut compiler, key, spec);
        providers.push(Provider { key: key.as_str().into(), fallback, reseller, catalog });
    }
    let scopes = file.bedrock_scopes.iter().map(|(from, to)| (from.as_str().into(), to.as_str().into()));
    let short_digest = digest.get(..12).unwrap_or(digest);
    let mut table = RateTable {
        providers,
        names,
        scopes: scopes.collect(),
        parents,
        aliases: HashMap::new(),
        cache: ResolutionCache::default(),
        stamp: format!("{}+{short_digest}", file.version).into(),
        version: file.version.as_str().into(),
        digest: digest.into(),
    };
    compiler.compile_aliases(&file.alias, &mut table);
    if compiler.problems.is_empty() { Ok(table) } else { Err(compiler.problems) }
}

/// Start of a rate's window, Unix ns.
pub(super) fn window_start(rate: &schema::RateSpec) -> u64 {
    rate.from.as_deref().and_then(parse_time).unwrap_or(0)
}

/// End of a rate's window, Unix ns.
pub(super) fn window_end(rate: &schema::RateSpec) -> u64 {
    rate.to.as_deref().map_or(u64::MAX, |text| parse_time(text).unwrap_or(u64::MAX))
}

/// Parses RFC 3339 into Unix ns.
pub(super) fn parse_time(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos()).ok()
}

struct TableCompiler {
    per_tokens: u64,
    problems: Vec<TableProblem>,
}

impl TableCompiler {
    fn new(per_tokens: u64) -> Self {
        Self { per_tokens, problems: Vec::new() }
    }

    fn report_problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(TableProblem { path: path.into(), message: message.into() });
        }
    }

    fn check_head(&mut self, file: &TableFile) {
        if file.schema != SCHEMA {
            self.report_problem("schema", format!("unknown schema {}: only {SCHEMA} is supported", file.schema));
        }
        if file.currency != "USD" {
            self.report_problem("currency", "prices must be in USD");
        }
        if file.per_tokens == 0 {
            self.report_problem("per_tokens", "must be more than zero");
        }
        for (is_present, key) in [
            (file.overlay, "overlay"),
            (file.base.is_some(), "base"),
            (file.applies.is_some(), "match"),
            (file.discount.is_some(), "discount"),
        ] {
            if is_present {
                self.report_problem(
                    key,
                    format!("`{key}` is allowed only in overlays: list the file under `overlays`"),
                );
            }
        }
    }

    fn compile_parents(&mut self, map: &BTreeMap<String, String>) -> BTreeMap<Unit, Unit> {
        let mut out = BTreeMap::new();
        for (child, parent) in map {
            match (Unit::parse(child), Unit::parse(parent)) {
                (Some(child), Some(parent)) => drop(out.insert(child, parent)),
                (None, _) => self.report_problem(format!("unit_parents.{child}"), format!("unknown unit {child}")),
                (_, None) => self.report_problem(format!("unit_parents.{child}"), format!("unknown unit {parent}")),
            }
        }
        for child in out.keys() {
            let mut unit = *child;
            let ancestors = std::iter::from_fn(|| {
                unit = *out.get(&unit)?;
                Some(unit)
            });
            if ancestors.take(out.len() + 1).count() > out.len() {
                self.report_problem(format!("unit_parents.{}", child.as_str()), "its parents form a loop");
            }
        }
        out
    }

    /// Adds the names of provider number `at`: its `written` ones, or its key if it has none.
    fn compile_names(&mut self, (at, key): (usize, &String), written: &[String], names: &mut HashMap<Box<str>, usize>) {
        let own_names = if written.is_empty() { std::slice::from_ref(key) } else { written };
        for (n, name) in own_names.iter().enumerate() {
            if names.insert(name.trim().to_lowercase().into(), at).is_some() {
                self.report_problem(
                    format!("providers.{key}.names[{n}]"),
                    format!("provider name {name} occurs twice"),
                );
            }
        }
    }

    fn compile_fallback(&mut self, key: &str, data: &schema::ProviderSpec, keys: &HashMap<&str, usize>) -> Vec<usize> {
        let place = format!("providers.{key}");
        if data.discount.is_some() {
            self.report_problem(format!("{place}.discount"), "`discount` is allowed only in overlays");
        }
        if data.new {
            self.report_problem(format!("{place}.new"), "`new` is allowed only in overlays");
        }
        let mut fallback = Vec::new();
        for (n, name) in data.fallback.iter().enumerate() {
            match keys.get(name.as_str()) {
                Some(at) if name != key => fallback.push(*at),
                _ => self.report_problem(
                    format!("{place}.fallback[{n}]"),
                    format!("fallback {name} is not another provider of this table"),
                ),
            }
        }
        fallback
    }

    fn compile_catalog(&mut self, key: &str, specs: &[schema::ModelSpec]) -> ProviderCatalog {
        let place = format!("providers.{key}");
        let mut ids: HashMap<Box<str>, usize> = HashMap::new();
        let mut seen = HashSet::new();
        let (mut patterns, mut models) = (Vec::new(), Vec::with_capacity(specs.len()));
        for (at, model) in specs.iter().enumerate() {
            let (place, name) = (format!("{place}.models[{at}]"), format!("{key}/{}", model.id));
            if !seen.insert(model.id.to_lowercase()) {
                self.report_problem(format!("{place}.id"), format!("model {name} occurs twice"));
            }
            if model.new || model.inherit.is_some() {
                self.report_problem(&place, format!("{name}: `new` and `inherit` are allowed only in overlays"));
            }
            for (n, id) in model.exact_ids().iter().enumerate() {
                let lower = id.trim().to_lowercase();
                if lower.is_empty() {
                    self.report_problem(format!("{place}.ids[{n}]"), format!("{name}: ids must not be empty"));
                } else if ids.insert(lower.into(), at).is_some() {
                    self.report_problem(format!("{place}.ids[{n}]"), format!("{name}: id {id} occurs twice"));
                }
            }
            for (n, pattern) in model.patterns.iter().enumerate() {
                let syntax = syntax::Config::new().unicode(false).utf8(false);
                let regex = Regex::builder().syntax(syntax).build(pattern).ok();
                match regex.filter(|_| pattern.starts_with('^') && pattern.ends_with('$')) {
                    Some(regex) => patterns.push((regex, at)),
                    None => self.report_problem(
                        format!("{place}.patterns[{n}]"),
                        format!("{name}: pattern {pattern} must be a regular expression that starts with `^` and ends with `$`"),
                    ),
                }
            }
            models.push(self.compile_model(&name, &place, model));
        }
        ProviderCatalog { ids, patterns, models, parts: OnceLock::new() }
    }

    fn compile_model(&mut self, name: &str, place: &str, data: &schema::ModelSpec) -> Model {
        let mut rates: Vec<Rate> = Vec::with_capacity(data.rates.len());
        for (at, spec) in data.rates.iter().enumerate() {
            let place = format!("{place}.rates[{at}]");
            let rate = self.compile_rate(name, &place, spec);
            if rate.from >= rate.to {
                self.report_problem(place, format!("{name}: the window is empty: `from` must be before `to`"));
            } else if rates.last().is_some_and(|before| before.to > rate.from) {
                self.report_problem(place, format!("{name}: the window must not start before the previous one ends"));
            }
            rates.push(rate);
        }
        if rates.is_empty() {
            self.report_problem(format!("{place}.rates"), format!("{name}: at least one window is required"));
        }
        Model { id: data.id.as_str().into(), rates: rates.into() }
    }

    fn compile_rate(&mut self, name: &str, place: &str, data: &schema::RateSpec) -> Rate {
        if data.adjust.len() > MAX_ADJUSTMENTS {
            self.report_problem(format!("{place}.adjust"), format!("{name}: more than {MAX_ADJUSTMENTS} adjustments"));
        }
        let adjust: Vec<Adjustment> = (data.adjust.iter().enumerate())
            .map(|(at, adjust)| self.compile_adjustment(name, &format!("{place}.adjust[{at}]"), adjust))
            .collect();
        let rate = Rate {
            from: self.compile_time(name, &format!("{place}.from"), data.from.as_deref(), 0),
            to: self.compile_time(name, &format!("{place}.to"), data.to.as_deref(), u64::MAX),
            from_text: data.from.as_deref().map(Into::into),
            prices: self.compile_prices(name, &format!("{place}.price"), &data.price),
            tiers: self.compile_tiers(name, place, &data.tiers),
            fees: self.compile_fees(name, &format!("{place}.fees_per_1000"), &data.fees_per_1000),
            incomplete: data.incomplete.is_some(),
            adjust: adjust.into(),
        };
        self.check_multipliers(name, place, &rate);
        rate
    }

    /// Each multiplier, and the product of all, must leave every price a whole number of 1e-18 USD.
    fn check_multipliers(&mut self, name: &str, place: &str, rate: &Rate) {
        let mut ratios: Vec<Ratio> = rate.adjust.iter().filter_map(|adjust| adjust.multiply).collect();
        let product = ratios.iter().try_fold(Ratio::ONE, |product, ratio| product.times(*ratio));
        let Some(product) = product else {
            return self.report_problem(
                format!("{place}.adjust"),
                format!("{name}: the product of its multipliers has too many digits"),
            );
        };
        ratios.push(product);
        let tiers = rate.tiers.iter().chain(rate.adjust.iter().flat_map(|adjust| &adjust.tiers));
        let adjusted = tiers.map(|tier| &tier.prices).chain(rate.adjust.iter().map(|adjust| &adjust.prices));
        let mut prices = adjusted.chain([&rate.prices]).flatten().map(|(_, price)| *price);
        if !prices.all(|price| ratios.iter().all(|ratio| ratio.multiply(price).is_some())) {
            let what = format!("{name}: a price times its multipliers is finer than 1e-18 USD per token");
            self.report_problem(format!("{place}.adjust"), what);
        }
    }

    fn compile_adjustment(&mut self, name: &str, place: &str, data: &schema::AdjustmentSpec) -> Adjustment {
        let mut when = Vec::with_capacity(data.when.len());
        for (word, values) in &data.when {
            let at = format!("{place}.when.{word}");
            let Some(variable) = Variable::parse(word) else {
                self.report_problem(at, format!("{name}: unknown condition `when: {word}`"));
                continue;
            };
            let readable = variable != Variable::UtcTime
                || values.iter().all(|value| super::row::parse_time_window(value).is_some());
            if values.is_empty() || !readable {
                self.report_problem(at, format!("{name}: `when: {word}` has no usable value"));
            }
            when.push((variable, values.iter().map(|value| value.to_lowercase().into()).collect()));
        }
        let multiply = data.multiply.as_deref().and_then(|text| {
            let ratio = Decimal::parse(text).filter(|decimal| !decimal.is_negative()).and_then(Decimal::to_ratio);
            if ratio.is_none() {
                self.report_problem(
                    format!("{place}.multiply"),
                    format!("{name}: multiplier {text} must be a decimal of at least zero"),
                );
            }
            ratio
        });
        Adjustment {
            when: when.into(),
            from: self.compile_time(name, &format!("{place}.from"), data.from.as_deref(), 0),
            prices: self.compile_prices(name, &format!("{place}.price"), &data.price),
            tiers: self.compile_tiers(name, place, &data.tiers),
            fees: self.compile_fees(name, &format!("{place}.fees_per_1000"), &data.fees_per_1000),
            multiply,
            last: data.last,
        }
    }

    fn compile_tiers(&mut self, name: &str, place: &str, list: &[schema::TierSpec]) -> Box<[Tier]> {
        let mut tiers: Vec<Tier> = Vec::with_capacity(list.len());
        for (at, tier) in list.iter().enumerate() {
            let place = format!("{place}.tiers[{at}]");
            let at_least = match (tier.over_input, tier.at_least_input) {
                (Some(over), None) => over.saturating_add(1),
                (None, Some(at_least)) => at_least,
                _ => {
                    self.report_problem(place, format!("{name}: a tier needs either `over_input` or `at_least_input`"));
                    continue;
                }
            };
            if tiers.iter().any(|tier| tier.at_least == at_least) {
                self.report_problem(place.clone(), format!("{name}: two tiers have the same limit"));
            }
            let prices = self.compile_prices(name, &format!("{place}.price"), &tier.price);
            tiers.push(Tier { at_least, prices });
        }
        tiers.sort_by_key(|tier| tier.at_least);
        tiers.into()
    }

    fn compile_prices(&mut self, name: &str, place: &str, map: &schema::PriceTexts) -> UnitPrices {
        let per = self.per_tokens.max(1);
        self.compile_amounts(name, place, map, per, Unit::parse)
    }

    fn compile_fees(&mut self, name: &str, place: &str, map: &schema::PriceTexts) -> Box<[(Fee, i128)]> {
        self.compile_amounts(name, place, map, USES_PER_FEE, Fee::parse)
    }

    fn compile_amounts<W>(
        &mut self,
        name: &str,
        place: &str,
        map: &schema::PriceTexts,
        per: u64,
        parse: impl Fn(&str) -> Option<W>,
    ) -> Box<[(W, i128)]> {
        let mut out = Vec::with_capacity(map.len());
        for (word, text) in map {
            let Some(unit) = parse(word) else {
                self.report_problem(format!("{place}.{word}"), format!("{name}: unknown unit {word}"));
                continue;
            };
            let decimal = Decimal::parse(text);
            if decimal.is_some_and(Decimal::is_negative) {
                self.report_problem(format!("{place}.{word}"), format!("{name}: price {text} of {word} is negative"));
                continue;
            }
            match decimal.and_then(|decimal| decimal.per_unit(per)) {
                Some(price) => out.push((unit, price)),
                None => {
                    let what =
                        format!("{name}: price {text} of {word} has too many digits (at most 1e-18 USD per token)");
                    self.report_problem(format!("{place}.{word}"), what);
                }
            }
        }
        out.into()
    }

    fn compile_time(&mut self, name: &str, place: &str, text: Option<&str>, default: u64) -> u64 {
        let Some(text) = text else { return default };
        parse_time(text).unwrap_or_else(|| {
            self.report_problem(place, format!("{name}: time {text} is not RFC 3339"));
            default
        })
    }

    /// Follows each alias to its model.
    fn compile_aliases(&mut self, alias: &BTreeMap<String, String>, table: &mut RateTable) {
        let lower: BTreeMap<String, &str> =
            alias.iter().map(|(from, to)| (from.trim().to_lowercase(), to.as_str())).collect();
        for from in alias.keys() {
            let place = format!("alias.{from}");
            let (mut name, mut seen) = (from.trim().to_lowercase(), HashSet::new());
            let target = loop {
                if !seen.insert(name.clone()) {
                    self.report_problem(place.clone(), format!("alias {from} is part of a loop"));
                    break None;
                }
                match lower.get(&name) {
                    Some(next) => name = next.trim().to_lowercase(),
                    None => break Some(name),
                }
            };
            let Some(target) = target else { continue };
            let found = target.split_once('/').and_then(|(key, id)| {
                let provider = table.providers.iter().position(|provider| &*provider.key == key)?;
                table.find_model(IdMatch::Spelling, provider, id, false)
            });
            match found {
                Some(found) => drop(table.aliases.insert(from.trim().to_lowercase().into(), found)),
                None => {
                    let (key, id) = target.split_once('/').unwrap_or(("", &target));
                    let nearest = table.nearest_id(Some(key).filter(|key| !key.is_empty()), id);
                    let hint = nearest.map_or_else(String::new, |id| format!("; the nearest is {id}"));
                    self.report_problem(
                        place,
                        format!("alias {from}: {target} is not a `provider/model` of the table{hint}"),
                    );
                }
            }
        }
    }
}
