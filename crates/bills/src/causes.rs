//! [`reconcile`]: compares a bill with our sums and says why they differ. Each cause is an amount, and the causes of a
//! line add up to its difference to the last digit; what no cause explains is a cause of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::amounts::{share, simplest_ratio, times_ratio};
use super::bill::{Bill, BillCell};
use super::bill_row::Period;
use super::form::Kind;
use super::own::{OwnCell, OwnSums, day_of};
use super::prices::Prices;
use rates::{CallCircumstances, RateQuery, Unit};

/// A ratio of 1, in 1e-9.
pub(crate) const WHOLE: u64 = 1_000_000_000;
/// Hours by which a bill's days may be found to be shifted.
const MAX_SHIFT: i8 = 14;
/// Lines that must share a ratio of prices, before it counts as a discount.
const MIN_SUPPORT: usize = 2;
/// The same if the bill has no tokens, so that amounts alone are compared.
const MIN_INFERRED_SUPPORT: usize = 3;
/// Most ratios that are tried.
const MAX_TRIALS: usize = 200;

kernel::word_enum! {
    /// Why a bill differs from our sums.
    pub(crate) Cause {
        /// The bill has tokens of calls that no telemetry reports.
        Unseen = "calls that tollgate did not see",
        /// Telemetry reports tokens that the bill does not have.
        NotBilled = "calls that are not on the bill",
        Unpriced = "calls without a price",
        Tier = "another tier",
        Discount = "discount, or a price other than the table's",
        Credit = "credits",
        Fee = "fees per use",
        Tax = "taxes",
        NotTokens = "lines that are no tokens",
        TimeZone = "days in another time zone",
        Rounding = "rounding",
        Unexplained = "unexplained",
    }
}

/// A model on the days of one period.
pub(crate) struct Line {
    pub(crate) period: Period,
    /// "" = lines without a model.
    pub(crate) model: Arc<str>,
    /// 1e-18 of the bill's currency.
    pub(crate) bill: i128,
    pub(crate) own: i128,
    pub(crate) causes: BTreeMap<Cause, i128>,
    pub(crate) bill_tokens: u64,
    pub(crate) unseen_tokens: u64,
}

impl Line {
    fn new(period: Period, model: Arc<str>) -> Self {
        let (bill, own, bill_tokens, unseen_tokens) = (0, 0, 0, 0);
        Self { period, model, bill, own, causes: BTreeMap::new(), bill_tokens, unseen_tokens }
    }

    pub(crate) fn difference(&self) -> i128 {
        self.bill.saturating_sub(self.own)
    }

    fn add(&mut self, cause: Cause, atto: i128) {
        if atto != 0 {
            let sum = self.causes.entry(cause).or_default();
            *sum = sum.saturating_add(atto);
        }
    }
}

/// A ratio that several lines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedRatio {
    /// Of the bill's price to ours, in 1e-9.
    pub(crate) ratio: u64,
    pub(crate) models: BTreeSet<Arc<str>>,
    /// The tier whose price the table lists at this ratio, for all its lines.
    pub(crate) tier: Option<&'static str>,
    pub(crate) lines: usize,
}

#[derive(Default)]
pub(crate) struct Reconciliation {
    pub(crate) lines: Vec<Line>,
    pub(crate) ratios: Vec<SharedRatio>,
    /// Hours by which the bill's days begin before those of its time zone.
    pub(crate) shift: i8,
}

impl Reconciliation {
    pub(crate) fn total(&self, of: impl Fn(&Line) -> i128) -> i128 {
        self.lines.iter().fold(0, |sum, line| sum.saturating_add(of(line)))
    }

    pub(crate) fn cause(&self, cause: Cause) -> i128 {
        self.total(|line| line.causes.get(&cause).copied().unwrap_or(0))
    }
}

/// What both sides say about one kind of token in a line, by tier.
#[derive(Default)]
struct Sides {
    bill: BTreeMap<Arc<str>, BillCell>,
    own: BTreeMap<Arc<str>, OwnCell>,
}

/// What is left to compare, once both sides have the same tokens.
struct PriceItem {
    line: usize,
    kind: Kind,
    expected: i128,
    billed: i128,
    tolerance: i128,
    /// The bill has no tokens for it: whether both sides have the same calls is not known.
    is_inferred: bool,
    has_unpriced: bool,
}

