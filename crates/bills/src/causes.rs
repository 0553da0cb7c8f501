//! [`reconcile`]: compares a bill with our sums and says why they differ. Each cause is an amount, and the causes of a
//! line add up to its difference to the last digit. A cause is named only on evidence: tokens that one side lacks, a
//! ratio that several lines share, a price that the table lists. The rest is unexplained.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::amounts::{WHOLE, share, simplest_ratio, times_ratio};
use super::bill::{Bill, BillCell};
use super::bill_row::Period;
use super::format::ChargeKind;
use super::own::{MAX_SHIFT, OwnCell, OwnSums, day_of};
use super::prices::Prices;

/// Lines of days and models that must share a ratio of prices, before it counts as a discount.
const MIN_SUPPORT: usize = 3;
/// The part of an amount that may be rounded, if the amount is to be evidence for a ratio: 1 / 200.
const MAX_NOISE: i128 = 200;
/// Most ratios that are tried.
const MAX_TRIALS: usize = 200;
/// Days whose tokens must be equal, before a bill's days count as shifted.
const MIN_EQUAL_DAYS: usize = 3;

kernel::word_enum! {
    /// Why a bill differs from our sums, by its word in JSON.
    pub(crate) DifferenceCause {
        /// The bill has tokens of calls that no telemetry reports.
        Unseen = "unseen",
        /// Telemetry reports tokens that the bill does not have.
        NotBilled = "not_billed",
        Unpriced = "unpriced",
        Tier = "tier",
        Discount = "discount",
        Credit = "credit",
        Fee = "fee",
        Tax = "tax",
        NotTokens = "not_tokens",
        TimeZone = "time_zone",
        Rounding = "rounding",
        Unexplained = "unexplained",
    }
}

impl DifferenceCause {
    /// For people.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Unseen => "calls that tollgate did not see",
            Self::NotBilled => "calls that are not on the bill",
            Self::Unpriced => "calls without a price",
            Self::Tier => "another tier",
            Self::Credit => "credits",
            Self::Fee => "fees per use",
            Self::Tax => "taxes",
            Self::NotTokens => "lines that are no tokens",
            Self::TimeZone => "days in another time zone",
            Self::Discount | Self::Rounding | Self::Unexplained => self.as_str(),
        }
    }
}

/// A model on the days of one period.
#[derive(Default)]
pub(crate) struct ReconciledLine {
    pub(crate) period: Period,
    /// "" = lines without a model.
    pub(crate) model: Arc<str>,
    /// 1e-18 of the bill's currency.
    pub(crate) bill: i128,
    pub(crate) own: i128,
    pub(crate) causes: BTreeMap<DifferenceCause, i128>,
    pub(crate) bill_tokens: u64,
    pub(crate) own_tokens: u64,
    pub(crate) unseen_tokens: u64,
    /// What nothing explains, without signs: kinds of tokens don't offset each other.
    pub(crate) unexplained: i128,
}

impl ReconciledLine {
    pub(crate) fn difference(&self) -> i128 {
        self.bill.saturating_sub(self.own)
    }

    fn add(&mut self, cause: DifferenceCause, atto: i128) {
        if atto != 0 {
            let sum = self.causes.entry(cause).or_default();
            *sum = sum.saturating_add(atto);
        }
        if cause == DifferenceCause::Unexplained {
            self.unexplained = self.unexplained.saturating_add(atto.abs());
        }
    }

    /// Adds the rest of a price: rounding if it is within the tolerance, else unexplained.
    fn add_rest(&mut self, rest: i128, tolerance: i128) {
        self.add(if rest.abs() <= tolerance { DifferenceCause::Rounding } else { DifferenceCause::Unexplained }, rest);
    }
}

/// A ratio that several lines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedRatio {
    /// Of the bill's price to ours, in 1e-9. Above [`WHOLE`] it explains nothing.
    pub(crate) ratio: u64,
    pub(crate) models: BTreeSet<Arc<str>>,
    /// The tier whose price the table lists at this ratio, for all its lines.
    pub(crate) tier: Option<&'static str>,
    /// Number of prices, by day, model and kind of token.
    pub(crate) prices: usize,
}

#[derive(Default)]
pub(crate) struct Reconciliation {
    pub(crate) lines: Vec<ReconciledLine>,
    pub(crate) ratios: Vec<SharedRatio>,
    /// By how many quarters of an hour the bill's days begin before those of its time zone.
    pub(crate) shift: i64,
    /// A model of the bill and one of ours that have the same tokens on this number of days.
    pub(crate) renamed: BTreeMap<(Arc<str>, Arc<str>), usize>,
}

