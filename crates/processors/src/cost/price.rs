//! Computes the price of one call: its disjoint tokens times the prices of its rate row.
//!
//! Amounts are exact, and a call whose tokens are not all priced has no price. Cache writes without a lifetime are
//! split into 5m and 1h with the client's own cost, if a split explains that cost to within 1e-9 USD. An item's facts
//! and the basis in its index row give the same price.

use calls::Money;
use genai::usage::{PriceBasis, PricingFlags, TokenSplit, endpoint_kind, split_tokens};
use genai::{CallTokenBuckets, ItemFacts};
use rates::{CallCircumstances, Fee, PriceRow, RateQuery, RateTable, Unit, UnpricedReason, Usd};

/// Maximum deviation of the client's own cost from a split that explains it: 1e-9 USD, in 1e-18 USD.
const SPLIT_TOLERANCE: i128 = 1_000_000_000;

pub struct CallPriceInput<'a> {
    provider: Option<&'a str>,
    /// The models to look up, in order: the response's, then the requested one; "" = not reported.
    models: [&'a str; 2],
    time: u64,
    /// The disjoint token counts.
    pub(super) split: TokenSplit,
    /// What tier, speed and place the call reports.
    pub circumstances: CallCircumstances<'a>,
    reported: Option<&'a str>,
    /// Numbers of web and file searches, which may cost a fee per use.
    uses: [(Fee, u64); 2],
    /// The tokens of several calls: their number chooses no price tier, and there is no fee per request.
    pub(super) is_total: bool,
}

pub struct PricedCall<'t> {
    /// The sum of the parts.
    pub total: Usd,
    /// The components of the total.
    pub parts: PriceParts,
    /// The rate row used: `provider/id@from;adjusts`.
    pub rate: String,
    /// Key of the provider in the table.
    pub provider: &'t str,
    /// Canonical id of the model.
    pub model: &'t str,
    /// Assumptions that were made.
    pub flags: PricingFlags,
    /// The tokens that were billed.
    pub buckets: CallTokenBuckets,
}

/// A call without a price.
pub struct UnpricedCall {
    /// The reason why there is no price.
    pub reason: UnpricedReason,
    /// The tokens that would have been billed.
    pub buckets: CallTokenBuckets,
}

/// The components of a total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PriceParts {
    /// Input, including audio, images and video.
    pub input: Usd,
    /// Output, including audio, images and reasoning.
    pub output: Usd,
    pub cache_read: Usd,
    pub cache_write: Usd,
    /// Fees per use and per request.
    pub fees: Usd,
    /// Not part of the total: how much more the tokens read from a cache, and those written to one, would have cost as
    /// uncached input of the same row. Negative: less.
    pub saved: [Usd; 2],
}

impl From<Money> for PriceParts {
    fn from(Money(parts, saved): Money) -> Self {
        let [input, output, cache_read, cache_write, fees] = parts.map(Usd);
        Self { input, output, cache_read, cache_write, fees, saved: saved.map(Usd) }
    }
}

impl PriceParts {
    /// The sum, unless it overflows.
    pub fn total(self) -> Option<Usd> {
        self.input.plus(self.output)?.plus(self.cache_read)?.plus(self.cache_write)?.plus(self.fees)
    }

    fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            input: self.input.minus(other.input)?,
            output: self.output.minus(other.output)?,
            cache_read: self.cache_read.minus(other.cache_read)?,
            cache_write: self.cache_write.minus(other.cache_write)?,
            fees: self.fees.minus(other.fees)?,
            saved: [self.saved[0].minus(other.saved[0])?, self.saved[1].minus(other.saved[1])?],
        })
    }
}

