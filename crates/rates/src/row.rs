//! [`PriceRow`]: the prices of one call: the rate at its time, adjusted to its circumstances. A request is in one tier
//! as a whole; the first adjustment with a price for a unit decides it; nothing is rounded.

use std::collections::BTreeSet;

use super::decimal::{Ratio, Usd};
use super::resolved::{ResolvedModel, UnpricedReason};
use super::table::{Adjustment, EARLIEST_CALL, Model, Provider, Rate, RateTable, Tier, UnitPrices, find_price};
use super::unit::{Fee, Unit, Variable};

const MINUTE: u64 = 60_000_000_000;
const DAY: u64 = 1_440 * MINUTE;

/// Circumstances of a call that affect its price. Values are compared case-insensitively.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallCircumstances<'a> {
    /// Tier of the response, otherwise of the request; `batch` is treated as processing.
    pub service_tier: Option<&'a str>,
    /// For example `fast`.
    pub speed: Option<&'a str>,
    /// For example `us`.
    pub inference_geo: Option<&'a str>,
    /// Kind of the endpoint called: `us`, `eu` (where data is kept), `regional` (Vertex).
    pub endpoint: Option<&'a str>,
}

/// Input of a look-up.
pub struct RateQuery<'a> {
    /// Name of the provider, in its old or new form; `None`: inferred from the model.
    pub provider: Option<&'a str>,
    /// Ids in order of preference: the response's, then the request's.
    pub models: &'a [&'a str],
    /// Start of the call, Unix ns.
    pub time: u64,
    /// Tier, speed, region.
    pub circumstances: CallCircumstances<'a>,
}

impl<'a> CallCircumstances<'a> {
    /// The name under which a bill has such calls: the speed, else the service tier; `None` for the standard one.
    pub fn tier(&self) -> Option<&'a str> {
        non_default(self.speed, &DEFAULT_SPEEDS).or_else(|| non_default(self.service_tier, &DEFAULT_TIERS))
    }

    /// `None` for variables that depend on the id or the time.
    fn with(self, variable: Variable, value: &'a str) -> Option<Self> {
        Some(match variable {
            Variable::ServiceTier | Variable::Processing => Self { service_tier: Some(value), ..self },
            Variable::Speed => Self { speed: Some(value), ..self },
            Variable::InferenceGeo => Self { inference_geo: Some(value), ..self },
            Variable::DataResidency | Variable::VertexEndpoint => Self { endpoint: Some(value), ..self },
            _ => return None,
        })
    }
}

impl<'a> RateQuery<'a> {
    /// A query for each time and circumstance, and the prompt sizes, at which a price may change; `None` if they make
    /// more than `most` calls.
    pub(super) fn list_all(rates: &[&'a Rate], most: usize) -> Option<(Vec<Self>, BTreeSet<u64>)> {
        let adjusts = || rates.iter().flat_map(|rate| &rate.adjust);
        let values = |variable: Variable| -> BTreeSet<&'a str> {
            let conditions = adjusts().flat_map(|adjust| &adjust.when).filter(|(own, _)| *own == variable);
            conditions.flat_map(|(_, values)| values).map(|value| &**value).collect()
        };
        let tiers = rates.iter().flat_map(|rate| &rate.tiers).chain(adjusts().flat_map(|adjust| &adjust.tiers));
        let prompts: BTreeSet<u64> = tiers.map(|tier| tier.at_least).chain([0]).collect();
        let mut times: BTreeSet<u64> = rates.iter().flat_map(|rate| [rate.from, rate.to]).collect();
        times.extend(adjusts().map(|adjust| adjust.from));
        times = times.into_iter().filter(|time| *time < u64::MAX).map(|time| time.max(EARLIEST_CALL)).collect();
        let minutes = values(Variable::UtcTime).into_iter().filter_map(parse_time_window);
        let mut minutes: BTreeSet<u32> = minutes.flat_map(|(from, to)| [from, to]).collect();
        if !minutes.is_empty() || !values(Variable::UtcWeekday).is_empty() {
            minutes.insert(0);
            (times.len().saturating_mul(minutes.len()) < most).then_some(())?;
            for start in times.clone() {
                // each such minute of the week after it
                for at in
                    (0..7).flat_map(|day| minutes.iter().map(move |minute| day * DAY + u64::from(*minute) * MINUTE))
                {
                    let time = (start - start % DAY).saturating_add(at);
                    times.insert(if time < start { time.saturating_add(7 * DAY) } else { time });
                }
            }
        }
        let mut circumstances = BTreeSet::from([CallCircumstances::default()]);
        for variable in Variable::ALL {
            let values = values(*variable);
            (circumstances.len().saturating_mul(values.len()) < most).then_some(())?;
            let varied =
                circumstances.iter().flat_map(|known| values.iter().filter_map(|value| known.with(*variable, value)));
            circumstances.extend(varied.collect::<Vec<_>>());
        }
        let calls = times.len().saturating_mul(circumstances.len()).saturating_mul(prompts.len());
        (calls < most).then_some(())?;
        let queries_at = |time| {
            let query = move |circumstances: &CallCircumstances<'a>| RateQuery {
                provider: None,
                models: &[],
                time,
                circumstances: *circumstances,
            };
            circumstances.iter().map(query)
        };
        Some((times.into_iter().flat_map(queries_at).collect(), prompts))
    }
}

