//! **What**: the price of one call: its tokens made disjoint, times the prices of its row. **Invariants**: exact, no partial
//! amounts; a split of cache writes is taken from the client's own cost only when it fits to 1e-9 USD.

use crate::genai::usage::{Flags, Split, split};
use crate::genai::{Buckets, ItemFacts};
use crate::rates::{Circumstances, Query, Row, Table, Unit, Unpriced, Usd};

/// How far the client's own cost may be off a split that explains it: 1e-9 USD.
const TOLERANCE: i128 = 1_000_000_000;

/// A call with its price.
pub(super) struct Priced {
    pub(super) total: Usd,
    pub(super) parts: Parts,
    pub(super) rate: String,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) flags: Flags,
    pub(super) buckets: Buckets,
}

/// A call without.
pub(super) struct NotPriced {
    pub(super) reason: Unpriced,
    pub(super) buckets: Buckets,
}

/// What the total is made of.
#[derive(Clone, Copy, Default)]
pub(super) struct Parts {
    pub(super) input: Usd,
    pub(super) output: Usd,
    pub(super) cache_read: Usd,
    pub(super) cache_write: Usd,
}

/// Prices a call that began at `time` (Unix ns).
pub(super) fn price(table: &Table, item: &ItemFacts, time: u64) -> Result<Priced, NotPriced> {
    let sent = [item.response_model.as_deref(), item.request_model.as_deref()];
    let models: Vec<&str> = sent.into_iter().flatten().collect();
    let nothing = |reason| NotPriced { reason, buckets: Buckets::default() };
    let vendor = item.provider.as_deref().or_else(|| table.seller(None, &models).map(vendor_name));
    let split = split(item, vendor).map_err(|_| nothing(Unpriced::BadUsage))?;
    let fail = |reason| NotPriced { reason, buckets: split.buckets() };
    let circumstances = item.context.as_deref().map_or_else(Circumstances::default, |context| Circumstances {
        service_tier: context.service_tier.as_deref(),
        speed: context.speed.as_deref(),
        inference_geo: context.inference_geo.as_deref(),
        server_address: context.server_address.as_deref(),
    });
    let query = Query { provider: item.provider.as_deref(), models: &models, time, circumstances };
    let row = table.row(&query, split.total_input()).map_err(fail)?;
    let split = settle_writes(&row, split, item.reported_cost.as_deref());
    let mut flags = split.flags;
    let parts = parts(&row, &split, &mut flags).map_err(fail)?;
    let total = parts.total().ok_or_else(|| fail(Unpriced::BadUsage))?;
    let found = row.flags();
    for (set, flag) in [
        (found.date_dropped, Flags::DATE_DROPPED),
        (found.context_unmatched, Flags::CONTEXT_UNMATCHED),
        (found.incomplete, Flags::INCOMPLETE_RATE),
    ] {
        if set {
            flags.add(flag);
        }
    }
    let (provider, model) = (row.provider().to_owned(), row.model().to_owned());
    Ok(Priced { total, parts, rate: row.name(), provider, model, flags, buckets: split.buckets() })
}

/// The table's key of a provider in today's words, as far as inclusion asks.
fn vendor_name(key: &str) -> &str {
    if key == "aws" { "aws.bedrock" } else { key }
}

impl Parts {
    fn total(self) -> Option<Usd> {
        self.input.plus(self.output)?.plus(self.cache_read)?.plus(self.cache_write)
    }
}

fn parts(row: &Row<'_>, split: &Split, flags: &mut Flags) -> Result<Parts, Unpriced> {
    let mut sum = |counts: &[(Unit, u64)]| -> Result<Usd, Unpriced> {
        let mut total = Usd::ZERO;
        for (unit, count) in counts.iter().filter(|(_, count)| *count > 0) {
            let (price, named) = row.price(*unit).ok_or(Unpriced::MissingUnit)?;
            // `cache_write` is the 5m price by definition
            if named != *unit && (*unit, named) != (Unit::CacheWrite5m, Unit::CacheWrite) {
                flags.add(Flags::UNIT_FALLBACK);
            }
            let amount = price.0.checked_mul(i128::from(*count)).ok_or(Unpriced::BadUsage)?;
            total = total.plus(Usd(amount)).ok_or(Unpriced::BadUsage)?;
        }
        Ok(total)
    };
    // only where reasoning is sold apart does it leave the output bucket
    let apart = if row.has(Unit::Reasoning) { split.reasoning.min(split.output) } else { 0 };
    Ok(Parts {
        input: sum(&[(Unit::Input, split.input), (Unit::InputAudio, split.input_audio)])?,
        output: sum(&[
            (Unit::Output, split.output.saturating_sub(apart)),
            (Unit::Reasoning, apart),
            (Unit::OutputAudio, split.output_audio),
        ])?,
        cache_read: sum(&[(Unit::CacheRead, split.cache_read), (Unit::CacheReadAudio, split.cache_read_audio)])?,
        cache_write: sum(&[
            (Unit::CacheWrite, split.cache_write),
            (Unit::CacheWrite5m, split.cache_write_5m),
            (Unit::CacheWrite1h, split.cache_write_1h),
        ])?,
    })
}

/// Cache writes without a split: found from the client's own cost, else taken as 5m and told. Where the table sells both
/// alike there is nothing to find.
fn settle_writes(row: &Row<'_>, mut split: Split, reported: Option<&str>) -> Split {
    if split.cache_write == 0 || !row.has(Unit::CacheWrite1h) {
        return split;
    }
    match reported.and_then(|text| infer(row, &split, text)) {
        Some(long) => {
            split.cache_write_1h = split.cache_write_1h.saturating_add(long);
            split.cache_write_5m = split.cache_write_5m.saturating_add(split.cache_write.saturating_sub(long));
            split.cache_write = 0;
            split.flags.add(Flags::SPLIT_INFERRED);
        }
        None => split.flags.add(Flags::SPLIT_UNKNOWN),
    }
    split
}

/// The number of 1h writes that explains the client's own cost.
fn infer(row: &Row<'_>, split: &Split, reported: &str) -> Option<u64> {
    let reported = Usd::parse_cut(reported)?;
    let all_short = parts(row, split, &mut Flags::default()).ok()?.total()?;
    let (short, long) = (row.price(Unit::CacheWrite)?.0, row.price(Unit::CacheWrite1h)?.0);
    let step = long.0.checked_sub(short.0).filter(|step| *step > 0)?;
    let rest = reported.0.checked_sub(all_short.0)?;
    let count = rest.checked_add(step / 2)?.div_euclid(step);
    let off = rest.checked_sub(count.checked_mul(step)?)?;
    let count = u64::try_from(count).ok().filter(|count| *count <= split.cache_write)?;
    (off.abs() <= TOLERANCE).then_some(count)
}

/// Whether the client's own cost is another amount.
pub(super) fn differs(reported: &str, total: Usd) -> bool {
    Usd::parse_cut(reported).is_none_or(|reported| (reported.0 - total.0).abs() > TOLERANCE)
}
