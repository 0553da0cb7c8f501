//! [`Bill`]: the sums of a vendor's exports by period, model, kind and tier. Rows that two files have in common count
//! once; rows that contradict each other, periods that overlap and currencies that mix are errors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::bill_row::{BillRow, Period, read_row};
use super::export::each_row;
use super::form::{Fields, Form, Kind};
use super::prices::Prices;
use kernel::sha256::Sha256;
use kernel::terminal::format_count;
use rates::{CallCircumstances, RateQuery};

/// Most different lines of a bill. A line takes about 200 bytes.
const MAX_LINES: usize = 5_000_000;

/// Where an amount belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CellKey {
    pub(crate) period: Period,
    pub(crate) model: Arc<str>,
    pub(crate) kind: Kind,
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
}

/// Which rows of the files count.
#[derive(Default)]
pub(crate) struct RowFilter {
    /// Days in the bill's time zone; the last is included.
    pub(crate) days: Option<(Date, Date)>,
    pub(crate) currency: Option<String>,
    /// By the vendor's word for it, in lower case.
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
    /// What was left out, a line each.
    pub(crate) notes: Vec<String>,
}

impl BillCell {
    pub(crate) fn add(&mut self, other: Self) {
        self.atto = self.atto.saturating_add(other.atto);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.rows = self.rows.saturating_add(other.rows);
    }
}

/// Rows with the same words, by a hash of these.
type Lines = HashMap<[u8; 16], (CellKey, BillCell)>;

#[derive(Default)]
struct Counts {
    other_services: u64,
    other_days: u64,
    other_currencies: BTreeMap<String, u64>,
    repeated: u64,
}

impl Bill {
    /// Reads the files. `provider` and `zone` take precedence over those of the forms.
    ///
    /// # Errors
    /// What is wrong, with file and row.
    pub(crate) fn read(
        files: &[PathBuf],
        forms: &[Form],
        provider: &str,
        zone: Option<&str>,
        filter: &RowFilter,
    ) -> Result<Self, String> {
        // the number of the first file that has a line is beside it
        let (mut lines, mut first_files) = (Lines::new(), HashMap::new());
        let (mut counts, mut currencies, mut has_tiers, mut decimals) = (Counts::default(), BTreeMap::new(), false, 0);
        let (mut zone_name, mut has_amounts) = (zone.map(str::to_owned), false);
        for (number, path) in files.iter().enumerate() {
            // of this file alone, to be compared with those before
            let mut own = Lines::new();
            let mut time_zone: Option<TimeZone> = None;
            let mut visit = |form: &Form, fields: &dyn Fields| -> Result<(), String> {
                if form.skips(fields) {
                    counts.other_services += 1;
                    return Ok(());
                }
                let zone = match &mut time_zone {
                    Some(zone) => zone,
                    none => {
                        let name = zone_name.get_or_insert_with(|| form.time_zone.clone());
                        none.insert(find_zone(name)?)
                    }
                };
                for row in read_row(form, zone, fields)? {
                    if !filter.selects(&row, &mut counts) {
                        continue;
                    }
                    *currencies.entry(row.currency.clone()).or_insert(0_u64) += u64::from(row.amount.is_some());
                    has_tiers |= row.tier.is_some();
                    decimals = decimals.max(row.decimals);
                    add(&mut own, form, row, filter)?;
                }
                Ok(())
            };
            let form = each_row(path, forms, &mut visit)?;
            has_amounts |= form.has_amounts();
            let of_provider = form.provider.as_deref().is_none_or(|own| own == provider);
            if !of_provider {
                let name = path.display();
                return Err(format!("{name}: a form of another provider ({}): give --provider for it", form.name));
            }
            for (id, (key, cell)) in own {
                match lines.get(&id) {
                    Some((_, known)) if *known == cell => counts.repeated += 1,
                    Some((key, _)) => {
                        let first = first_files.get(&id).copied().unwrap_or(0);
                        return Err(contradiction(files, (first, number), key));
                    }
                    None => {
                        lines.insert(id, (key, cell));
                        first_files.insert(id, number);
                    }
                }
            }
        }
        if !has_amounts {
            return Err("the files have uses, but no amounts: add the export of costs".to_owned());
        }
        let zone_name = zone_name.unwrap_or_else(|| "UTC".to_owned());
        // an amount of whole cents may be written without decimals
        let step = 10_i128.checked_pow(18_u32.saturating_sub(decimals.clamp(2, 18))).unwrap_or(1);
        let mut bill = Self {
            provider: provider.to_owned(),
            zone: find_zone(&zone_name)?,
            zone_name,
            currency: only_currency(&currencies)?,
            cells: BTreeMap::new(),
            has_tokens: false,
            has_tiers,
            step,
            notes: counts.notes(),
        };
        bill.add_lines(lines.into_values());
        bill.check_periods()?;
        Ok(bill)
    }