impl<'a> CallPriceInput<'a> {
    /// Builds a call from an item's facts. `time` is its start, Unix ns.
    ///
    /// # Errors
    /// The token counts are impossible.
    pub fn from_item(item: &'a ItemFacts, time: u64) -> Result<Self, UnpricedCall> {
        let bad_usage = |_| UnpricedCall { reason: UnpricedReason::BadUsage, buckets: CallTokenBuckets::default() };
        let context = item.context.as_deref();
        let circumstances = context.map_or_else(CallCircumstances::default, |context| CallCircumstances {
            service_tier: context.service_tier.as_deref(),
            speed: context.speed.as_deref(),
            inference_geo: context.inference_geo.as_deref(),
            endpoint: context.server_address.as_deref().and_then(endpoint_kind),
        });
        Ok(Self {
            provider: item.provider.as_deref(),
            models: [&item.response_model, &item.request_model].map(|model| model.as_deref().unwrap_or("")),
            time,
            split: split_tokens(item).map_err(bad_usage)?,
            circumstances,
            reported: item.reported_cost.as_deref(),
            uses: context.map_or([(Fee::WebSearch, 0), (Fee::FileSearch, 0)], |context| {
                [(Fee::WebSearch, context.web_searches), (Fee::FileSearch, context.file_searches)]
            }),
            is_total: false,
        })
    }

    /// Builds a call from the basis in an index row.
    pub fn from_basis(basis: &'a PriceBasis) -> Self {
        let mut models = basis.listed.iter().chain(&basis.models).map(String::as_str);
        let mut split = basis.units;
        split.flags = PricingFlags::from_words(basis.flags.iter().map(String::as_str));
        Self {
            provider: basis.provider.as_deref(),
            models: [models.next().unwrap_or(""), models.next().unwrap_or("")],
            time: basis.time,
            split,
            circumstances: CallCircumstances {
                service_tier: basis.service_tier.as_deref(),
                speed: basis.speed.as_deref(),
                inference_geo: basis.inference_geo.as_deref(),
                endpoint: basis.endpoint.as_deref(),
            },
            reported: basis.reported.as_deref(),
            uses: [(Fee::WebSearch, basis.web_searches), (Fee::FileSearch, basis.file_searches)],
            is_total: basis.is_total,
        }
    }
}

/// Prices a call. With `fees`, fees per use are included. A fee per request is always included.
///
/// # Errors
/// The reason why there is no price.
pub fn price_call<'t>(
    table: &'t RateTable,
    call: &CallPriceInput<'_>,
    fees: bool,
) -> Result<PricedCall<'t>, UnpricedCall> {
    let unpriced = |reason| UnpricedCall { reason, buckets: call.split.buckets() };
    let CallPriceInput { provider, models, time, circumstances, .. } = *call;
    let query = RateQuery { provider, models: &models, time, circumstances };
    let size = if call.is_total { 0 } else { call.split.total_input() };
    let row = table.row(&query, size).map_err(unpriced)?;
    let split = split_cache_writes(&row, call.split, call.reported);
    let mut flags = split.flags;
    let mut parts = price_parts(&row, &split, &mut flags).map_err(unpriced)?;
    parts.fees = row.fee(Fee::Request).filter(|_| !call.is_total).unwrap_or(Usd::ZERO);
    if fees {
        let uses = charge_fees(&row, &call.uses, &mut flags).and_then(|uses| parts.fees.plus(uses));
        parts.fees = uses.ok_or_else(|| unpriced(UnpricedReason::BadUsage))?;
    }
    let total = parts.total().ok_or_else(|| unpriced(UnpricedReason::BadUsage))?;
    let row_flags = row.flags();
    for (is_set, flag) in [
        (row_flags.date_dropped, PricingFlags::DATE_DROPPED),
        (row_flags.vendor_inferred, PricingFlags::VENDOR_INFERRED),
        (row_flags.context_unmatched, PricingFlags::CONTEXT_UNMATCHED),
        (row_flags.incomplete, PricingFlags::INCOMPLETE_RATE),
        (row_flags.model_passed_over, PricingFlags::RESPONSE_MODEL_UNKNOWN),
    ] {
        if is_set {
            flags.add(flag);
        }
    }
    let (provider, model) = (row.provider(), row.model());
    Ok(PricedCall { total, parts, rate: row.name(), provider, model, flags, buckets: split.buckets() })
}

/// Prices a stored basis by this table: a whole call, or only what the call costs above an earlier record of it.
/// The difference is negative if the earlier record costs more.
///
/// # Errors
/// As for [`price_call`].
pub fn price_basis<'t>(table: &'t RateTable, basis: &PriceBasis, fees: bool) -> Result<PricedCall<'t>, UnpricedCall> {
    let call = CallPriceInput::from_basis(basis);
    let mut current = price_call(table, &call, fees)?;
    let Some(before) = basis.billed_before else { return Ok(current) };
    let before = price_call(table, &CallPriceInput { split: before, reported: None, ..call }, fees)?;
    let difference = current.parts.minus(before.parts).and_then(|parts| Some((parts, parts.total()?)));
    let bad_usage = || UnpricedCall { reason: UnpricedReason::BadUsage, buckets: current.buckets };
    (current.parts, current.total) = difference.ok_or_else(bad_usage)?;
    Ok(current)
}

