//! [`Bill`]: the sums of a vendor's exports by period, model, kind and tier. Rows that two files have in common count
//! once; files that contradict each other, periods that overlap and currencies that mix are errors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::bill_row::{BillRow, Period, read_row};
use super::days::second_of;
use super::export::each_row;
use super::format::{ChargeKind, ExportFormat, ExportRow};
use super::prices::Prices;
use kernel::sha256::Sha256;
use kernel::terminal::format_count;

/// Most sums of a bill.
const MAX_CELLS: usize = 2_000_000;
/// Most decimal places that amounts are taken to have: more are the noise of a double.
const MAX_DECIMALS: u32 = 12;

/// Where an amount belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CellKey {
    pub(crate) period: Period,
    pub(crate) model: Arc<str>,
    pub(crate) kind: ChargeKind,
    /// "" = standard, or unknown.
    pub(crate) tier: Arc<str>,
}

/// What a bill says about one kind of token of one model in one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BillCell {
    /// 1e-18 of the currency.
    pub(crate) atto: i128,
    pub(crate) tokens: u64,
    /// Rows with amounts, each of which the vendor may have rounded.
    pub(crate) rows: u64,
    /// Those of `rows` that have no number of tokens.
    bare_rows: u64,
    /// Tokens that a usage report has.
    usage: u64,
}

impl BillCell {
    pub(crate) fn add(&mut self, other: Self) {
        self.atto = self.atto.saturating_add(other.atto);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.rows = self.rows.saturating_add(other.rows);
        self.bare_rows = self.bare_rows.saturating_add(other.bare_rows);
        self.usage = self.usage.saturating_add(other.usage);
    }

    /// Takes the tokens of the usage report, unless each row with an amount has its own.
    fn choose_token_source(&mut self) {
        if self.bare_rows > 0 || self.rows == 0 {
            self.tokens = self.usage;
        }
    }
}

/// Which rows of the files count.
#[derive(Default)]
pub(crate) struct RowFilter {
    /// Days in the bill's time zone; the last is included.
    pub(crate) days: Option<(Date, Date)>,
    pub(crate) currency: Option<String>,
    /// By the vendor's word for it.
    pub(crate) aliases: BTreeMap<String, String>,
}

/// See the module.
pub(crate) struct Bill {
    pub(crate) provider: String,
    pub(crate) zone: TimeZone,
    pub(crate) zone_name: String,
    pub(crate) currency: String,
    pub(crate) cells: BTreeMap<CellKey, BillCell>,
    /// Whether the bill says how many tokens it is for.
    pub(crate) has_tokens: bool,
    pub(crate) has_tiers: bool,
    /// The smallest step of its amounts, 1e-18.
    pub(crate) step: i128,
    /// The first day, and the day after the last.
    pub(crate) days: (Date, Date),
    /// Which rows were left out, a line for each reason.
    pub(crate) notes: Vec<String>,
}

/// The sums while files are read.
#[derive(Default)]
struct BillBuilder {
    cells: BTreeMap<CellKey, BillCell>,
    /// Numbers of rows with amounts.
    currencies: BTreeMap<String, u64>,
    left_out: BTreeMap<String, u64>,
    has_tiers: bool,
    decimals: u32,
    zone_name: Option<String>,
    /// The format that has amounts: another one would have the same ones again.
    amounts: Option<String>,
}

