//! [`OwnSums`]: the sums of a vault's index by quarter of an hour, so that days can begin at any hour; and
//! [`read_calls`], which reads the lines for all commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::calls::{OwnCall, OwnStatus};
use super::form::Kind;
use super::prices::Prices;
use audit::read::{IndexLines, StoreAccessArgs, Vault, each_row};
use command::error::CommandError;
use command::output::Progress;
use command::runtime::block_on;

/// Length of a bin, seconds: all time zones differ by whole ones.
const BIN_SECONDS: i64 = 900;
/// Most sums that are kept.
const MAX_SUMS: usize = 5_000_000;

/// Which lines of a vault's index are read.
#[derive(Args)]
pub(crate) struct IndexArgs {
    /// The vault whose index has the calls: a folder, or `s3://bucket/prefix`. No key is needed.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: String,
    /// Only this account of the vault.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant, as the index shows it.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    access: StoreAccessArgs,
}

/// Visits the charged calls of the index that arrived on `first_day` (UTC, `2026-11-01`) or later.
pub(crate) fn read_calls(
    args: &IndexArgs,
    prices: &Prices,
    first_day: &str,
    visit: &mut (dyn FnMut(OwnCall<'_>) + Send),
) -> Result<(), CommandError> {
    let location = args.access.location(&args.store, None);
    let (mut progress, mut lines) = (Progress::default(), 0_u64);
    let mut on_row = |_: &str, row: vault::index_row::IndexRow| {
        lines += 1;
        progress.show(|| format!("{lines} lines of the index read"));
        if args.tenant.as_ref().is_none_or(|tenant| *tenant == row.tail.tenant)
            && let Some(call) = OwnCall::read(&row, prices)
        {
            visit(call);
        }
    };
    block_on(async {
        let vault = Vault::from_location(&location)?;
        let account = args.account.as_deref();
        let is_day = |day: &str| day >= first_day;
        let unreadable = each_row(&vault, account, &is_day, IndexLines::All, &mut on_row).await?.unreadable;
        // a sum that lacks lines would look complete
        if unreadable.is_empty() { Ok(()) } else { Err(CommandError::Failed(unreadable.join("\n"))) }
    })
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
    pub(crate) kind: Kind,
    pub(crate) tier: Arc<str>,
}

/// Our calls of one provider.
#[derive(Default)]
pub(crate) struct OwnSums {
    pub(crate) cells: BTreeMap<OwnKey, OwnCell>,
    pub(crate) calls: u64,
    /// Calls without a price, by model.
    pub(crate) unpriced: BTreeMap<Arc<str>, u64>,
    pub(crate) clock_off: u64,
    /// Corrections that name no model, 1e-18 USD, and their number.
    pub(crate) loose_corrections: (i128, u64),
    pub(crate) is_incomplete: bool,
}

impl OwnSums {
    /// Adds a call if it is the provider's. `convert` turns USD into the bill's currency.
    pub(crate) fn add(
        &mut self,
        call: &OwnCall<'_>,
        provider: &str,
        convert: &(dyn Fn(i128, u64) -> Option<i128> + Sync),
    ) {
        if call.status == OwnStatus::Correction && call.provider.is_empty() {
            self.loose_corrections.0 = self.loose_corrections.0.saturating_add(call.atto());
            self.loose_corrections.1 += 1;
            return;
        }
        if call.provider != provider {
            return;
        }
        let model: Arc<str> = call.model.as_str().into();
        let is_unpriced = call.status == OwnStatus::Unpriced;
        self.calls += u64::from(call.status != OwnStatus::Correction);
        self.clock_off += u64::from(call.is_clock_off);
        if is_unpriced && self.unpriced.len() < 1_000 {
            *self.unpriced.entry(Arc::clone(&model)).or_default() += 1;
        }
        let bin = i64::try_from(call.at / 1_000_000_000).unwrap_or(0).div_euclid(BIN_SECONDS);
        for part in &call.parts {
            let tier = call.tier.as_str().into();
            let key = OwnKey { bin, model: Arc::clone(&model), kind: part.kind, tier };
            if self.cells.len() >= MAX_SUMS && !self.cells.contains_key(&key) {
                self.is_incomplete = true;
                continue;
            }
            let Some(atto) = convert(part.atto, call.at) else {
                self.is_incomplete = true;
                continue;
            };
            let (tokens, unpriced) = if is_unpriced { (0, part.tokens) } else { (part.tokens, 0) };
            self.cells.entry(key).or_default().add(OwnCell { tokens, unpriced, atto });
        }
    }
}

/// The day of a time (Unix ns), UTC.
pub(crate) fn day_of_time(at: u64) -> Option<Date> {
    let time = Timestamp::from_second(i64::try_from(at / 1_000_000_000).ok()?).ok()?;
    Some(time.to_zoned_datetime(TimeZone::UTC).date())
}

/// The day of a bin, if days begin `shift` hours before those of the zone.
pub(crate) fn day_of(bin: i64, zone: &TimeZone, shift: i8) -> Option<Date> {
    let seconds = bin.checked_mul(BIN_SECONDS)?.checked_add(i64::from(shift) * 3_600)?;
    Some(Timestamp::from_second(seconds).ok()?.to_zoned_datetime(zone.clone()).date())
}
