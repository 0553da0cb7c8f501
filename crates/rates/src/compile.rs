//! Compiles a parsed table ([`File`]) into a [`Table`], or returns all its problems, each with its place.
//! A table is refused if a price cannot be held exactly (also after its multipliers), a unit or variable is unknown,
//! an id or name occurs twice, windows overlap, or aliases form a loop. `lay` and `overlay` apply overlays.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::decimal::{Decimal, Ratio};
use super::schema::{self, File, SCHEMA};
use super::table::{Adjust, Catalog, Memo, Model, Prices, Provider, Rate, Table, Tier};
use super::unit::{Fee, Unit, Variable};

/// Providers that sell the models of others, even if the table does not say so.
const RESELLERS: [&str; 7] = ["azure", "aws", "groq", "openrouter", "together", "fireworks", "cerebras"];
/// Maximum number of problems reported for a table.
const MAX_PROBLEMS: usize = 50;
/// Maximum number of adjustments in one window.
const MAX_ADJUST: usize = 64;
/// Fees are written per this many uses.
const FEE_PER: u64 = 1_000;

/// In imported tables: the unit whose price applies to a unit that has none.
pub(super) const PARENTS: &[(&str, &str)] = &[
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

/// One problem: a path such as `providers.openai.models[3].rates[0]`, and a description.
pub(super) struct Wrong {
    pub(super) path: String,
    pub(super) what: String,
}

/// Compiles a table; `digest` becomes part of its stamp.
pub(super) fn compile(file: &File, digest: &str) -> Result<Table, Vec<Wrong>> {
    compile_each(file, digest, |reader, provider, models| {
        let catalog = reader.catalog(&provider.key, models);
        provider.with(catalog)
    })
}

/// Like [`compile`], for a table known to be valid: a provider's models are parsed from their text on first use.
pub(super) fn compile_unread<M: Copy>(
    file: &File<schema::Provider<M>>,
    text: impl Fn(M) -> &'static str,
    digest: &str,
) -> Result<Table, Vec<Wrong>> {
    let per_tokens = file.per_tokens;
    compile_each(file, digest, |_, provider, models| {
        let (key, text) = (provider.key.clone(), text(*models));
        provider.unread(move || {
            let models: Vec<schema::Model> = serde_json::from_str(text).unwrap_or_default();
            Reader::new(per_tokens).catalog(&key, &models)
        })
    })
}

fn compile_each<M>(
    file: &File<schema::Provider<M>>,
    digest: &str,
    catalog: impl Fn(&mut Reader, Provider, &M) -> Provider,
) -> Result<Table, Vec<Wrong>> {
    let mut reader = Reader::new(file.per_tokens);
    reader.head(file);
    let parents = reader.parents(&file.unit_parents);
    let mut names = HashMap::new();
    let keys: HashMap<&str, usize> = file.providers.keys().map(String::as_str).zip(0..).collect();
    let mut providers = Vec::with_capacity(file.providers.len());
    for (at, (key, written)) in file.providers.iter().enumerate() {
        reader.names((at, key), &written.names, &mut names);
        let provider = reader.provider(key, written, &keys);
        providers.push(catalog(&mut reader, provider, &written.models));
    }
    let scopes = file.bedrock_scopes.iter().map(|(from, to)| (from.as_str().into(), to.as_str().into()));
    let short = digest.get(..12).unwrap_or(digest);
    let mut table = Table {
        providers,
        names,
        scopes: scopes.collect(),
        parents,
        aliases: HashMap::new(),
        memo: Memo::default(),
        stamp: format!("{}+{short}", file.version).into(),
        version: file.version.as_str().into(),
        digest: digest.into(),
    };
    reader.aliases(&file.alias, &mut table);
    if reader.wrong.is_empty() { Ok(table) } else { Err(reader.wrong) }
}

/// Start of a window, Unix ns.
pub(super) fn start(rate: &schema::Rate) -> u64 {
    rate.from.as_deref().and_then(time).unwrap_or(0)
}

/// End of a window, Unix ns.
pub(super) fn end(rate: &schema::Rate) -> u64 {
    rate.to.as_deref().map_or(u64::MAX, |text| time(text).unwrap_or(u64::MAX))
}

/// Parses RFC 3339 into Unix ns.
pub(super) fn time(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos()).ok()
}

struct Reader {
    per_tokens: u64,
    wrong: Vec<Wrong>,
    /// Windows shared by several models, by a hash of their contents.
    shared: HashMap<u64, Arc<[Rate]>>,
}

impl Reader {
    fn new(per_tokens: u64) -> Self {
        Self { per_tokens, wrong: Vec::new(), shared: HashMap::new() }
    }