impl Bill {
    /// Reads the files. `provider` and `zone` take precedence over those of the formats.
    ///
    /// # Errors
    /// The problem, with its file and row.
    pub(crate) fn read(
        files: &[PathBuf],
        formats: &[ExportFormat],
        provider: &str,
        zone: Option<&str>,
        filter: &RowFilter,
    ) -> Result<Self, String> {
        let mut sums = BillBuilder { zone_name: zone.map(str::to_owned), ..BillBuilder::default() };
        // of earlier files: the count of each row, and the periods
        let (mut before, mut earlier): (HashMap<[u8; 16], u32>, BTreeSet<Period>) = Default::default();
        for path in files {
            let mut own: HashMap<[u8; 16], u32> = HashMap::new();
            let (mut repeated, mut added): (BTreeSet<Period>, BTreeSet<Period>) = Default::default();
            let mut time_zone: Option<TimeZone> = None;
            let mut visit = |format: &ExportFormat, fields: &dyn ExportRow| -> Result<(), String> {
                if format.skips(fields, provider) {
                    return sums.leave_out("of other services or vendors");
                }
                let zone = match &mut time_zone {
                    Some(zone) => zone,
                    none => {
                        let name = sums.zone_name.get_or_insert_with(|| format.time_zone.clone());
                        none.insert(find_zone(name)?)
                    }
                };
                let rows = read_row(format, zone, fields)?;
                if rows.is_empty() {
                    return sums.leave_out("without an amount");
                }
                let is_repeated = files.len() > 1 && {
                    let id = Sha256::digest(fields.text()).first_chunk::<16>().copied().unwrap_or_default();
                    let count = own.entry(id).or_default();
                    *count += 1;
                    before.get(&id).is_some_and(|before| before >= count)
                };
                for row in rows {
                    let periods = if is_repeated { &mut repeated } else { &mut added };
                    periods.insert(row.period);
                    if is_repeated {
                        sums.leave_out("that an earlier file has too")?;
                    } else {
                        sums.add(row, filter)?;
                    }
                }
                Ok(())
            };
            let format = each_row(path, formats, &mut visit)?;
            if let Some(period) = added.intersection(&earlier).next().filter(|_| !repeated.is_empty()) {
                return Err(format!(
                    "{}: has rows of an earlier file, but others on {}: give only the newer export of that day",
                    path.display(),
                    period.from
                ));
            }
            earlier.extend(added);
            for (id, count) in own {
                let known = before.entry(id).or_default();
                *known = count.max(*known);
            }
            sums.check_format(format, provider).map_err(|problem| format!("{}: {problem}", path.display()))?;
        }
        sums.into_bill(provider, filter)
    }

    /// Begin and end of the days, Unix seconds.
    pub(crate) fn span(&self) -> Option<(u64, u64)> {
        Some((second_of(self.days.0, 0, &self.zone)?, second_of(self.days.1, 0, &self.zone)?))
    }

    /// Replaces the vendor's names of models by the rate table's ids, where it knows them.
    pub(crate) fn name_models(&mut self, prices: &Prices) {
        let mut ids: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for (mut key, cell) in std::mem::take(&mut self.cells) {
            let id = ids.entry(Arc::clone(&key.model)).or_insert_with(|| {
                let found = prices.find_model(&self.provider, &key.model, key.period.from);
                found.map_or_else(|| Arc::clone(&key.model), Arc::from)
            });
            key.model = Arc::clone(id);
            self.cells.entry(key).or_default().add(cell);
        }
    }
}

impl BillBuilder {
    fn leave_out(&mut self, why: &str) -> Result<(), String> {
        *self.left_out.entry(why.to_owned()).or_default() += 1;
        Ok(())
    }

    fn add(&mut self, row: BillRow, filter: &RowFilter) -> Result<(), String> {
        if filter.days.is_some_and(|(first, last)| row.period.from < first || row.period.from > last) {
            return self.leave_out("of other days");
        }
        let is_money = row.amount.is_some();
        if filter.currency.as_ref().is_some_and(|wanted| *wanted != row.currency && is_money) {
            return self.leave_out(&format!("in {}", row.currency));
        }
        *self.currencies.entry(row.currency).or_default() += u64::from(is_money);
        self.has_tiers |= row.tier.is_some();
        self.decimals = self.decimals.max(row.decimals);
        let model = filter.aliases.get(&row.model).unwrap_or(&row.model).as_str().into();
        let tier = row.tier.unwrap_or_default().into();
        let key = CellKey { period: row.period, model, kind: row.kind, tier };
        let tokens = row.tokens.unwrap_or(0);
        self.cells.entry(key).or_default().add(BillCell {
            atto: row.amount.unwrap_or(0),
            tokens: if is_money { tokens } else { 0 },
            usage: if is_money { 0 } else { tokens },
            rows: u64::from(is_money),
            bare_rows: u64::from(is_money && row.tokens.is_none()),
        });
        if self.cells.len() > MAX_CELLS { Err(format!("more than {MAX_CELLS} different lines")) } else { Ok(()) }
    }

