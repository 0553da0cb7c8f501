//! [`OwnCall`]: what tollgate says about one call: an index line of the vault, with its amount by kind of token. The
//! amount is the line's own, whatever today's table says; the table only divides it.

use super::amounts::scale;
use super::format::{ChargeKind, kind_of, normalize_model};
use super::prices::Prices;
use genai::usage::PriceBasis;
use processors::cost::{CallPriceInput, UnitPrice, list_unit_prices, price_basis};
use rates::{RateTable, Usd};
use vault::index_row::{IndexRow, RowTail};
use vault::object_names::parse_time;

/// How far a call's own time may lie after its arrival, ns. Beyond that its clock is wrong, and the arrival counts.
const MAX_CLOCK_LEAD: u64 = 300_000_000_000;
/// 2020, Unix ns: a clock that shows an earlier time was never set.
const EARLIEST: u64 = 1_577_836_800_000_000_000;

/// The tokens of one kind in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnPart {
    pub(crate) kind: ChargeKind,
    pub(crate) tokens: u64,
    /// 1e-18 USD; negative in a correction.
    pub(crate) atto: i128,
    /// What plans cover of it.
    pub(crate) covered: i128,
    /// What the same tokens cost without contracts, if the table knows it.
    pub(crate) list_atto: Option<i128>,
}

impl OwnPart {
    fn new(kind: ChargeKind, tokens: u64, atto: i128) -> Self {
        Self { kind, tokens, atto, covered: 0, list_atto: None }
    }
}

/// See the module.
pub(crate) struct OwnCall<'r> {
    pub(crate) tail: &'r RowTail,
    /// Unix ns.
    pub(crate) at: u64,
    /// Whether `at` is the time of arrival, because the call's own time lies after it.
    pub(crate) is_clock_off: bool,
    /// The table's key of the provider, or the name as it is.
    pub(crate) provider: String,
    /// The table's id of the model, or the name as it is, in lower case; "" if there is none.
    pub(crate) model: String,
    /// "" = standard.
    pub(crate) tier: String,
    pub(crate) status: OwnStatus,
    /// Whether the line says which tokens of which model the amount is for.
    pub(crate) has_basis: bool,
    pub(crate) parts: Vec<OwnPart>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnStatus {
    Priced,
    Unpriced,
    Correction,
}

impl<'r> OwnCall<'r> {
    /// The call of a line; `None` if the line charges nothing.
    pub(crate) fn read(row: &'r IndexRow, prices: &Prices) -> Option<Self> {
        let tail = &row.tail;
        let status = match tail.cost_status.as_deref()? {
            "priced" => OwnStatus::Priced,
            "unpriced" => OwnStatus::Unpriced,
            "correction" => OwnStatus::Correction,
            _ => return None,
        };
        let basis = tail.basis.as_ref();
        let arrived = parse_time(&tail.ingest_ts).map_or(0, |at| at.0);
        let own_time = basis.map(|basis| basis.time).or_else(|| parse_time(&tail.ts).map(|at| at.0)).unwrap_or(arrived);
        let is_clock_off = arrived > 0 && !(EARLIEST..=arrived.saturating_add(MAX_CLOCK_LEAD)).contains(&own_time);
        let total = tail.cost_usd.as_deref().and_then(Usd::parse).unwrap_or_default();
        // only what a call costs on top of an earlier record has tokens of its own
        let basis = basis.filter(|basis| status != OwnStatus::Correction || basis.billed_before.is_some());
        let contract = basis.and_then(|basis| basis.contract.as_deref());
        let (table, _) = prices.tables.table_of_line(&tail.tenant, contract, None);
        let tier = basis.and_then(|basis| CallPriceInput::from_basis(basis).circumstances.tier());
        let named = basis.and_then(|basis| basis.provider.as_deref()).or(tail.provider.as_deref()).unwrap_or("");
        let found = basis.and_then(|basis| price_basis(table, basis, prices.fees).ok());
        let fees = found.as_ref().map_or(0, |found| found.parts.fees.0);
        let model = match &found {
            Some(found) => found.model.to_owned(),
            None => basis.and_then(|basis| basis.models.first()).or(tail.model.as_ref()).cloned().unwrap_or_default(),
        };
        let provider = prices.list.provider_key(named).or(found.as_ref().map(|found| found.provider)).unwrap_or(named);
        let whole = || vec![OwnPart::new(ChargeKind::Tokens, 0, 0)];
        let mut parts = basis.map_or_else(whole, |basis| divide(basis, fees, table, &prices.list));
        fit_to(&mut parts, total.0);
        // what plans cover is taken from the first parts; its sum is exact
        let mut covered = tail.covered_usd.as_deref().and_then(Usd::parse).unwrap_or_default().0;
        for part in &mut parts {
            part.covered = if covered >= 0 { covered.min(part.atto.max(0)) } else { covered.max(part.atto) };
            covered = covered.saturating_sub(part.covered);
        }
        Some(Self {
            tail,
            at: if is_clock_off { arrived } else { own_time },
            is_clock_off,
            provider: provider.to_owned(),
            model: if found.is_some() { model.to_lowercase() } else { normalize_model(&model) },
            tier: tier.unwrap_or_default().to_owned(),
            status,
            has_basis: basis.is_some(),
            parts,
        })
    }