pub struct PriceRow<'t> {
    table: &'t RateTable,
    provider: &'t Provider,
    model: &'t Model,
    pub(super) rate: &'t Rate,
    adjustments: AppliedAdjustments,
    flags: RowFlags,
    total_input: u64,
}

/// How a row was found, as in `tollgate.cost.flags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowFlags {
    /// The snapshot is not listed; its model's price was used.
    pub date_dropped: bool,
    /// The Bedrock id lacked the vendor, and so perhaps the region.
    pub vendor_inferred: bool,
    /// The table has no rate for the call's tier or region; the list price was used.
    pub context_unmatched: bool,
    /// The table marks the window as incomplete.
    pub incomplete: bool,
    /// A model preferred to the one that was found is not listed.
    pub model_passed_over: bool,
}

impl RateTable {
    /// The prices of a call with a prompt of `total_input` tokens, cached ones included. Allocates nothing for ids
    /// that were looked up before.
    ///
    /// # Errors
    /// Why there is no price.
    pub fn row(&self, query: &RateQuery<'_>, total_input: u64) -> Result<PriceRow<'_>, UnpricedReason> {
        let (found, model_passed_over) = self.resolve(query.provider, query.models)?;
        let mut row = self.price_model(found, query, total_input)?;
        row.flags.model_passed_over = model_passed_over;
        Ok(row)
    }

    /// The prices of a call of a known model; the query's provider and models are not read.
    pub(super) fn price_model(
        &self,
        found: ResolvedModel,
        query: &RateQuery<'_>,
        total_input: u64,
    ) -> Result<PriceRow<'_>, UnpricedReason> {
        let (provider, model) = self.model(found).ok_or(UnpricedReason::UnknownModel)?;
        let rate = model.rate_at(query.time).ok_or(UnpricedReason::NoRateAtTime)?;
        let context = CallContext::new(self, query, &found);
        let adjustments = AppliedAdjustments::select(rate, query.time, |adjust| context.matches_adjustment(adjust))
            .ok_or(UnpricedReason::MissingUnit)?;
        let is_unmatched = |variable: Variable| adjustments.condition_bits & variable.bit() == 0;
        let flags = RowFlags {
            date_dropped: found.date_dropped,
            vendor_inferred: found.vendor_inferred,
            context_unmatched: context.chosen_variables().any(is_unmatched),
            incomplete: rate.incomplete,
            model_passed_over: false,
        };
        Ok(PriceRow { table: self, provider, model, rate, adjustments, flags, total_input })
    }
}

struct AppliedAdjustments {
    /// The bit of each adjustment that applies, by its index.
    adjusts: u64,
    multiply: Ratio,
    condition_bits: u32,
}