    fn check_format(&mut self, format: &ExportFormat, provider: &str) -> Result<(), String> {
        let name = &format.name;
        if format.provider.as_deref().is_some_and(|own| own != provider) {
            return Err(format!(
                "an export of another provider ({name}): pass the provider whose export it is as --provider"
            ));
        }
        if format.amount.is_none() {
            return Ok(());
        }
        match self.amounts.replace(name.clone()) {
            Some(other) if other != *name => {
                Err(format!("{other} and {name} both have amounts, which would count twice: give one of them"))
            }
            _ => Ok(()),
        }
    }

    fn into_bill(mut self, provider: &str, filter: &RowFilter) -> Result<Bill, String> {
        if self.amounts.is_none() {
            return Err(
                "the files have usage, but no costs: add the vendor's export of costs as another --file".to_owned()
            );
        }
        let zone_name = self.zone_name.take().unwrap_or_else(|| "UTC".to_owned());
        self.cells.values_mut().for_each(BillCell::choose_token_source);
        // an amount of whole cents may be written without decimals
        let step = 10_i128.checked_pow(18 - self.decimals.clamp(2, MAX_DECIMALS)).unwrap_or(1);
        let notes = self.left_out.iter().map(|(why, rows)| format!("left out: {} {why}", format_count(*rows, "row")));
        let token_periods: BTreeSet<Period> =
            self.cells.keys().filter(|key| key.kind.is_tokens()).map(|key| key.period).collect();
        check_periods(&token_periods)?;
        let periods = || self.cells.keys().map(|key| key.period);
        let asked = filter.days.and_then(|(first, last)| Some((first, last.checked_add(1.day()).ok()?)));
        let found = periods().map(|period| period.from).min().zip(periods().map(|period| period.to).max());
        Ok(Bill {
            provider: provider.to_owned(),
            zone: find_zone(&zone_name)?,
            zone_name,
            currency: only_currency(&self.currencies)?,
            has_tokens: self.cells.values().any(|cell| cell.tokens > 0),
            has_tiers: self.has_tiers,
            step,
            days: asked.or(found).ok_or("the files have no rows in these days")?,
            notes: notes.collect(),
            cells: self.cells,
        })
    }
}

/// Periods are equal or have no day in common: else a sum by period has no meaning.
fn check_periods(periods: &BTreeSet<Period>) -> Result<(), String> {
    let overlap = periods.iter().zip(periods.iter().skip(1)).find(|(one, next)| next.from < one.to);
    overlap.map_or(Ok(()), |(one, next)| {
        Err(format!(
            "the periods {} to {} and {} to {} overlap: give exports of equal periods, by day if there are any",
            one.from, one.to, next.from, next.to
        ))
    })
}

fn find_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("`{name}` is not a time zone such as `UTC` or `America/Los_Angeles` (--time-zone)"))
}

fn only_currency(currencies: &BTreeMap<String, u64>) -> Result<String, String> {
    let with_amounts: Vec<&str> =
        currencies.iter().filter(|(_, rows)| **rows > 0).map(|(name, _)| name.as_str()).collect();
    match with_amounts.as_slice() {
        [] => Err("the files have no amounts of these days, or in this currency".to_owned()),
        [one] => Ok((*one).to_owned()),
        several => Err(format!(
            "amounts in {}, which no sum may mix: choose one with --currency, and reconcile each",
            several.join(" and ")
        )),
    }
}