    /// Adds up lines. Tokens of a report of uses count where the lines with amounts have none.
    fn add_lines(&mut self, lines: impl Iterator<Item = (CellKey, BillCell)>) {
        let mut uses: BTreeMap<CellKey, u64> = BTreeMap::new();
        for (key, cell) in lines {
            if cell.rows == 0 {
                let sum = uses.entry(key).or_default();
                *sum = sum.saturating_add(cell.tokens);
                continue;
            }
            self.cells.entry(key).or_default().add(cell);
        }
        for (key, tokens) in uses {
            let sum = self.cells.entry(key).or_default();
            sum.tokens = if sum.tokens == 0 { tokens } else { sum.tokens };
        }
        self.has_tokens = self.cells.values().any(|cell| cell.tokens > 0);
    }

    /// Periods are equal or have no day in common: else a sum by period has no meaning.
    fn check_periods(&self) -> Result<(), String> {
        let periods: BTreeSet<Period> = self.cells.keys().map(|key| key.period).collect();
        let overlaps = periods.iter().zip(periods.iter().skip(1)).find(|(one, next)| next.from < one.to);
        match overlaps {
            Some((one, next)) => Err(format!(
                "the periods {} to {} and {} to {} overlap: give exports of equal periods, by day if there are any",
                one.from, one.to, next.from, next.to
            )),
            None => Ok(()),
        }
    }

    /// The first day, and the day after the last.
    pub(crate) fn days(&self) -> Option<(Date, Date)> {
        let periods = || self.cells.keys().map(|key| key.period);
        Some((periods().map(|period| period.from).min()?, periods().map(|period| period.to).max()?))
    }
}

impl RowFilter {
    fn selects(&self, row: &BillRow, counts: &mut Counts) -> bool {
        if self.days.is_some_and(|(first, last)| row.period.from < first || row.period.from > last) {
            counts.other_days += 1;
            return false;
        }
        match &self.currency {
            Some(wanted) if *wanted != row.currency && row.amount.is_some() => {
                *counts.other_currencies.entry(row.currency.clone()).or_default() += 1;
                false
            }
            _ => true,
        }
    }
}

impl Counts {
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                notes.push(format!("left out: {} {what}", format_count(count, "row")));
            }
        };
        note(self.other_services, "of other services");
        note(self.other_days, "of other days");
        note(self.repeated, "that an earlier file has too");
        for (currency, count) in &self.other_currencies {
            note(*count, &format!("in {currency}"));
        }
        notes
    }
}

fn add(lines: &mut Lines, form: &Form, row: BillRow, filter: &RowFilter) -> Result<(), String> {
    let model = filter.aliases.get(&row.model).unwrap_or(&row.model);
    let tier = row.tier.unwrap_or_default();
    let mut hasher = Sha256::new();
    let period = format!("{}{}", row.period.from, row.period.to);
    hasher.update_list([&*form.name, &*period, &*row.model, row.kind.as_str(), &*tier, &*row.currency, &*row.identity]);
    let id = hasher.finalize().first_chunk::<16>().copied().unwrap_or_default();
    let key = CellKey { period: row.period, model: model.as_str().into(), kind: row.kind, tier: tier.into() };
    let (atto, tokens, rows) = (row.amount.unwrap_or(0), row.tokens.unwrap_or(0), u64::from(row.amount.is_some()));
    lines.entry(id).or_insert_with(|| (key, BillCell::default())).1.add(BillCell { atto, tokens, rows });
    if lines.len() > MAX_LINES { Err(format!("more than {MAX_LINES} different lines")) } else { Ok(()) }
}

fn find_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone such as `UTC` or `America/Los_Angeles`"))
}

fn only_currency(currencies: &BTreeMap<String, u64>) -> Result<String, String> {
    let with_amounts: Vec<&str> =
        currencies.iter().filter(|(_, rows)| **rows > 0).map(|(name, _)| name.as_str()).collect();
    match with_amounts.as_slice() {
        [] => Err("the files have no amounts in these days".to_owned()),
        [one] => Ok((*one).to_owned()),
        several => Err(format!(
            "amounts in {}, which no sum may mix: choose one with --currency, and reconcile each",
            several.join(" and ")
        )),
    }
}

fn contradiction(files: &[PathBuf], (first, second): (usize, usize), key: &CellKey) -> String {
    let name = |file: usize| files.get(file).map(|path| path.display().to_string()).unwrap_or_default();
    format!(
        "{} and {} have different amounts for the same line of {} ({}): give only the newer export of that day",
        name(first),
        name(second),
        key.period.from,
        key.kind.as_str()
    )
}

impl Bill {
    /// Replaces the vendor's names of models by the rate table's ids, where it knows them.
    pub(crate) fn name_models(&mut self, prices: &Prices) {
        let mut ids: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for (mut key, cell) in std::mem::take(&mut self.cells) {
            let id = ids.entry(Arc::clone(&key.model)).or_insert_with(|| {
                let noon = key.period.from.at(12, 0, 0, 0).to_zoned_datetime(TimeZone::UTC).ok();
                let time = noon.and_then(|noon| u64::try_from(noon.timestamp().as_nanosecond()).ok()).unwrap_or(0);
                let models = [&*key.model];
                let circumstances = CallCircumstances::default();
                let query = RateQuery { provider: Some(&self.provider), models: &models, time, circumstances };
                let found = prices.tables.common().row(&query, 0).ok().map(|row| row.model().to_lowercase());
                found.map_or_else(|| Arc::clone(&key.model), Arc::from)
            });
            key.model = Arc::clone(id);
            self.cells.entry(key).or_default().add(cell);
        }
    }
}
