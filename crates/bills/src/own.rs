//! [`OwnSums`]: the sums of a vault's index by quarter of an hour, so that days can begin at any hour; and
//! [`read_calls`], which reads the lines for all commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::calls::{OwnCall, OwnStatus};
use super::days::day_at;
use super::format::ChargeKind;
use super::prices::Prices;
use audit::read::{IndexLines, StoreAccessArgs, Vault, each_row};
use command::error::CommandError;
use command::output::Progress;
use command::runtime::block_on;

/// Length of a bin, seconds: all time zones differ by whole ones.
const BIN_SECONDS: i64 = 900;
/// By how much a bill's days may be found to be shifted, seconds.
const MARGIN_SECONDS: u64 = 14 * 3_600;
/// The same in bins.
pub(crate) const MAX_SHIFT: i64 = 56;
/// Why a call has no amount in another currency.
pub(crate) const NO_RATE: &str =
    "a call is older than the first exchange rate: add a line for its day or an earlier one to `cost.exchange.file`";
/// Most sums that are kept.
const MAX_SUMS: usize = 5_000_000;
/// Most models without a price that are named.
const MAX_UNPRICED: usize = 1_000;

/// Which lines of a vault's index are read.
#[derive(Args)]
pub(crate) struct IndexArgs {
    /// The vault whose index has the calls: a folder, or `s3://bucket/prefix`. No key is needed.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Only calls of this account of tollgate (not of the vendor's).
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant, as the index shows it.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    access: StoreAccessArgs,
}

/// Visits the charged calls of the index that may be of the day `first`, in whatever time zone, or a later one.
pub(crate) fn read_calls(
    args: &IndexArgs,
    prices: &Prices,
    first: Date,
    visit: &mut (dyn FnMut(OwnCall<'_>) -> Result<(), String> + Send),
) -> Result<(), CommandError> {
    let arrived_from = first.checked_sub(2.days()).map(|day| day.to_string()).unwrap_or_default();
    let location = args.access.location(&args.store, None);
    let (mut progress, mut lines, mut refused) = (Progress::default(), 0_u64, Ok(()));
    let mut on_row = |_: &str, row: vault::index_row::IndexRow| {
        lines += 1;
        progress.show(|| format!("{lines} lines of the index read"));
        if refused.is_ok()
            && args.tenant.as_ref().is_none_or(|tenant| *tenant == row.tail.tenant)
            && let Some(call) = OwnCall::read(&row, prices)
        {
            refused = visit(call);
        }
    };
    let read = block_on(async {
        let vault = Vault::from_location(&location)?;
        let account = args.account.as_deref();
        let is_day = |day: &str| day >= arrived_from.as_str();
        let unreadable = each_row(&vault, account, &is_day, IndexLines::All, &mut on_row).await?.unreadable;
        // a sum that lacks lines would look complete
        if unreadable.is_empty() { Ok(()) } else { Err(CommandError::Failed(unreadable.join("\n"))) }
    });
    read.and(refused.map_err(CommandError::Failed))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnCell {
    pub(crate) tokens: u64,
    /// Tokens of calls without a price.
    pub(crate) unpriced: u64,
    /// 1e-18 of the bill's currency.
    pub(crate) atto: i128,
}

impl OwnCell {
    pub(crate) fn add(&mut self, other: Self) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
        self.atto = self.atto.saturating_add(other.atto);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OwnKey {
    /// Number of the quarter of an hour since 1970, UTC.
    pub(crate) bin: i64,
    pub(crate) model: Arc<str>,
    pub(crate) kind: ChargeKind,
    pub(crate) tier: Arc<str>,
}

/// Our calls of one provider on the days of a bill, and half a day around them.
#[derive(Default)]
pub(crate) struct OwnSums {
    pub(crate) cells: BTreeMap<OwnKey, OwnCell>,
    /// Calls on the bill's days, as all numbers below.
    pub(crate) calls: u64,
    /// Calls without a price, by model.
    pub(crate) unpriced: BTreeMap<Arc<str>, u64>,
    pub(crate) clock_off: u64,
    /// Amounts that plans cover, which no bill has, 1e-18 USD, and the number of calls.
    pub(crate) covered: (i128, u64),
    /// Corrections that name no model, 1e-18 USD, and their number.
    pub(crate) corrections: (i128, u64),
}

impl OwnSums {
    /// Adds a call if it is the provider's. `span`: begin and end of the bill's days, Unix seconds. `convert` turns USD
    /// into the bill's currency.
    ///
    /// # Errors
    /// There is no exchange rate for the call's day, or there are too many sums.
    pub(crate) fn add(
        &mut self,
        call: &OwnCall<'_>,
        (provider, span): (&str, (u64, u64)),
        convert: &(dyn Fn(i128, u64) -> Option<i128> + Sync),
    ) -> Result<(), String> {
        let second = call.at / 1_000_000_000;
        let is_near = second.saturating_add(MARGIN_SECONDS) >= span.0 && second < span.1.saturating_add(MARGIN_SECONDS);
        let is_loose = !call.has_basis && call.status == OwnStatus::Correction;
        if !is_near || !(call.provider == provider || (is_loose && call.provider.is_empty())) {
            return Ok(());
        }
        let counts = u64::from((span.0..span.1).contains(&second));
        if is_loose {
            self.corrections.0 = self.corrections.0.saturating_add(call.atto().saturating_mul(counts.into()));
            self.corrections.1 += counts;
            return Ok(());
        }
        let model: Arc<str> = call.model.as_str().into();
        let is_unpriced = call.status == OwnStatus::Unpriced;
        let covered = call.parts.iter().fold(0_i128, |sum, part| sum.saturating_add(part.covered));
        self.covered.0 = self.covered.0.saturating_add(covered.saturating_mul(counts.into()));
        self.covered.1 += if covered != 0 { counts } else { 0 };
        self.calls += if call.status == OwnStatus::Correction { 0 } else { counts };
        self.clock_off += if call.is_clock_off { counts } else { 0 };
        if is_unpriced && self.unpriced.len() < MAX_UNPRICED {
            *self.unpriced.entry(Arc::clone(&model)).or_default() += counts;
        }
        let bin = i64::try_from(second).unwrap_or(0).div_euclid(BIN_SECONDS);
        for part in call.parts.iter().filter(|part| part.covered == 0 || part.covered != part.atto) {
            let key = OwnKey { bin, model: Arc::clone(&model), kind: part.kind, tier: call.tier.as_str().into() };
            if self.cells.len() >= MAX_SUMS && !self.cells.contains_key(&key) {
                return Err(format!("more than {MAX_SUMS} sums: give --account or --tenant, or fewer --days"));
            }
            let atto = convert(part.atto.saturating_sub(part.covered), call.at).ok_or(NO_RATE)?;
            let (tokens, unpriced) = if is_unpriced { (0, part.tokens) } else { (part.tokens, 0) };
            self.cells.entry(key).or_default().add(OwnCell { tokens, unpriced, atto });
        }
        Ok(())
    }
}

/// The day of a bin, if days begin `shift` bins before those of the zone.
pub(crate) fn day_of(bin: i64, zone: &TimeZone, shift: i64) -> Option<Date> {
    day_at(bin.checked_add(shift)?.checked_mul(BIN_SECONDS)?, zone)
}