type LineKey = (Period, Arc<str>);

/// Compares. Our calls on days outside of the bill's are left out.
pub(crate) fn reconcile(bill: &Bill, own: &OwnSums, prices: &Prices) -> Reconciliation {
    let shift = find_shift(bill, own);
    let declared = own_by_line(bill, own, 0);
    let by_line = if shift == 0 { declared.clone() } else { own_by_line(bill, own, shift) };
    let bill_kinds = kinds_by_model(bill.cells.keys().map(|key| (&key.model, key.kind)));
    let own_kinds = kinds_by_model(own.cells.keys().map(|key| (&key.model, key.kind)));
    let mut sides: BTreeMap<LineKey, BTreeMap<Kind, Sides>> = BTreeMap::new();
    for (key, cell) in &bill.cells {
        // ours have reasoning in their output, unless it has a price of its own
        let kind = match key.kind {
            Kind::Reasoning if !own_kinds.get(&key.model).is_some_and(|kinds| kinds.contains(&key.kind)) => {
                Kind::Output
            }
            kind => kind,
        };
        let line = sides.entry((key.period, Arc::clone(&key.model))).or_default();
        line.entry(kind).or_default().bill.entry(Arc::clone(&key.tier)).or_default().add(*cell);
    }
    for ((key, kind, tier), cell) in &by_line {
        let kind = fold(*kind, bill_kinds.get(&key.1));
        let line = sides.entry(key.clone()).or_default();
        line.entry(kind).or_default().own.entry(Arc::clone(tier)).or_default().add(*cell);
    }
    let mut declared_sums: BTreeMap<LineKey, i128> = BTreeMap::new();
    for ((key, ..), cell) in &declared {
        let sum = declared_sums.entry(key.clone()).or_default();
        *sum = sum.saturating_add(cell.atto);
        sides.entry(key.clone()).or_default();
    }
    let (mut lines, mut items) = (Vec::new(), Vec::new());
    for (key, kinds) in sides {
        let mut line = Line::new(key.0, Arc::clone(&key.1));
        for (kind, sides) in kinds {
            compare(&mut line, kind, &sides, (bill, prices), |item| {
                items.push(PriceItem { line: lines.len(), ..item })
            });
        }
        let declared = declared_sums.get(&key).copied().unwrap_or(0);
        let shifted = line.own.saturating_sub(declared);
        line.own = declared;
        line.add(Cause::TimeZone, shifted);
        lines.push(line);
    }
    let ratios = explain_prices(&mut lines, &items, (bill, prices));
    for line in &mut lines {
        let explained = line.causes.values().fold(0, |sum: i128, atto| sum.saturating_add(*atto));
        let rest = line.difference().saturating_sub(explained);
        // below a millionth of a millionth: what integer shares left over
        let is_dust = rest.abs() < 1_000_000;
        line.add(if is_dust { Cause::Rounding } else { Cause::Unexplained }, rest);
    }
    Reconciliation { lines, ratios, shift }
}

fn kinds_by_model<'k>(cells: impl Iterator<Item = (&'k Arc<str>, Kind)>) -> BTreeMap<Arc<str>, BTreeSet<Kind>> {
    let mut kinds: BTreeMap<Arc<str>, BTreeSet<Kind>> = BTreeMap::new();
    for (model, kind) in cells {
        kinds.entry(Arc::clone(model)).or_default().insert(kind);
    }
    kinds
}

/// The kind under which the bill has ours: itself, or the nearest that contains it.
fn fold(kind: Kind, billed: Option<&BTreeSet<Kind>>) -> Kind {
    let Some(billed) = billed else { return kind };
    let parents = std::iter::successors(Some(kind), |kind| kind.parent());
    parents.into_iter().find(|kind| billed.contains(kind)).unwrap_or(kind)
}

