//! **What**: [`Row`]: the prices of one call: its rate at its time, adjusted by its circumstances. **Invariants**: the whole
//! request is in one tier; the first entry that names a unit decides it; no rounding.

use super::decimal::{Ratio, Usd};
use super::ids::{Found, Unpriced};
use super::table::{Adjust, Prices, Rate, Table, Tier, find};
use super::unit::{Unit, Variable};

/// What a price depends on, as the call tells it. Values are compared in lower case.
#[derive(Clone, Copy, Default)]
pub struct Circumstances<'a> {
    /// Tier of the response, else of the request; `batch` means processing.
    pub service_tier: Option<&'a str>,
    /// `fast`.
    pub speed: Option<&'a str>,
    /// `us`.
    pub inference_geo: Option<&'a str>,
    /// Host that was called.
    pub server_address: Option<&'a str>,
}

/// What identifies a row.
pub struct Query<'a> {
    /// Name of the provider, as sent or today's; None = to be inferred from the model.
    pub provider: Option<&'a str>,
    /// Ids in order of preference: the response's, then the request's.
    pub models: &'a [&'a str],
    /// Start of the call, Unix ns.
    pub time: u64,
    /// Tier, speed, region.
    pub circumstances: Circumstances<'a>,
}

/// The prices of one call.
pub struct Row<'t> {
    table: &'t Table,
    found: Found<'t>,
    rate: &'t Rate,
    adjusts: Vec<&'t Adjust>,
    multiply: Ratio,
    total_input: u64,
    unmatched: bool,
}

/// What a row was found by; the words of `tollgate.cost.flags` for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowFlags {
    /// A snapshot that is not listed was taken for its model.
    pub date_dropped: bool,
    /// A tier or region without a rate: list price.
    pub context_unmatched: bool,
    /// The table says that the window is not complete.
    pub incomplete: bool,
}

impl Table {
    /// The vendor or reseller of a model, as its key in the table, before any price is looked up.
    pub fn seller(&self, provider: Option<&str>, models: &[&str]) -> Option<&str> {
        self.resolve(provider, models).ok().map(|found| &*found.provider.key)
    }

    /// The prices of a call whose prompt has `total_input` tokens, cached ones included.
    ///
    /// # Errors
    /// Why there is no price.
    pub fn row(&self, query: &Query<'_>, total_input: u64) -> Result<Row<'_>, Unpriced> {
        let found = self.resolve(query.provider, query.models)?;
        let rate = found.model.at(query.time).ok_or(Unpriced::NoRateAtTime)?;
        let context = Context::new(self, query, &found);
        let mut adjusts = Vec::new();
        for adjust in rate.adjust.iter().filter(|adjust| query.time >= adjust.from && context.matches(adjust)) {
            adjusts.push(adjust);
            if adjust.last {
                break;
            }
        }
        let mut factors = adjusts.iter().filter_map(|adjust| adjust.multiply);
        let multiply = factors.try_fold(Ratio::ONE, Ratio::times).ok_or(Unpriced::MissingUnit)?;
        let unmatched = context
            .chosen()
            .any(|variable| !adjusts.iter().any(|adjust| adjust.when.iter().any(|(asked, _)| *asked == variable)));
        Ok(Row { table: self, found, rate, adjusts, multiply, total_input, unmatched })
    }
}

impl Row<'_> {
    /// The provider's key.
    pub fn provider(&self) -> &str {
        &self.found.provider.key
    }

    /// The model's canonical id.
    pub fn model(&self) -> &str {
        &self.found.model.id
    }

    /// How it was found.
    pub fn flags(&self) -> RowFlags {
        RowFlags {
            date_dropped: self.found.date_dropped,
            context_unmatched: self.unmatched,
            incomplete: self.rate.incomplete,
        }
    }

    /// `provider/id@from;adjusts`, as `tollgate.cost.rate`.
    pub fn name(&self) -> String {
        let mut out = format!("{}/{}", self.provider(), self.model());
        if let Some(from) = &self.rate.from_text {
            out.push('@');
            out.push_str(from);
        }
        for adjust in &self.adjusts {
            for (at, (_, values)) in adjust.when.iter().enumerate() {
                out.push(if at == 0 { ';' } else { '+' });
                out.push_str(&values.join("|"));
            }
        }
        out
    }

    /// Whether the table has a price for this very unit.
    pub fn has(&self, unit: Unit) -> bool {
        self.listed(unit).is_some()
    }

