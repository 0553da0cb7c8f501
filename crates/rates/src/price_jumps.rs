//! Finds calls whose cost would jump under a new table ([`PriceComparison`]). A price results from a list, a window, a
//! tier, multipliers and parent units, and a jump may hide in any of them. Both tables are queried for one token of
//! every unit, at every time, circumstance and prompt size at which either table's prices change; nothing is inferred
//! from texts. The number of look-ups is limited, and a table that would need more is refused. `id_moves` compares
//! which model an id means.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::decimal::Usd;
use super::finding::MAX_PRICE_FACTOR;
use super::row::{PriceRow, TableModel, TestCircumstances, parse_time_window};
use super::table::{Adjustment, Rate, Tier};
use super::unit::{Fee, Unit, Variable};

/// Look-ups in one comparison: enough for 5,000 changed models with 4 windows of 200 circumstances and tiers.
const MAX_LOOKUPS: usize = 4_000_000;
/// Prices are shown per this many tokens.
const SHOWN_TOKENS: i128 = 1_000_000;
/// Fees are shown per this many uses.
const SHOWN_USES: i128 = 1_000;

/// Compares models within a budget of look-ups.
pub(super) struct PriceComparison {
    lookups_left: usize,
}

impl Default for PriceComparison {
    fn default() -> Self {
        Self { lookups_left: MAX_LOOKUPS }
    }
}

impl PriceComparison {
    /// Describes the first price of `old` whose change in `new` is implausible; `None` if there is none.
    pub(super) fn compare_models(&mut self, old: TableModel<'_>, new: TableModel<'_>) -> Option<String> {
        if old.model.rates == new.model.rates && old.table.parents == new.table.parents {
            return None;
        }
        boundaries(old, new).into_iter().find_map(|time| {
            let before = rate_at(old, time)?;
            let Some(now) = rate_at(new, time) else {
                return Some(format!("no longer has a price {}", describe_start(time)));
            };
            self.compare_rates((old, before), (new, now), time)
        })
    }

    fn compare_rates<'t>(
        &mut self,
        old: (TableModel<'t>, &'t Rate),
        new: (TableModel<'t>, &'t Rate),
        time: u64,
    ) -> Option<String> {
        let (circumstances, prompts) = (list_circumstances(old.1, new.1), prompt_sizes(old.1, new.1));
        let Some(left) = self.lookups_left.checked_sub(circumstances.len().saturating_mul(prompts.len())) else {
            return Some("too many windows, circumstances and tiers to compare".to_owned());
        };
        self.lookups_left = left;
        circumstances.iter().find_map(|tested| {
            prompts.iter().find_map(|prompt| {
                let before = old.0.price_row(old.1, time, tested, *prompt)?;
                let now = new.0.price_row(new.1, time, tested, *prompt);
                let what = find_jump(&before, now.as_ref())?;
                let prompt = if *prompt == 0 { String::new() } else { format!(" from {prompt} tokens") };
                Some(format!("{}{}{prompt}: {what}", describe_start(time), describe_circumstances(tested)))
            })
        })
    }
}

/// All times at which a price of either model may change; 1 stands for windows without a start.
fn boundaries(old: TableModel<'_>, new: TableModel<'_>) -> Vec<u64> {
    let mut out: Vec<u64> = Vec::new();
    for rate in old.model.rates.iter().chain(new.model.rates.iter()) {
        out.extend([rate.from.max(1), rate.to]);
        out.extend(rate.adjust.iter().map(|adjust| adjust.from).filter(|from| (rate.from..rate.to).contains(from)));
    }
    out.retain(|time| (1..u64::MAX).contains(time));
    out.sort_unstable();
    out.dedup();
    out
}

fn rate_at(place: TableModel<'_>, time: u64) -> Option<&Rate> {
    let ended = place.model.rates.partition_point(|rate| rate.to <= time);
    place.model.rates.get(ended).filter(|rate| rate.from <= time)
}