fn own_by_line(bill: &Bill, own: &OwnSums, shift: i8) -> BTreeMap<(LineKey, Kind, Arc<str>), OwnCell> {
    let periods: BTreeMap<Date, Period> = bill.cells.keys().map(|key| (key.period.from, key.period)).collect();
    let days = bill.days();
    let mut known: BTreeMap<i64, Option<Period>> = BTreeMap::new();
    let mut sums: BTreeMap<(LineKey, Kind, Arc<str>), OwnCell> = BTreeMap::new();
    for (key, cell) in &own.cells {
        let period = *known.entry(key.bin).or_insert_with(|| {
            let day = day_of(key.bin, &bill.zone, shift)?;
            days.filter(|(first, end)| (*first..*end).contains(&day))?;
            let around = periods.range(..=day).next_back().map(|(_, period)| *period).filter(|period| day < period.to);
            around.or_else(|| Some(Period { from: day, to: day.checked_add(1.day()).ok()? }))
        });
        if let Some(period) = period {
            let line = (period, Arc::clone(&key.model));
            sums.entry((line, key.kind, Arc::clone(&key.tier))).or_default().add(*cell);
        }
    }
    sums
}

/// The shift of days that brings our tokens (or amounts, scaled) nearest to the bill's. 0 unless another one leaves
/// less than half of the distance.
fn find_shift(bill: &Bill, own: &OwnSums) -> i8 {
    let is_daily = bill.cells.keys().all(|key| key.period.from.checked_add(1.day()).ok() == Some(key.period.to));
    if !is_daily {
        return 0;
    }
    let size_of = |tokens: u64, atto: i128| if bill.has_tokens { i128::from(tokens) } else { atto / 1_000_000 };
    let mut billed: BTreeMap<(Date, &Arc<str>), i128> = BTreeMap::new();
    for (key, cell) in bill.cells.iter().filter(|(key, _)| key.kind.is_tokens()) {
        let sum = billed.entry((key.period.from, &key.model)).or_default();
        *sum = sum.saturating_add(size_of(cell.tokens, cell.atto));
    }
    let distance = |shift: i8| -> i128 {
        let mut left = billed.clone();
        let (mut ours, all) = (BTreeMap::new(), billed.values().fold(0_i128, |sum, size| sum.saturating_add(*size)));
        let shifted = own_by_line(bill, own, shift);
        for ((line, ..), cell) in shifted.iter().filter(|((_, kind, _), _)| kind.is_tokens()) {
            let sum: &mut i128 = ours.entry(line.clone()).or_default();
            *sum = sum.saturating_add(size_of(cell.tokens.saturating_add(cell.unpriced), cell.atto));
        }
        let own_all = ours.values().fold(0_i128, |sum, size| sum.saturating_add(*size));
        let mut distance = 0_i128;
        for ((period, model), size) in &ours {
            // a discount must not look like a shift
            let scaled = if bill.has_tokens { *size } else { share(*size, clip(all), clip(own_all)) };
            let billed = left.remove(&(period.from, model)).unwrap_or(0);
            distance = distance.saturating_add(billed.saturating_sub(scaled).abs());
        }
        left.values().fold(distance, |sum, size| sum.saturating_add(size.abs()))
    };
    let unshifted = distance(0);
    let others = (-MAX_SHIFT..=MAX_SHIFT).filter(|shift| *shift != 0);
    let nearest = others.map(|shift| (distance(shift), shift.unsigned_abs(), shift)).min();
    nearest.filter(|(distance, ..)| *distance < unshifted / 2).map_or(0, |(_, _, shift)| shift)
}

fn clip(size: i128) -> u64 {
    u64::try_from(size.max(0)).unwrap_or(u64::MAX)
}