    /// The price of one token, and the unit whose price it is: its own or the nearest parent's that has one.
    pub fn price(&self, unit: Unit) -> Option<(Usd, Unit)> {
        let mut named = unit;
        for _ in Unit::ALL {
            if let Some(price) = self.listed(named) {
                return Some((Usd(self.multiply.of(price)?), named));
            }
            named = *self.table.parents.get(&named)?;
        }
        None
    }

    /// The price before multipliers.
    fn listed(&self, unit: Unit) -> Option<i128> {
        let names = |adjust: &&&Adjust| {
            find(&adjust.prices, unit).is_some() || adjust.tiers.iter().any(|tier| find(&tier.prices, unit).is_some())
        };
        match self.adjusts.iter().find(names) {
            Some(adjust) => self.tiered(&adjust.prices, &adjust.tiers, unit),
            None => self.tiered(&self.rate.prices, &self.rate.tiers, unit),
        }
    }

    /// The highest tier that holds and has the unit, else the base.
    fn tiered(&self, base: &Prices, tiers: &[Tier], unit: Unit) -> Option<i128> {
        let holding = tiers.iter().rev().filter(|tier| self.total_input >= tier.at_least);
        holding.filter_map(|tier| find(&tier.prices, unit)).next().or_else(|| find(base, unit))
    }
}

/// The variables of one call.
struct Context {
    values: Vec<(Variable, String)>,
    weekday: &'static str,
    /// Minutes since midnight, UTC.
    minute: u32,
}

const WEEKDAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];

impl Context {
    fn new(table: &Table, query: &Query<'_>, found: &Found<'_>) -> Self {
        let mut values = Vec::new();
        let mut put = |variable, value: &str| values.push((variable, value.to_owned()));
        let told = &query.circumstances;
        match told.service_tier.map(|tier| tier.trim().to_lowercase()).as_deref() {
            Some("batch") => put(Variable::Processing, "batch"),
            Some(tier @ ("flex" | "priority" | "fast")) => put(Variable::ServiceTier, tier),
            _ => {}
        }
        if told.speed.is_some_and(|speed| speed.trim().eq_ignore_ascii_case("fast")) {
            put(Variable::Speed, "fast");
        }
        if told.inference_geo.is_some_and(|geo| geo.trim().eq_ignore_ascii_case("us")) {
            put(Variable::InferenceGeo, "us");
        }
        let host = told.server_address.unwrap_or("").trim().to_lowercase();
        if let Some(geo @ ("us" | "eu")) = host.strip_suffix(".api.openai.com") {
            put(Variable::DataResidency, geo);
        }
        if host.split('.').next().is_some_and(|first| first.ends_with("-aiplatform")) {
            put(Variable::VertexEndpoint, "regional");
        }
        if query.provider.is_some_and(|name| name.to_lowercase().contains("vertex")) {
            put(Variable::GooglePlatform, "vertex");
        }
        if let Some(prefix) = &found.bedrock_prefix {
            let scope = table.scopes.get(prefix.as_str()).map_or("region", |scope| scope);
            put(Variable::BedrockScope, scope);
            put(Variable::BedrockGeo, prefix);
        }
        let (days, minute) = (query.time / 86_400_000_000_000, query.time / 60_000_000_000 % 1_440);
        let weekday = WEEKDAYS.iter().copied().cycle().nth(usize::try_from(days % 7).unwrap_or(0)).unwrap_or("thu");
        Self { values, weekday, minute: u32::try_from(minute).unwrap_or(0) }
    }

    fn matches(&self, adjust: &Adjust) -> bool {
        adjust.when.iter().all(|(variable, values)| match variable {
            Variable::UtcTime => values.iter().any(|value| self.within(value)),
            Variable::UtcWeekday => values.iter().any(|value| &**value == self.weekday),
            _ => self
                .values
                .iter()
                .any(|(named, told)| named == variable && values.iter().any(|value| value.as_ref() == told.as_str())),
        })
    }

    fn within(&self, value: &str) -> bool {
        window(value).is_some_and(|(from, to)| {
            if from <= to { (from..to).contains(&self.minute) } else { self.minute >= from || self.minute < to }
        })
    }

    /// What the caller chose.
    fn chosen(&self) -> impl Iterator<Item = Variable> + '_ {
        self.values.iter().map(|(variable, _)| *variable).filter(|variable| variable.is_chosen())
    }
}

/// `HH:MM-HH:MM` in minutes since midnight.
pub(super) fn window(text: &str) -> Option<(u32, u32)> {
    let minutes = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    };
    let (from, to) = text.split_once('-')?;
    Some((minutes(from)?, minutes(to)?))
}