impl Reconciliation {
    pub(crate) fn total(&self, of: impl Fn(&ReconciledLine) -> i128) -> i128 {
        self.lines.iter().fold(0, |sum, line| sum.saturating_add(of(line)))
    }

    pub(crate) fn cause(&self, cause: DifferenceCause) -> i128 {
        self.total(|line| line.causes.get(&cause).copied().unwrap_or(0))
    }
}

type Tiers = BTreeMap<Arc<str>, OwnCell>;

/// What both sides say about one kind of token in a line, by tier.
#[derive(Default)]
struct BothSides {
    bill: BTreeMap<Arc<str>, BillCell>,
    own: Tiers,
}

/// A price to compare: both sides have the same tokens.
struct PriceItem {
    line: usize,
    kind: ChargeKind,
    expected: i128,
    billed: i128,
    tolerance: i128,
}

type LineKey = (Period, Arc<str>);
type OwnLines = BTreeMap<(LineKey, ChargeKind, Arc<str>), OwnCell>;

/// Compares. Our calls on days outside of the bill's are left out.
pub(crate) fn reconcile(bill: &Bill, own: &OwnSums, prices: &Prices) -> Reconciliation {
    let shift = find_shift(bill, own);
    let declared = own_by_line(bill, own, 0);
    let shifted = (shift != 0).then(|| own_by_line(bill, own, shift));
    let mut sides = sides_by_line(bill, own, shifted.as_ref().unwrap_or(&declared));
    let mut declared_sums: BTreeMap<LineKey, i128> = BTreeMap::new();
    for ((key, ..), cell) in &declared {
        let sum = declared_sums.entry(key.clone()).or_default();
        *sum = sum.saturating_add(cell.atto);
        sides.entry(key.clone()).or_default();
    }
    let (mut lines, mut items) = (Vec::new(), Vec::new());
    for (key, kinds) in sides {
        let mut line = ReconciledLine { period: key.0, model: Arc::clone(&key.1), ..ReconciledLine::default() };
        for (kind, sides) in kinds {
            let number = lines.len();
            compare_kind(&mut line, kind, &sides, (bill, prices), |item| {
                items.push(PriceItem { line: number, ..item })
            });
        }
        let declared = declared_sums.get(&key).copied().unwrap_or(0);
        let moved = line.own.saturating_sub(declared);
        line.own = declared;
        line.add(DifferenceCause::TimeZone, moved);
        lines.push(line);
    }
    let ratios = explain_prices(&mut lines, items, (bill, prices));
    for line in &mut lines {
        let explained = line.causes.values().fold(0, |sum: i128, atto| sum.saturating_add(*atto));
        // what integer shares left over
        line.add_rest(line.difference().saturating_sub(explained), 1_000_000);
    }
    let renamed = find_renamed(&mut lines);
    Reconciliation { lines, ratios, shift, renamed }
}

/// Both sides by line and kind. A kind of ours goes to the kind under which the bill has it, as far as it has kinds.
fn sides_by_line(bill: &Bill, own: &OwnSums, by_line: &OwnLines) -> BTreeMap<LineKey, BTreeMap<ChargeKind, BothSides>> {
    let bill_kinds = kinds_by_model(bill.cells.keys().map(|key| (&key.model, key.kind)));
    let own_kinds = kinds_by_model(own.cells.keys().map(|key| (&key.model, key.kind)));
    let mut sides: BTreeMap<LineKey, BTreeMap<ChargeKind, BothSides>> = BTreeMap::new();
    for (key, cell) in &bill.cells {
        // ours have reasoning in their output, unless it has a price of its own
        let has_own = own_kinds.get(&key.model).is_some_and(|kinds| kinds.contains(&key.kind));
        let kind = if key.kind == ChargeKind::Reasoning && !has_own { ChargeKind::Output } else { key.kind };
        let line = sides.entry((key.period, Arc::clone(&key.model))).or_default();
        line.entry(kind).or_default().bill.entry(Arc::clone(&key.tier)).or_default().add(*cell);
    }
    for ((key, kind, tier), cell) in by_line {
        let billed = bill_kinds.get(&key.1);
        let parents = std::iter::successors(Some(*kind), |kind| kind.parent());
        let found = parents.into_iter().find(|kind| billed.is_some_and(|billed| billed.contains(kind)));
        let line = sides.entry(key.clone()).or_default();
        // a bill without tiers has all of them in one
        let tier = if bill.has_tiers { Arc::clone(tier) } else { Arc::from("") };
        line.entry(found.unwrap_or(*kind)).or_default().own.entry(tier).or_default().add(*cell);
    }
    sides
}