    fn tell(&mut self, path: impl Into<String>, what: impl Into<String>) {
        if self.wrong.len() < MAX_PROBLEMS {
            self.wrong.push(Wrong { path: path.into(), what: what.into() });
        }
    }

    fn head<P>(&mut self, file: &File<P>) {
        if file.schema != SCHEMA {
            self.tell("schema", format!("schema {} is not known, only {SCHEMA}", file.schema));
        }
        if file.currency != "USD" {
            self.tell("currency", "prices must be in USD");
        }
        if file.per_tokens == 0 {
            self.tell("per_tokens", "prices must be per a number of tokens");
        }
        for (there, key) in [
            (file.overlay, "overlay"),
            (file.base.is_some(), "base"),
            (file.applies.is_some(), "match"),
            (file.discount.is_some(), "discount"),
        ] {
            if there {
                self.tell(key, format!("`{key}` is for overlays: list the file under `overlays`"));
            }
        }
    }

    fn parents(&mut self, map: &BTreeMap<String, String>) -> BTreeMap<Unit, Unit> {
        let mut out = BTreeMap::new();
        for (child, parent) in map {
            match (Unit::parse(child), Unit::parse(parent)) {
                (Some(child), Some(parent)) => drop(out.insert(child, parent)),
                (None, _) => self.tell(format!("unit_parents.{child}"), format!("unit {child} is not known")),
                (_, None) => self.tell(format!("unit_parents.{child}"), format!("unit {parent} is not known")),
            }
        }
        for child in out.keys() {
            let mut at = *child;
            let steps = std::iter::from_fn(|| {
                at = *out.get(&at)?;
                Some(at)
            });
            if steps.take(out.len() + 1).count() > out.len() {
                self.tell(format!("unit_parents.{}", child.as_str()), "its parents go round in a loop");
            }
        }
        out
    }

    fn names(&mut self, (at, key): (usize, &String), told: &[String], names: &mut HashMap<Box<str>, usize>) {
        let own = std::slice::from_ref(key);
        let list = if told.is_empty() { own } else { told };
        for (n, name) in list.iter().enumerate() {
            if names.insert(name.trim().to_lowercase().into(), at).is_some() {
                self.tell(format!("providers.{key}.names[{n}]"), format!("provider name {name} stands twice"));
            }
        }
    }

    fn provider<M>(&mut self, key: &str, data: &schema::Provider<M>, keys: &HashMap<&str, usize>) -> Provider {
        let place = format!("providers.{key}");
        if data.discount.is_some() {
            self.tell(format!("{place}.discount"), "`discount` is for overlays");
        }
        if data.new {
            self.tell(format!("{place}.new"), "`new` is for overlays");
        }
        let mut fallback = Vec::new();
        for (n, name) in data.fallback.iter().enumerate() {
            match keys.get(name.as_str()) {
                Some(at) if name != key => fallback.push(*at),
                _ => self.tell(format!("{place}.fallback[{n}]"), format!("fallback {name} is no other provider")),
            }
        }
        Provider::new(key, data.reseller || RESELLERS.contains(&key), fallback)
    }

    fn catalog(&mut self, key: &str, written: &[schema::Model]) -> Catalog {
        let place = format!("providers.{key}");
        let mut ids: HashMap<Box<str>, usize> = HashMap::new();
        let mut canonical = HashSet::new();
        let (mut patterns, mut models) = (Vec::new(), Vec::with_capacity(written.len()));
        for (at, model) in written.iter().enumerate() {
            let place = format!("{place}.models[{at}]");
            if !canonical.insert(model.id.to_lowercase()) {
                self.tell(format!("{place}.id"), format!("model {key}/{} stands twice", model.id));
            }
            if model.new || model.inherit.is_some() {
                self.tell(place.clone(), format!("{key}/{}: `new` and `inherit` are for overlays", model.id));
            }
            let list = model.exact();
            for (n, id) in list.iter().enumerate() {
                let lower = id.trim().to_lowercase();
                if lower.is_empty() {
                    self.tell(format!("{place}.ids[{n}]"), format!("{key}/{}: an id is empty", model.id));
                } else if ids.insert(lower.into(), at).is_some() {
                    self.tell(format!("{place}.ids[{n}]"), format!("{key}/{}: id {id} stands twice", model.id));
                }
            }
            for (n, pattern) in model.patterns.iter().enumerate() {
                let syntax = syntax::Config::new().unicode(false).utf8(false);
                let regex = Regex::builder().syntax(syntax).build(pattern).ok();
                match regex.filter(|_| pattern.starts_with('^') && pattern.ends_with('$')) {
                    Some(regex) => patterns.push((regex, at)),
                    None => self.tell(
                        format!("{place}.patterns[{n}]"),
                        format!("{key}/{}: pattern {pattern} is not anchored, or no pattern", model.id),
                    ),
                }
            }
            models.push(self.model(key, &place, model));
        }
        Catalog { ids, patterns, models }
    }