impl AppliedAdjustments {
    /// `None` if the product of the multipliers overflows.
    fn select(rate: &Rate, time: u64, matches: impl Fn(&Adjustment) -> bool) -> Option<Self> {
        let mut applied = Self { adjusts: 0, multiply: Ratio::ONE, condition_bits: 0 };
        for (at, adjust) in rate.adjust.iter().enumerate().take(64) {
            if time < adjust.from || !matches(adjust) {
                continue;
            }
            applied.adjusts |= 1_u64 << at;
            applied.condition_bits |= adjust.when.iter().fold(0, |bits, (variable, _)| bits | variable.bit());
            if let Some(ratio) = adjust.multiply {
                applied.multiply = applied.multiply.times(ratio)?;
            }
            if adjust.last {
                break;
            }
        }
        Some(applied)
    }
}

impl<'t> PriceRow<'t> {
    pub fn provider(&self) -> &'t str {
        &self.provider.key
    }

    /// The model's canonical id.
    pub fn model(&self) -> &'t str {
        &self.model.id
    }

    /// How the row was found.
    pub fn flags(&self) -> RowFlags {
        self.flags
    }

    /// The adjustments that apply, in the table's order.
    fn adjusts(&self) -> impl Iterator<Item = &'t Adjustment> + use<'t> {
        let bits = self.adjustments.adjusts;
        self.rate.adjust.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, adjust)| adjust)
    }

    /// `provider/id@from;adjusts`, as in `tollgate.cost.rate`.
    pub fn name(&self) -> String {
        let mut out = format!("{}/{}", self.provider(), self.model());
        if let Some(from) = &self.rate.from_text {
            out.push('@');
            out.push_str(from);
        }
        for adjust in self.adjusts() {
            for (at, (_, values)) in adjust.when.iter().enumerate() {
                out.push(if at == 0 { ';' } else { '+' });
                out.push_str(&values.join("|"));
            }
        }
        out
    }

    /// The price of one use, if it is charged. Multipliers apply to tokens only.
    pub fn fee(&self, fee: Fee) -> Option<Usd> {
        self.adjusts()
            .find_map(|adjust| find_price(&adjust.fees, fee))
            .or_else(|| find_price(&self.rate.fees, fee))
            .map(Usd)
    }

    /// Whether the table has a price for this unit itself.
    pub fn has_price(&self, unit: Unit) -> bool {
        self.listed_price(unit).is_some()
    }

    /// The price of one token, and the unit it belongs to: `unit`, or its nearest parent with a price.
    pub fn price(&self, unit: Unit) -> Option<(Usd, Unit)> {
        let mut priced_unit = unit;
        for _ in Unit::ALL {
            if let Some(price) = self.listed_price(priced_unit) {
                return Some((Usd(self.adjustments.multiply.multiply(price)?), priced_unit));
            }
            priced_unit = *self.table.parents.get(&priced_unit)?;
        }
        None
    }

    /// The price before multipliers.
    fn listed_price(&self, unit: Unit) -> Option<i128> {
        let prices_unit = |adjust: &&Adjustment| {
            find_price(&adjust.prices, unit).is_some()
                || adjust.tiers.iter().any(|tier| find_price(&tier.prices, unit).is_some())
        };
        match self.adjusts().find(prices_unit) {
            Some(adjust) => self.tiered_price(&adjust.prices, &adjust.tiers, unit),
            None => self.tiered_price(&self.rate.prices, &self.rate.tiers, unit),
        }
    }

    /// The price in the highest tier that applies and has the unit, otherwise the base price.
    fn tiered_price(&self, base: &UnitPrices, tiers: &[Tier], unit: Unit) -> Option<i128> {
        let applicable = tiers.iter().rev().filter(|tier| self.total_input >= tier.at_least);
        applicable.filter_map(|tier| find_price(&tier.prices, unit)).next().or_else(|| find_price(base, unit))
    }
}

/// What the conditions of adjustments are compared with.
struct CallContext<'a> {
    sent: CallCircumstances<'a>,
    vertex: bool,
    /// First segment of a Bedrock id, and its scope.
    bedrock: Option<(&'a str, &'a str)>,
    weekday: &'static str,
    /// Minutes since midnight, UTC.
    minute: u32,
}