/// Compares one kind: first which calls both sides have, then which tiers. The price is compared later.
fn compare(
    line: &mut Line,
    kind: Kind,
    sides: &Sides,
    (bill, prices): (&Bill, &Prices),
    mut push: impl FnMut(PriceItem),
) {
    let (mut billed, mut own) = (BillCell::default(), OwnCell::default());
    sides.bill.values().for_each(|cell| billed.add(*cell));
    sides.own.values().for_each(|cell| own.add(*cell));
    line.bill = line.bill.saturating_add(billed.atto);
    line.own = line.own.saturating_add(own.atto);
    let direct = match kind {
        Kind::Fee => Some(Cause::Fee),
        Kind::Credit => Some(Cause::Credit),
        Kind::Discount => Some(Cause::Discount),
        Kind::Tax => Some(Cause::Tax),
        Kind::Other => Some(Cause::NotTokens),
        _ => None,
    };
    if let Some(cause) = direct {
        line.add(cause, billed.atto.saturating_sub(own.atto));
        return;
    }
    let tolerance = bill.step.saturating_mul(i128::from(billed.rows.max(1)));
    let item = |expected, billed, is_inferred| PriceItem {
        line: 0,
        kind,
        expected,
        billed,
        tolerance,
        is_inferred,
        has_unpriced: own.unpriced > 0,
    };
    if billed.rows == 0 && billed.tokens == 0 {
        return line.add(Cause::NotBilled, own.atto.saturating_neg());
    }
    if billed.tokens == 0 {
        return push(item(own.atto, billed.atto, true));
    }
    line.bill_tokens = line.bill_tokens.saturating_add(billed.tokens);
    let seen = own.tokens.saturating_add(own.unpriced);
    let (missing, surplus) = (billed.tokens.saturating_sub(seen), seen.saturating_sub(billed.tokens));
    line.unseen_tokens = line.unseen_tokens.saturating_add(missing);
    let unseen = share(billed.atto, missing, billed.tokens);
    let unpriced = share(billed.atto, own.unpriced.min(billed.tokens), billed.tokens);
    let not_billed = share(own.atto, surplus.min(own.tokens), own.tokens);
    line.add(Cause::Unseen, unseen);
    line.add(Cause::Unpriced, unpriced);
    line.add(Cause::NotBilled, not_billed.saturating_neg());
    let compared = own.atto.saturating_sub(not_billed);
    let expected = retier(compared, line, kind, sides, (bill, prices));
    line.add(Cause::Tier, expected.saturating_sub(compared));
    push(item(expected, billed.atto.saturating_sub(unseen).saturating_sub(unpriced), false));
}

/// What our amount would be with the tiers that the bill names.
fn retier(own: i128, line: &Line, kind: Kind, sides: &Sides, (bill, prices): (&Bill, &Prices)) -> i128 {
    if !bill.has_tiers {
        return own;
    }
    let weigh = |mix: &mut dyn Iterator<Item = (&str, u64)>| {
        let (mut all, mut weighed) = (0_u64, 0_u64);
        for (tier, tokens) in mix {
            let factor = tier_ratio(prices, (&bill.provider, &line.model), kind, tier, line.period).unwrap_or(WHOLE);
            all = all.saturating_add(tokens);
            weighed = weighed.saturating_add(clip(share(i128::from(tokens), factor, 1_000)));
        }
        // in thousandths of a millionth, as the tokens are multiplied
        (clip(i128::from(all).saturating_mul(1_000_000)), weighed)
    };
    let (billed, billed_weighed) = weigh(&mut sides.bill.iter().map(|(tier, cell)| (&**tier, cell.tokens)));
    let (own_all, own_weighed) = weigh(&mut sides.own.iter().map(|(tier, cell)| (&**tier, cell.tokens)));
    if billed == billed_weighed && own_all == own_weighed {
        return own;
    }
    share(share(own, own_all, own_weighed), billed_weighed, billed)
}

/// The table's price in a tier, as a ratio of the standard price.
fn tier_ratio(prices: &Prices, (provider, model): (&str, &str), kind: Kind, tier: &str, period: Period) -> Option<u64> {
    if tier.is_empty() {
        return Some(WHOLE);
    }
    let unit = Unit::ALL.iter().copied().find(|unit| super::calls::kind_of(*unit) == kind).unwrap_or(Unit::Input);
    let noon = period.from.at(12, 0, 0, 0).to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?;
    let time = u64::try_from(noon.timestamp().as_nanosecond()).ok()?;
    let models = [model];
    let price = |circumstances| {
        let query = RateQuery { provider: Some(provider), models: &models, time, circumstances };
        let row = prices.list.row(&query, 0).ok().filter(|row| !row.flags().context_unmatched)?;
        row.price(unit).map(|(price, _)| price.0)
    };
    let standard = price(CallCircumstances::default())?;
    let speed = (tier == "fast").then_some(tier);
    let own = price(CallCircumstances { service_tier: speed.is_none().then_some(tier), speed, ..Default::default() })?;
    simplest_ratio(own, own, standard).or_else(|| u64::try_from(own.checked_mul(i128::from(WHOLE))? / standard).ok())
}