    fn model(&mut self, key: &str, place: &str, data: &schema::Model) -> Model {
        let name = format!("{key}/{}", data.id);
        let mut rates: Vec<Rate> = Vec::with_capacity(data.rates.len());
        for (at, written) in data.rates.iter().enumerate() {
            let place = format!("{place}.rates[{at}]");
            let rate = self.rate(&name, &place, written);
            if rate.from >= rate.to {
                self.tell(place, format!("{name}: the window is empty: `from` is not before `to`"));
            } else if rates.last().is_some_and(|before| before.to > rate.from) {
                self.tell(place, format!("{name}: the window overlaps the one before it, or goes back in time"));
            }
            rates.push(rate);
        }
        if rates.is_empty() {
            self.tell(format!("{place}.rates"), format!("{name}: windows are missing"));
        }
        Model { id: data.id.as_str().into(), rates: self.share(rates) }
    }

    /// Returns an equal list of windows of another model if there is one: half of all models share their prices.
    fn share(&mut self, rates: Vec<Rate>) -> Arc<[Rate]> {
        let mut hash = DefaultHasher::new();
        for rate in &rates {
            (rate.from, rate.to, &rate.prices, rate.tiers.len(), rate.adjust.len(), rate.fees.len()).hash(&mut hash);
        }
        let key = hash.finish();
        match self.shared.get(&key).filter(|shared| ***shared == *rates) {
            Some(shared) => Arc::clone(shared),
            None => {
                let rates: Arc<[Rate]> = rates.into();
                self.shared.insert(key, Arc::clone(&rates));
                rates
            }
        }
    }

    fn rate(&mut self, name: &str, place: &str, data: &schema::Rate) -> Rate {
        if data.adjust.len() > MAX_ADJUST {
            self.tell(format!("{place}.adjust"), format!("{name}: more than {MAX_ADJUST} adjustments"));
        }
        let adjust: Vec<Adjust> = (data.adjust.iter().enumerate())
            .map(|(at, adjust)| self.adjust(name, &format!("{place}.adjust[{at}]"), adjust))
            .collect();
        let rate = Rate {
            from: self.time(name, &format!("{place}.from"), data.from.as_deref(), 0),
            to: self.time(name, &format!("{place}.to"), data.to.as_deref(), u64::MAX),
            from_text: data.from.as_deref().map(Into::into),
            prices: self.prices(name, &format!("{place}.price"), &data.price),
            tiers: self.tiers(name, place, &data.tiers),
            fees: self.fees(name, &format!("{place}.fees_per_1000"), &data.fees_per_1000),
            incomplete: data.incomplete.is_some(),
            adjust: adjust.into(),
        };
        self.check_multipliers(name, place, &rate);
        rate
    }

    /// Each multiplier, and the product of all, must leave every price a whole number of 1e-18 USD.
    fn check_multipliers(&mut self, name: &str, place: &str, rate: &Rate) {
        let mut ratios: Vec<Ratio> = rate.adjust.iter().filter_map(|adjust| adjust.multiply).collect();
        let all = ratios.iter().try_fold(Ratio::ONE, |all, ratio| all.times(*ratio));
        let Some(all) = all else {
            return self.tell(format!("{place}.adjust"), format!("{name}: its multipliers are too fine"));
        };
        ratios.push(all);
        let tiers = rate.tiers.iter().chain(rate.adjust.iter().flat_map(|adjust| &adjust.tiers));
        let lists = tiers.map(|tier| &tier.prices).chain(rate.adjust.iter().map(|adjust| &adjust.prices));
        let mut prices = lists.chain([&rate.prices]).flatten().map(|(_, price)| *price);
        if !prices.all(|price| ratios.iter().all(|ratio| ratio.of(price).is_some())) {
            let what = format!("{name}: a price times its multipliers is finer than 1e-18 USD per token");
            self.tell(format!("{place}.adjust"), what);
        }
    }

    fn adjust(&mut self, name: &str, place: &str, data: &schema::Adjust) -> Adjust {
        let mut when = Vec::with_capacity(data.when.len());
        for (word, values) in &data.when {
            let at = format!("{place}.when.{word}");
            let Some(variable) = Variable::parse(word) else {
                self.tell(at, format!("{name}: `when: {word}` is not known"));
                continue;
            };
            let readable =
                variable != Variable::UtcTime || values.iter().all(|value| super::row::window(value).is_some());
            if values.is_empty() || !readable {
                self.tell(at, format!("{name}: `when: {word}` has no usable value"));
            }
            when.push((variable, values.iter().map(|value| value.to_lowercase().into()).collect()));
        }
        let multiply = data.multiply.as_deref().and_then(|text| {
            let ratio = Decimal::parse(text).filter(|decimal| !decimal.is_negative()).and_then(Decimal::ratio);
            if ratio.is_none() {
                self.tell(format!("{place}.multiply"), format!("{name}: multiplier {text} is no decimal"));
            }
            ratio
        });
        Adjust {
            when: when.into(),
            from: self.time(name, &format!("{place}.from"), data.from.as_deref(), 0),
            prices: self.prices(name, &format!("{place}.price"), &data.price),
            tiers: self.tiers(name, place, &data.tiers),
            fees: self.fees(name, &format!("{place}.fees_per_1000"), &data.fees_per_1000),
            multiply,
            last: data.last,
        }
    }