/// The circumstances to test: none, those of each adjustment with each of its values, and all of them together.
fn list_circumstances<'t>(old: &'t Rate, new: &'t Rate) -> Vec<TestCircumstances<'t>> {
    let (mut out, mut combined) = (vec![TestCircumstances::default()], TestCircumstances::default());
    let is_testable = |adjust: &&Adjustment| adjust.when.iter().all(|(variable, _)| *variable != Variable::Route);
    for adjust in old.adjust.iter().chain(&new.adjust).filter(is_testable) {
        let mut first = TestCircumstances::default();
        for (variable, values) in &adjust.when {
            match values.first() {
                Some(value) if *variable == Variable::UtcTime => {
                    first.minute = parse_time_window(value).map(|(from, _)| from)
                }
                Some(value) => first.values.push((*variable, value)),
                None => {}
            }
        }
        for (variable, values) in &adjust.when {
            for value in values {
                out.extend(vary_circumstances(&first, *variable, value));
            }
        }
        combined.minute = combined.minute.or(first.minute);
        for (variable, value) in &first.values {
            if combined.values.iter().all(|(known, _)| known != variable) {
                combined.values.push((*variable, value));
            }
        }
        out.push(first);
    }
    out.push(combined);
    out.sort_unstable();
    out.dedup();
    out
}

/// The same circumstances with another value; for a time of day, one for its start and one for its end.
fn vary_circumstances<'t>(
    circumstances: &TestCircumstances<'t>,
    variable: Variable,
    value: &'t str,
) -> Vec<TestCircumstances<'t>> {
    if variable == Variable::UtcTime {
        let minutes = parse_time_window(value).map_or(Vec::new(), |(from, to)| vec![from, to]);
        return minutes
            .into_iter()
            .map(|minute| TestCircumstances { minute: Some(minute), ..circumstances.clone() })
            .collect();
    }
    let mut circumstances = circumstances.clone();
    for (known, word) in &mut circumstances.values {
        if *known == variable {
            *word = value;
        }
    }
    vec![circumstances]
}

/// The prompt sizes at which prices change.
fn prompt_sizes(old: &Rate, new: &Rate) -> Vec<u64> {
    let starts = |rate: &Rate| -> Vec<u64> {
        let tier_starts = |tiers: &[Tier]| tiers.iter().map(|tier| tier.at_least).collect::<Vec<_>>();
        rate.adjust.iter().flat_map(|adjust| tier_starts(&adjust.tiers)).chain(tier_starts(&rate.tiers)).collect()
    };
    let mut out = vec![0];
    out.extend(starts(old));
    out.extend(starts(new));
    out.sort_unstable();
    out.dedup();
    out
}

/// Describes the first unit or fee whose change is implausible.
fn find_jump(old: &PriceRow<'_>, new: Option<&PriceRow<'_>>) -> Option<String> {
    let unit = |unit: &Unit| {
        let price = |row: &PriceRow<'_>| row.price(*unit).map(|(price, _)| price);
        describe_jump(unit.as_str(), price(old)?, new.and_then(price), SHOWN_TOKENS)
    };
    let fee = |fee: &Fee| describe_jump(fee.as_str(), old.fee(*fee)?, new.and_then(|new| new.fee(*fee)), SHOWN_USES);
    Unit::ALL.iter().find_map(unit).or_else(|| Fee::ALL.iter().find_map(fee))
}

fn describe_jump(what: &str, old: Usd, new: Option<Usd>, shown_amount: i128) -> Option<String> {
    let show = |price: Usd| Usd(price.0.saturating_mul(shown_amount)).to_string();
    let Some(new) = new else { return Some(format!("{what} costs {} and has no price in the new table", show(old))) };
    let jumps = |one: Usd, other: Usd| one.0 > other.0.saturating_mul(MAX_PRICE_FACTOR);
    let why = match () {
        () if old == new => return None,
        () if new == Usd::ZERO => "a price must not drop to zero",
        () if jumps(new, old) || jumps(old, new) => "changed by more than a factor of three",
        () => return None,
    };
    Some(format!("{what} would cost {} instead of {}: {why}", show(new), show(old)))
}

fn describe_start(time: u64) -> String {
    let nanos = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time));
    match nanos.ok().filter(|_| time > 1).and_then(|time| time.format(&Rfc3339).ok()) {
        Some(text) => format!("from {text}"),
        None => "from the beginning".to_owned(),
    }
}

fn describe_circumstances(circumstances: &TestCircumstances<'_>) -> String {
    let mut out: Vec<String> =
        circumstances.values.iter().map(|(variable, value)| format!("{}={value}", variable.as_str())).collect();
    out.extend(circumstances.minute.map(|minute| format!("{:02}:{:02} UTC", minute / 60, minute % 60)));
    if out.is_empty() { String::new() } else { format!(" with {}", out.join("+")) }
}