/// Finds the ratios of prices that several lines share, and explains what they and rounding can.
fn explain_prices(lines: &mut [Line], items: &[PriceItem], (bill, prices): (&Bill, &Prices)) -> Vec<SharedRatio> {
    let (fitting, mut open): (Vec<&PriceItem>, Vec<&PriceItem>) = items.iter().partition(|item| item.fits(WHOLE));
    // models whose bill has the table's price on several lines
    let mut at_our_price: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for item in fitting {
        let Some(line) = lines.get_mut(item.line) else { continue };
        line.add(Cause::Rounding, item.billed.saturating_sub(item.expected));
        *at_our_price.entry(Arc::clone(&line.model)).or_default() += usize::from(item.expected > 0);
    }
    open.sort_by_key(|item| std::cmp::Reverse(item.expected));
    let (mut ratios, mut left): (Vec<SharedRatio>, Vec<&PriceItem>) = (Vec::new(), Vec::new());
    while let Some(item) = open.first().copied() {
        let (low, high) = (item.billed.saturating_sub(item.tolerance), item.billed.saturating_add(item.tolerance));
        let found = simplest_ratio(low.max(0), high, item.expected).filter(|ratio| *ratio > 0);
        let sharing = found.map_or(0, |ratio| open.iter().filter(|other| other.fits(ratio)).count());
        let least = if item.is_inferred { MIN_INFERRED_SUPPORT } else { MIN_SUPPORT };
        let Some(ratio) = found.filter(|_| sharing >= least && left.len() < MAX_TRIALS) else {
            left.push(open.remove(0));
            continue;
        };
        let (fitting, others) = open.into_iter().partition(|other| other.fits(ratio));
        open = others;
        ratios.push(explain_ratio(lines, &fitting, ratio, (bill, prices)));
    }
    for item in left.into_iter().filter(|item| item.is_inferred && item.billed > item.expected.max(0)) {
        let Some(line) = lines.get_mut(item.line) else { continue };
        // by amounts alone: more than the usual price of what we saw, if that is known
        let shared = ratios.iter().find(|shared| shared.models.contains(&line.model)).map(|shared| shared.ratio);
        let is_ours = at_our_price.get(&line.model).is_some_and(|lines| *lines >= MIN_INFERRED_SUPPORT);
        let usual = shared.or((is_ours || item.expected == 0).then_some(WHOLE));
        let Some(expected) = usual.map(|ratio| times_ratio(item.expected, ratio)) else { continue };
        line.add(Cause::Discount, expected.saturating_sub(item.expected));
        let more = item.billed.saturating_sub(expected);
        line.add(if item.has_unpriced { Cause::Unpriced } else { Cause::Unseen }, more);
    }
    ratios
}

impl PriceItem {
    fn fits(&self, ratio: u64) -> bool {
        self.billed.saturating_sub(times_ratio(self.expected, ratio)).abs() <= self.tolerance
    }
}

fn explain_ratio(
    lines: &mut [Line],
    items: &[&PriceItem],
    ratio: u64,
    (bill, prices): (&Bill, &Prices),
) -> SharedRatio {
    let mut models = BTreeSet::new();
    let mut tiers: Vec<&'static str> = if bill.has_tiers { Vec::new() } else { vec!["batch", "flex", "priority"] };
    for item in items {
        let Some(line) = lines.get_mut(item.line) else { continue };
        models.insert(Arc::clone(&line.model));
        let of_line = (bill.provider.as_str(), &*line.model);
        tiers.retain(|tier| tier_ratio(prices, of_line, item.kind, tier, line.period) == Some(ratio));
    }
    let tier = tiers.first().copied();
    for item in items {
        let Some(line) = lines.get_mut(item.line) else { continue };
        let priced = times_ratio(item.expected, ratio);
        line.add(if tier.is_some() { Cause::Tier } else { Cause::Discount }, priced.saturating_sub(item.expected));
        line.add(Cause::Rounding, item.billed.saturating_sub(priced));
    }
    SharedRatio { ratio, models, tier, lines: items.len() }
}