    pub(crate) fn atto(&self) -> i128 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.atto))
    }
}

/// Divides what a call costs by kind.
fn divide(basis: &PriceBasis, fees: i128, table: &RateTable, list: &RateTable) -> Vec<OwnPart> {
    let amount_of = |one: &UnitPrice| one.price.0.saturating_mul(i128::from(one.tokens));
    let list = list_unit_prices(list, basis).unwrap_or_default();
    let mut parts: Vec<OwnPart> = Vec::new();
    for one in list_unit_prices(table, basis).unwrap_or_default() {
        let (kind, atto) = (kind_of(one.unit), amount_of(&one));
        let list_atto = list.iter().find(|listed| listed.unit == one.unit).map(amount_of);
        match parts.iter_mut().find(|known| known.kind == kind) {
            Some(known) => {
                known.tokens = known.tokens.saturating_add(one.tokens);
                known.atto = known.atto.saturating_add(atto);
                known.list_atto = known.list_atto.zip(list_atto).map(|(one, other)| one.saturating_add(other));
            }
            None => parts.push(OwnPart { list_atto, ..OwnPart::new(kind, one.tokens, atto) }),
        }
    }
    if parts.is_empty() {
        // tokens without a price still count
        let counts = basis.units.buckets();
        let counts = [
            (ChargeKind::Input, counts.input),
            (ChargeKind::CacheRead, counts.cache_read),
            (ChargeKind::CacheWrite5m, counts.cache_write_5m),
            (ChargeKind::CacheWrite1h, counts.cache_write_1h),
            (ChargeKind::Output, counts.output),
        ];
        let counts = counts.into_iter().filter(|(_, tokens)| *tokens > 0);
        parts.extend(counts.map(|(kind, tokens)| OwnPart::new(kind, tokens, 0)));
    }
    if fees != 0 {
        parts.push(OwnPart { list_atto: Some(fees), ..OwnPart::new(ChargeKind::Fee, 0, fees) });
    }
    parts
}

/// Makes the amounts add up to `total`, each in proportion, if the table gives another amount than the line has,
/// because prices or contracts were others. The largest takes what rounding leaves.
fn fit_to(parts: &mut Vec<OwnPart>, total: i128) {
    let sum = |parts: &[OwnPart]| parts.iter().fold(0_i128, |sum, part| sum.saturating_add(part.atto));
    let computed = sum(parts);
    if computed == total {
        return;
    }
    for part in parts.iter_mut() {
        part.atto = scale(total, part.atto, computed);
    }
    let rest = total.saturating_sub(sum(parts));
    match parts.iter_mut().max_by_key(|part| part.atto.unsigned_abs()) {
        Some(largest) => largest.atto = largest.atto.saturating_add(rest),
        None => parts.push(OwnPart::new(ChargeKind::Tokens, 0, total)),
    }
}