    fn tiers(&mut self, name: &str, place: &str, list: &[schema::Tier]) -> Box<[Tier]> {
        let mut tiers: Vec<Tier> = Vec::with_capacity(list.len());
        for (at, tier) in list.iter().enumerate() {
            let place = format!("{place}.tiers[{at}]");
            let at_least = match (tier.over_input, tier.at_least_input) {
                (Some(over), None) => over.saturating_add(1),
                (None, Some(at_least)) => at_least,
                _ => {
                    self.tell(place, format!("{name}: a tier needs over_input or at_least_input"));
                    continue;
                }
            };
            if tiers.iter().any(|tier| tier.at_least == at_least) {
                self.tell(place.clone(), format!("{name}: a tier stands twice"));
            }
            let prices = self.prices(name, &format!("{place}.price"), &tier.price);
            tiers.push(Tier { at_least, prices });
        }
        tiers.sort_by_key(|tier| tier.at_least);
        tiers.into()
    }

    fn prices(&mut self, name: &str, place: &str, map: &schema::Price) -> Prices {
        let per = self.per_tokens.max(1);
        self.amounts(name, place, map, per, Unit::parse)
    }

    fn fees(&mut self, name: &str, place: &str, map: &schema::Price) -> Box<[(Fee, i128)]> {
        self.amounts(name, place, map, FEE_PER, Fee::parse)
    }

    fn amounts<W>(
        &mut self,
        name: &str,
        place: &str,
        map: &schema::Price,
        per: u64,
        parse: impl Fn(&str) -> Option<W>,
    ) -> Box<[(W, i128)]> {
        let mut out = Vec::with_capacity(map.len());
        for (word, text) in map {
            let Some(unit) = parse(word) else {
                self.tell(format!("{place}.{word}"), format!("{name}: unit {word} is not known"));
                continue;
            };
            let decimal = Decimal::parse(text);
            if decimal.is_some_and(Decimal::is_negative) {
                self.tell(format!("{place}.{word}"), format!("{name}: price {text} of {word} is negative"));
                continue;
            }
            match decimal.and_then(|decimal| decimal.per_unit(per)) {
                Some(price) => out.push((unit, price)),
                None => {
                    let what = format!("{name}: price {text} of {word} can't be held exactly (1e-18 USD per token)");
                    self.tell(format!("{place}.{word}"), what);
                }
            }
        }
        out.into()
    }

    fn time(&mut self, name: &str, place: &str, text: Option<&str>, default: u64) -> u64 {
        let Some(text) = text else { return default };
        time(text).unwrap_or_else(|| {
            self.tell(place, format!("{name}: time {text} is not RFC 3339"));
            default
        })
    }

    /// Follows each alias to its model.
    fn aliases(&mut self, alias: &BTreeMap<String, String>, table: &mut Table) {
        let lower: BTreeMap<String, &str> =
            alias.iter().map(|(from, to)| (from.trim().to_lowercase(), to.as_str())).collect();
        for from in alias.keys() {
            let place = format!("alias.{from}");
            let (mut at, mut seen) = (from.trim().to_lowercase(), HashSet::new());
            let target = loop {
                if !seen.insert(at.clone()) {
                    self.tell(place.clone(), format!("alias {from} goes round in a loop"));
                    break None;
                }
                match lower.get(&at) {
                    Some(next) => at = next.trim().to_lowercase(),
                    None => break Some(at),
                }
            };
            let Some(target) = target else { continue };
            let found = target.split_once('/').and_then(|(key, id)| {
                let provider = table.providers.iter().position(|provider| &*provider.key == key)?;
                table.at(provider, id, false)
            });
            match found {
                Some(found) => drop(table.aliases.insert(from.trim().to_lowercase().into(), found)),
                None => {
                    let (key, id) = target.split_once('/').unwrap_or(("", &target));
                    let nearest = table.nearest(Some(key).filter(|key| !key.is_empty()), id);
                    let hint = nearest.map_or_else(String::new, |id| format!("; the nearest is {id}"));
                    self.tell(place, format!("alias {from}: {target} is no `provider/model` of the table{hint}"));
                }
            }
        }
    }
}