fn kinds_by_model<'k>(
    cells: impl Iterator<Item = (&'k Arc<str>, ChargeKind)>,
) -> BTreeMap<Arc<str>, BTreeSet<ChargeKind>> {
    let mut kinds: BTreeMap<Arc<str>, BTreeSet<ChargeKind>> = BTreeMap::new();
    for (model, kind) in cells {
        kinds.entry(Arc::clone(model)).or_default().insert(kind);
    }
    kinds
}

fn own_by_line(bill: &Bill, own: &OwnSums, shift: i64) -> OwnLines {
    let token_keys = bill.cells.keys().filter(|key| key.kind.is_tokens());
    let periods: BTreeMap<Date, Period> = token_keys.map(|key| (key.period.from, key.period)).collect();
    let (first, end) = bill.days;
    let mut known: BTreeMap<i64, Option<Period>> = BTreeMap::new();
    let mut sums = OwnLines::new();
    for (key, cell) in &own.cells {
        let period = *known.entry(key.bin).or_insert_with(|| {
            let day = day_of(key.bin, &bill.zone, shift).filter(|day| (first..end).contains(day))?;
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

/// The shift of days at which our tokens equal the bill's on most days, if they hardly do without one. The first and
/// the last day, of which a shift moves a part out of sight, are left out.
fn find_shift(bill: &Bill, own: &OwnSums) -> i64 {
    let is_daily = |period: Period| period.from.checked_add(1.day()).ok() == Some(period.to);
    let mut billed: BTreeMap<LineKey, u64> = BTreeMap::new();
    for (key, cell) in bill.cells.iter().filter(|(key, _)| key.kind.is_tokens() && is_daily(key.period)) {
        let tokens = billed.entry((key.period, Arc::clone(&key.model))).or_default();
        *tokens = tokens.saturating_add(cell.tokens);
    }
    let (first, end) = bill.days;
    billed.retain(|(period, _), tokens| period.from > first && period.to < end && *tokens > 0);
    let count_equal = |shift: i64| {
        let mut ours: BTreeMap<LineKey, u64> = BTreeMap::new();
        for ((line, ..), cell) in own_by_line(bill, own, shift) {
            let tokens = ours.entry(line).or_default();
            *tokens = tokens.saturating_add(cell.tokens).saturating_add(cell.unpriced);
        }
        billed.iter().filter(|(line, tokens)| ours.get(line) == Some(tokens)).count()
    };
    let unshifted = count_equal(0);
    // time zones differ by whole half hours
    let shifts = (-MAX_SHIFT..=MAX_SHIFT).filter(|shift| shift % 2 == 0 && *shift != 0);
    let best = shifts.map(|shift| (count_equal(shift), std::cmp::Reverse(shift.abs()), shift)).max();
    let is_clear = |equal: usize| equal >= MIN_EQUAL_DAYS && equal * 2 > billed.len() && unshifted * 10 <= equal;
    best.filter(|(equal, ..)| is_clear(*equal)).map_or(0, |(_, _, shift)| shift)
}

/// Compares one kind: first which tokens both sides have, tier by tier; then those of other tiers. Their prices are
/// compared later.
fn compare_kind(
    line: &mut ReconciledLine,
    kind: ChargeKind,
    sides: &BothSides,
    (bill, prices): (&Bill, &Prices),
    mut push: impl FnMut(PriceItem),
) {
    let (mut billed, own) = (BillCell::default(), sum_tiers(&sides.own));
    sides.bill.values().for_each(|cell| billed.add(*cell));
    line.bill = line.bill.saturating_add(billed.atto);
    line.own = line.own.saturating_add(own.atto);
    line.bill_tokens = line.bill_tokens.saturating_add(billed.tokens);
    line.own_tokens = line.own_tokens.saturating_add(own.tokens).saturating_add(own.unpriced);
    let direct = match kind {
        ChargeKind::Fee => Some(DifferenceCause::Fee),
        ChargeKind::Credit => Some(DifferenceCause::Credit),
        ChargeKind::Discount => Some(DifferenceCause::Discount),
        ChargeKind::Tax => Some(DifferenceCause::Tax),
        ChargeKind::Other => Some(DifferenceCause::NotTokens),
        // given free, or not there at all
        _ if billed.atto == 0 && (billed.tokens > 0 || billed.rows == 0) => Some(DifferenceCause::NotBilled),
        // nothing of it was seen
        _ if billed.tokens == 0 && own == OwnCell::default() => Some(DifferenceCause::Unseen),
        _ if billed.tokens == 0 && own.atto == 0 => Some(DifferenceCause::Unpriced),
        _ => None,
    };
    if let Some(cause) = direct {
        line.add(cause, billed.atto.saturating_sub(own.atto));
        return;
    }
    // half a step a row, and what integer shares leave over
    let tolerance = (bill.step / 2).saturating_mul(i128::from(billed.rows.max(1))).saturating_add(1_000);
    let item = |expected, billed| PriceItem { line: 0, kind, expected, billed, tolerance };
    if billed.tokens == 0 {
        // amounts alone: whether both sides have the same calls is not known
        return push(item(own.atto, billed.atto));
    }
    let (model, day) = (Arc::clone(&line.model), line.period.from);
    let weigh = |tier: &str, tokens: u64| {
        let ratio = prices.tier_ratio(&bill.provider, &model, day, (kind, tier)).unwrap_or(WHOLE);
        u64::try_from(times_ratio(i128::from(tokens).saturating_mul(1_000), ratio)).unwrap_or(u64::MAX)
    };
    let weigh_all =
        |tiers: &Tiers| tiers.iter().fold(0_u64, |sum, (tier, cell)| sum.saturating_add(weigh(tier, cell.tokens)));
    let to_cell = |cell: &BillCell| OwnCell { tokens: cell.tokens, unpriced: 0, atto: cell.atto };
    let mut bill_left: Tiers = sides.bill.iter().map(|(tier, cell)| (Arc::clone(tier), to_cell(cell))).collect();
    // if only the usage report names tiers, they share the amount by their list prices
    if sides.bill.values().any(|cell| cell.rows == 0) {
        let weight = weigh_all(&bill_left);
        for (tier, cell) in &mut bill_left {
            cell.atto = share(billed.atto, weigh(tier, cell.tokens), weight);
        }
    }
    let (mut own_left, mut matched) = (sides.own.clone(), (0_i128, 0_i128));
    for (tier, cell) in &mut bill_left {
        let Some(ours) = own_left.get_mut(tier) else { continue };
        let unpriced = cell.tokens.min(ours.unpriced);
        ours.unpriced = ours.unpriced.saturating_sub(unpriced);
        line.add(DifferenceCause::Unpriced, cell.take(unpriced));
        let both = cell.tokens.min(ours.tokens);
        matched.0 = matched.0.saturating_add(ours.take(both));
        matched.1 = matched.1.saturating_add(cell.take(both));
    }
    if matched != (0, 0) {
        push(item(matched.0, matched.1));
    }
    let (mut billed, mut own) = (sum_tiers(&bill_left), sum_tiers(&own_left));
    let (bill_tokens, own_tokens) = (billed.tokens, own.tokens);
    line.add(DifferenceCause::Unpriced, billed.take(own.unpriced));
    let both = billed.tokens.min(own_tokens);
    if both > 0 {
        let ours = own.take(both);
        let expected = share(share(ours, own_tokens, weigh_all(&own_left)), weigh_all(&bill_left), bill_tokens);
        line.add(DifferenceCause::Tier, expected.saturating_sub(ours));
        push(item(expected, billed.take(both)));
    }
    line.unseen_tokens = line.unseen_tokens.saturating_add(billed.tokens);
    line.add(DifferenceCause::Unseen, billed.atto);
    line.add(DifferenceCause::NotBilled, own.atto.saturating_neg());
}

fn sum_tiers(tiers: &Tiers) -> OwnCell {
    tiers.values().fold(OwnCell::default(), |mut sum, cell| {
        sum.add(*cell);
        sum
    })
}

impl OwnCell {
    /// Takes so many tokens, at most all, and returns their share of the amount.
    fn take(&mut self, wanted: u64) -> i128 {
        let taken = wanted.min(self.tokens);
        let amount = if taken == self.tokens { self.atto } else { share(self.atto, taken, self.tokens) };
        self.tokens = self.tokens.saturating_sub(taken);
        self.atto = self.atto.saturating_sub(amount);
        amount
    }
}

impl PriceItem {
    fn fits(&self, ratio: u64) -> bool {
        self.billed.saturating_sub(times_ratio(self.expected, ratio)).abs() <= self.tolerance
    }

    /// Whether rounding is so small that the amount says something about a ratio.
    fn is_evidence(&self) -> bool {
        self.tolerance.saturating_mul(MAX_NOISE) <= self.expected
    }
}

/// Finds the ratios of prices that lines share. Explains each price by such a ratio, or by rounding, if one fits.
fn explain_prices(
    lines: &mut [ReconciledLine],
    items: Vec<PriceItem>,
    (bill, prices): (&Bill, &Prices),
) -> Vec<SharedRatio> {
    let (fitting, mut open): (Vec<PriceItem>, Vec<PriceItem>) = items.into_iter().partition(|item| item.fits(WHOLE));
    open.sort_by_key(|item| std::cmp::Reverse(item.expected));
    let (mut ratios, mut left, mut trials) = (Vec::new(), fitting, 0);
    while let Some(item) = open.first().filter(|item| item.is_evidence() && trials < MAX_TRIALS) {
        trials += 1;
        let (low, high) = (item.billed.saturating_sub(item.tolerance), item.billed.saturating_add(item.tolerance));
        let found = simplest_ratio(low.max(0), high, item.expected).filter(|ratio| *ratio > 0);
        let (sharing, others): (Vec<PriceItem>, Vec<PriceItem>) =
            open.into_iter().partition(|other| found.is_some_and(|ratio| other.fits(ratio)));
        open = others;
        let support: BTreeSet<usize> = sharing.iter().filter(|item| item.is_evidence()).map(|item| item.line).collect();
        match found {
            Some(ratio) if support.len() >= MIN_SUPPORT => {
                ratios.push(explain_ratio(lines, &sharing, ratio, (bill, prices)));
                if ratio > WHOLE {
                    left.extend(sharing);
                }
            }
            _ if sharing.is_empty() => left.push(open.remove(0)),
            // nothing explains the first; others may share another ratio
            _ => {
                let mut sharing = sharing.into_iter();
                left.extend(sharing.next());
                open.extend(sharing);
                open.sort_by_key(|item| std::cmp::Reverse(item.expected));
            }
        }
    }
    for item in left.into_iter().chain(open) {
        if let Some(line) = lines.get_mut(item.line) {
            line.add_rest(item.billed.saturating_sub(item.expected), item.tolerance);
        }
    }
    ratios
}

/// Explains prices by a ratio that they share. A ratio above 1 is reported, but explains nothing: the bill asks for
/// more.
fn explain_ratio(
    lines: &mut [ReconciledLine],
    items: &[PriceItem],
    ratio: u64,
    (bill, prices): (&Bill, &Prices),
) -> SharedRatio {
    let mut models = BTreeSet::new();
    let mut tiers: Vec<&'static str> = if bill.has_tiers { Vec::new() } else { vec!["batch", "flex", "priority"] };
    for item in items {
        let Some(line) = lines.get(item.line) else { continue };
        models.insert(Arc::clone(&line.model));
        let listed = |tier: &str| {
            prices.tier_ratio(&bill.provider, &line.model, line.period.from, (item.kind, tier)) == Some(ratio)
        };
        tiers.retain(|tier| listed(tier));
    }
    let tier = tiers.first().copied();
    for item in items.iter().filter(|_| ratio < WHOLE) {
        let Some(line) = lines.get_mut(item.line) else { continue };
        let priced = times_ratio(item.expected, ratio);
        line.add(
            if tier.is_some() { DifferenceCause::Tier } else { DifferenceCause::Discount },
            priced.saturating_sub(item.expected),
        );
        line.add_rest(item.billed.saturating_sub(priced), item.tolerance);
    }
    SharedRatio { ratio, models, tier, prices: items.len() }
}

/// Finds models of the bill and of ours that have the same tokens on the same days: one model with two names. Their
/// amounts are unexplained until an alias says so.
fn find_renamed(lines: &mut [ReconciledLine]) -> BTreeMap<(Arc<str>, Arc<str>), usize> {
    let alone = |line: &ReconciledLine| (line.bill_tokens == 0) != (line.own_tokens == 0);
    let mut pairs: BTreeMap<(Period, u64), [Option<usize>; 2]> = BTreeMap::new();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| alone(line)) {
        let side = usize::from(line.bill_tokens == 0);
        let pair = pairs.entry((line.period, line.bill_tokens.max(line.own_tokens))).or_default();
        pair.get_mut(side).into_iter().for_each(|slot| *slot = Some(number));
    }
    let mut renamed = BTreeMap::new();
    for pair in pairs.into_values() {
        let [Some(billed), Some(own)] = pair else { continue };
        let names =
            [billed, own].map(|number| lines.get(number).map(|line| Arc::clone(&line.model)).unwrap_or_default());
        let [billed_name, own_name] = names;
        *renamed.entry((billed_name, own_name)).or_default() += 1;
        for number in [billed, own] {
            let Some(line) = lines.get_mut(number) else { continue };
            for cause in [DifferenceCause::Unseen, DifferenceCause::NotBilled, DifferenceCause::Unpriced] {
                let atto = line.causes.remove(&cause).unwrap_or(0);
                line.add(DifferenceCause::Unexplained, atto);
            }
        }
    }
    renamed
}