/// From 1970-01-01, a Thursday.
const WEEKDAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
/// Tier names that mean the standard price.
const DEFAULT_TIERS: [&str; 8] = ["auto", "default", "standard", "standard_only", "scale", "on_demand", "none", "null"];
const DEFAULT_SPEEDS: [&str; 4] = ["standard", "normal", "default", "none"];
const DEFAULT_GEOS: [&str; 3] = ["global", "not_available", "none"];

/// The value, unless it is empty or means the default.
fn non_default<'a>(value: Option<&'a str>, default_words: &[&str]) -> Option<&'a str> {
    let value = value.map(str::trim).filter(|value| !value.is_empty())?;
    (!default_words.iter().any(|word| word.eq_ignore_ascii_case(value))).then_some(value)
}

impl<'a> CallContext<'a> {
    fn new(table: &'a RateTable, query: &RateQuery<'a>, found: &ResolvedModel) -> Self {
        let bedrock = found.bedrock_scope.map(|scope| {
            let named = scope.and_then(|at| table.scopes.get(at));
            let bare = || table.scopes.iter().find(|(name, _)| name.is_empty()).map_or("region", |(_, scope)| &**scope);
            named.map_or_else(|| ("", bare()), |(name, scope)| (&**name, &**scope))
        });
        let (days, minute) = (query.time / DAY, query.time / MINUTE % 1_440);
        let weekday = WEEKDAYS.get(usize::try_from(days % 7).unwrap_or(0)).copied();
        Self {
            sent: query.circumstances,
            vertex: found.vertex,
            bedrock,
            weekday: weekday.unwrap_or("thu"),
            minute: u32::try_from(minute).unwrap_or(0),
        }
    }

    fn value(&self, variable: Variable) -> Option<&'a str> {
        let tier = || non_default(self.sent.service_tier, &DEFAULT_TIERS);
        let is_batch = |tier: &&str| tier.eq_ignore_ascii_case("batch");
        match variable {
            Variable::ServiceTier => tier().filter(|tier| !is_batch(tier)),
            Variable::Processing => tier().filter(is_batch),
            Variable::Speed => non_default(self.sent.speed, &DEFAULT_SPEEDS),
            Variable::InferenceGeo => non_default(self.sent.inference_geo, &DEFAULT_GEOS),
            Variable::DataResidency => self.sent.endpoint.filter(|endpoint| matches!(*endpoint, "us" | "eu")),
            Variable::VertexEndpoint => self.sent.endpoint.filter(|endpoint| *endpoint == "regional"),
            Variable::GooglePlatform => self.vertex.then_some("vertex"),
            Variable::BedrockScope => self.bedrock.map(|(_, scope)| scope),
            Variable::BedrockGeo => self.bedrock.map(|(segment, _)| segment),
            Variable::UtcTime | Variable::UtcWeekday | Variable::Route => None,
        }
    }

    fn matches_adjustment(&self, adjust: &Adjustment) -> bool {
        adjust.when.iter().all(|(variable, values)| match variable {
            Variable::UtcTime => values.iter().any(|value| is_in_time_window(value, self.minute)),
            Variable::UtcWeekday => values.iter().any(|value| &**value == self.weekday),
            _ => self.value(*variable).is_some_and(|own| values.iter().any(|value| value.eq_ignore_ascii_case(own))),
        })
    }

    /// The variables that the caller set.
    fn chosen_variables(&self) -> impl Iterator<Item = Variable> + '_ {
        Variable::ALL.iter().copied().filter(|variable| variable.is_chosen() && self.value(*variable).is_some())
    }
}

/// Whether a minute of the day lies in `HH:MM-HH:MM`.
fn is_in_time_window(value: &str, minute: u32) -> bool {
    parse_time_window(value)
        .is_some_and(|(from, to)| if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to })
}

/// Parses `HH:MM-HH:MM` into minutes since midnight.
pub(super) fn parse_time_window(text: &str) -> Option<(u32, u32)> {
    let minutes = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    };
    let (from, to) = text.split_once('-')?;
    Some((minutes(from)?, minutes(to)?))
}