/// The tokens of one unit in a call, and what one of them costs.
pub struct UnitPrice {
    pub unit: Unit,
    pub tokens: u64,
    pub price: Usd,
}

/// The tokens of a stored basis by unit, with their prices; those billed before are left out. Without fees.
///
/// # Errors
/// As for [`price_call`].
pub fn list_unit_prices(table: &RateTable, basis: &PriceBasis) -> Result<Vec<UnitPrice>, UnpricedReason> {
    let call = CallPriceInput::from_basis(basis);
    let CallPriceInput { provider, models, time, circumstances, .. } = call;
    let size = if call.is_total { 0 } else { call.split.total_input() };
    let row = table.row(&RateQuery { provider, models: &models, time, circumstances }, size)?;
    let split = split_cache_writes(&row, call.split, call.reported);
    let before = basis.billed_before.map(|split| split_cache_writes(&row, split, None)).unwrap_or_default();
    let units = |(input, output, read, written): UnitCounts| input.into_iter().chain(output).chain(read).chain(written);
    let mut prices = Vec::new();
    let earlier = units(count_units(&row, &before));
    for ((unit, tokens), (_, earlier)) in units(count_units(&row, &split)).zip(earlier) {
        let tokens = tokens.saturating_sub(earlier);
        if tokens > 0 {
            let (price, _) = row.price(unit).ok_or(UnpricedReason::MissingUnit)?;
            prices.push(UnitPrice { unit, tokens, price });
        }
    }
    Ok(prices)
}

/// Disjoint tokens by unit: input, output, read from a cache, written to one. Reasoning is taken out of the output only
/// if the row prices it separately.
type UnitCounts = ([(Unit, u64); 4], [(Unit, u64); 4], [(Unit, u64); 2], [(Unit, u64); 3]);

fn count_units(row: &PriceRow<'_>, split: &TokenSplit) -> UnitCounts {
    let reasoning = if row.has_price(Unit::Reasoning) { split.reasoning.min(split.output) } else { 0 };
    let input = [
        (Unit::Input, split.input),
        (Unit::InputAudio, split.input_audio),
        (Unit::InputImage, split.input_image),
        (Unit::InputVideo, split.input_video),
    ];
    let output = [
        (Unit::Output, split.output.saturating_sub(reasoning)),
        (Unit::Reasoning, reasoning),
        (Unit::OutputAudio, split.output_audio),
        (Unit::OutputImage, split.output_image),
    ];
    let cache_read = [(Unit::CacheRead, split.cache_read), (Unit::CacheReadAudio, split.cache_read_audio)];
    let cache_write = [
        (Unit::CacheWrite, split.cache_write),
        (Unit::CacheWrite5m, split.cache_write_5m),
        (Unit::CacheWrite1h, split.cache_write_1h),
    ];
    (input, output, cache_read, cache_write)
}

/// The fees for uses. A use without a fee in the table flags the price as incomplete.
fn charge_fees(row: &PriceRow<'_>, uses: &[(Fee, u64)], flags: &mut PricingFlags) -> Option<Usd> {
    let mut total = Usd::ZERO;
    for (fee, count) in uses.iter().filter(|(_, count)| *count > 0) {
        match row.fee(*fee) {
            Some(price) => total = total.plus(Usd(price.0.checked_mul(i128::from(*count))?))?,
            None => flags.add(PricingFlags::INCOMPLETE_RATE),
        }
    }
    Some(total)
}

fn price_units(row: &PriceRow<'_>, counts: &[(Unit, u64)], flags: &mut PricingFlags) -> Result<Usd, UnpricedReason> {
    let mut total = Usd::ZERO;
    for (unit, count) in counts.iter().filter(|(_, count)| *count > 0) {
        let (price, listed_unit) = row.price(*unit).ok_or(UnpricedReason::MissingUnit)?;
        // `cache_write` is by definition the 5m price, so this is no fallback.
        if listed_unit != *unit && (*unit, listed_unit) != (Unit::CacheWrite5m, Unit::CacheWrite) {
            flags.add(PricingFlags::UNIT_FALLBACK);
        }
        let amount = price.0.checked_mul(i128::from(*count)).ok_or(UnpricedReason::BadUsage)?;
        total = total.plus(Usd(amount)).ok_or(UnpricedReason::BadUsage)?;
    }
    Ok(total)
}

/// How much more cached tokens would have cost as uncached ones; nothing if the row has no price for those.
fn saved_by_caching(row: &PriceRow<'_>, uncached: &[(Unit, u64)], cost: Usd) -> Usd {
    let uncached = price_units(row, uncached, &mut PricingFlags::default());
    uncached.ok().and_then(|uncached| uncached.minus(cost)).unwrap_or_default()
}

fn price_parts(row: &PriceRow<'_>, split: &TokenSplit, flags: &mut PricingFlags) -> Result<PriceParts, UnpricedReason> {
    let mut price_units = |counts: &[(Unit, u64)]| price_units(row, counts, flags);
    let (input, output, cache_read, cache_write) = count_units(row, split);
    let (cache_read, cache_write) = (price_units(&cache_read)?, price_units(&cache_write)?);
    let uncached_read = [(Unit::Input, split.cache_read), (Unit::InputAudio, split.cache_read_audio)];
    let uncached_write = [(Unit::Input, split.total_cache_writes())];
    Ok(PriceParts {
        input: price_units(&input)?,
        output: price_units(&output)?,
        cache_read,
        cache_write,
        fees: Usd::ZERO,
        saved: [saved_by_caching(row, &uncached_read, cache_read), saved_by_caching(row, &uncached_write, cache_write)],
    })
}

/// Splits cache writes without a lifetime into 5m and 1h with the client's own cost. If that is not possible, they keep
/// the 5m price and are flagged. Without a separate 1h price nothing is changed.
fn split_cache_writes(row: &PriceRow<'_>, mut split: TokenSplit, reported: Option<&str>) -> TokenSplit {
    if split.cache_write == 0 || !row.has_price(Unit::CacheWrite1h) {
        return split;
    }
    match reported.and_then(|text| infer_1h_writes(row, &split, text)) {
        Some(writes_1h) => {
            split.cache_write_1h = split.cache_write_1h.saturating_add(writes_1h);
            split.cache_write_5m = split.cache_write_5m.saturating_add(split.cache_write.saturating_sub(writes_1h));
            split.cache_write = 0;
            split.flags.add(PricingFlags::SPLIT_INFERRED);
        }
        None => split.flags.add(PricingFlags::SPLIT_UNKNOWN),
    }
    split
}

/// The number of 1h writes that explains the client's own cost.
fn infer_1h_writes(row: &PriceRow<'_>, split: &TokenSplit, reported: &str) -> Option<u64> {
    let reported = Usd::parse_truncated(reported)?;
    let all_5m = price_parts(row, split, &mut PricingFlags::default()).ok()?.total()?;
    let (price_5m, price_1h) = (row.price(Unit::CacheWrite)?.0, row.price(Unit::CacheWrite1h)?.0);
    let surcharge = price_1h.0.checked_sub(price_5m.0).filter(|surcharge| *surcharge > 0)?;
    let excess = reported.0.checked_sub(all_5m.0)?;
    let count = excess.checked_add(surcharge / 2)?.div_euclid(surcharge);
    let deviation = excess.checked_sub(count.checked_mul(surcharge)?)?;
    let count = u64::try_from(count).ok().filter(|count| *count <= split.cache_write)?;
    (deviation.abs() <= SPLIT_TOLERANCE).then_some(count)
}

/// Returns true if the client's own cost is not an amount, or differs from the total by more than `tolerance` (1e-18
/// USD).
pub(super) fn exceeds_tolerance(reported: &str, total: Usd, tolerance: i128) -> bool {
    let exceeds = |reported: Usd| reported.0.checked_sub(total.0).is_none_or(|off| off.abs() > tolerance);
    Usd::parse_truncated(reported).is_none_or(exceeds)
}
