//! Decides whether a refreshed table may be used ([`TableSource::diff`]): no call may lose its price, or cost over
//! [`MAX_PRICE_FACTOR`] times more or less, and neither version nor date may go back. Each known name is looked up in
//! both tables, and priced at each time, circumstance and prompt size at which a price may change; so a moved id, alias
//! or name shows as another price. Id patterns are compared as text. A table that needs too many look-ups is refused.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::decimal::Usd;
use super::id_resolution::AWS;
use super::resolved::{ResolvedModel, UnpricedReason};
use super::row::{PriceRow, RateQuery};
use super::source::TableSource;
use super::table::{EARLIEST_CALL, Rate, RateTable, RatesError};
use super::unit::{Fee, Unit};

/// A price that changes by more than this factor is refused.
const MAX_PRICE_FACTOR: i128 = 3;
/// Look-ups in one comparison: enough for 5,000 changed models with 4 windows of 200 circumstances and tiers.
const MAX_LOOKUPS: usize = 4_000_000;
const MAX_LOOKUPS_PER_MODEL: usize = 200_000;
/// A change of conditions on the clock shows within the first week of a window.
const WEEK: u64 = 7 * 86_400_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingSeverity {
    Change,
    /// Reported, but not a reason to refuse the table.
    Warning,
    /// The new table is not used.
    Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFinding {
    /// The worst of a unit's changes.
    pub severity: FindingSeverity,
    /// `provider/model`; `provider/*` for its names and patterns; `*` for the whole table.
    pub place: String,
    /// In prices per million tokens or 1,000 uses.
    pub description: String,
}

impl TableSource {
    /// The differences from this table to `new`, worst first. Refusals whose place is in `accept` become changes,
    /// except for a table that is older or too large to compare.
    ///
    /// # Errors
    /// A table is invalid: all problems, one per line.
    pub fn diff(&self, new: &Self, accept: &[String]) -> Result<Vec<TableFinding>, RatesError> {
        new.compile()?;
        let mut completed = new.clone();
        let vanished = completed.keep_vanished(self);
        let (old, completed) = (self.compile()?, completed.compile()?);
        let mut guard = TableGuard::new(&old, &completed, self.date().unwrap_or(0));
        for place in &vanished {
            guard.report(FindingSeverity::Warning, place, "the new table lacks this model; its entry is kept");
        }
        for (key, provider) in &new.file.providers {
            let known = self.file.providers.get(key);
            let is_known = |model| known.is_some_and(|known| known.find_model(model).is_some());
            for model in provider.models.iter().filter(|model| !is_known(model)) {
                guard.report(FindingSeverity::Change, &format!("{key}/{}", model.id), "new");
            }
            if known.is_some_and(|known| !provider.patterns().starts_with(&known.patterns())) {
                let what = "id patterns were changed, reordered or removed, or a new one takes precedence";
                guard.report(FindingSeverity::Refusal, &format!("{key}/*"), what);
            }
        }
        guard.compare_names();
        let (all, changed) = (old.model_count(), guard.changed.len());
        for (count, limit, what) in [(vanished.len(), all / 50, "are missing"), (changed, all / 20, "change at once")] {
            if count > limit.max(1) {
                guard.report(FindingSeverity::Refusal, "*", format!("{count} of {all} models {what}"));
            }
        }
        for finding in guard.findings.iter_mut().filter(|finding| accept.contains(&finding.place)) {
            finding.severity = FindingSeverity::Change;
        }
        if let Some(what) = new.find_older_field(self) {
            guard.report(FindingSeverity::Refusal, "*", what);
        }
        if guard.lookups_left == 0 {
            guard.report(FindingSeverity::Refusal, "*", "too many names, windows, circumstances and tiers to compare");
        }
        let key =
            |finding: &TableFinding| (Reverse(finding.severity), finding.place.clone(), finding.description.clone());
        guard.findings.sort_by_cached_key(key);
        guard.findings.dedup();
        Ok(guard.findings)
    }
}

struct TableGuard<'t> {
    old: &'t RateTable,
    /// With the vanished models of the old table.
    new: &'t RateTable,
    /// When the old table was made, Unix ns; 0 = unknown.
    made: u64,
    lookups_left: usize,
    compared: HashSet<(ResolvedModel, Result<ResolvedModel, UnpricedReason>)>,
    /// `provider/model` of models with another price.
    changed: BTreeSet<String>,
    findings: Vec<TableFinding>,
}

impl<'t> TableGuard<'t> {
    fn new(old: &'t RateTable, new: &'t RateTable, made: u64) -> Self {
        let (compared, changed, findings) = Default::default();
        Self { old, new, made, lookups_left: MAX_LOOKUPS, compared, changed, findings }
    }

    fn report(&mut self, severity: FindingSeverity, place: &str, description: impl Into<String>) {
        self.findings.push(TableFinding { severity, place: place.to_owned(), description: description.into() });
    }

    /// Looks up every id by every name of its provider, and without a provider.
    fn compare_names(&mut self) {
        let (old, new) = (self.old, self.new);
        let mut scopes: Vec<_> = old.scopes.iter().filter(|(scope, _)| !scope.is_empty()).collect();
        for name in old.names.keys().chain(new.names.keys()).collect::<BTreeSet<_>>() {
            let Some(before) = old.provider_index(name).filter(|_| self.lookups_left > 0) else { continue };
            let Some(now) = new.provider_index(name) else {
                let key = old.providers.get(before).map_or("", |provider| &provider.key);
                self.report(FindingSeverity::Refusal, &format!("{key}/*"), format!("provider name {name} is missing"));
                continue;
            };
            let is_aws = old.providers.get(before).is_some_and(|own| *own.key == *AWS);
            let scopes = if is_aws { std::mem::take(&mut scopes) } else { Vec::new() };
            for id in old.known_ids(before).chain(new.known_ids(now)).collect::<BTreeSet<_>>() {
                self.compare_call(name, id);
                for (scope, _) in &scopes {
                    self.compare_call(name, &format!("{scope}.{id}"));
                }
            }
        }
        let vendors = old.providers.iter().chain(&new.providers).filter(|provider| !provider.reseller);
        let ids = vendors.flat_map(|provider| provider.catalog.ids.keys());
        for id in ids.chain(old.aliases.keys()).chain(new.aliases.keys()).collect::<BTreeSet<_>>() {
            self.compare_call("", id);
        }
    }

    /// Compares the prices of calls of this id; once for calls that mean the same models.
    fn compare_call(&mut self, provider: &str, id: &str) {
        self.lookups_left = self.lookups_left.saturating_sub(1);
        if self.lookups_left == 0 {
            return;
        }
        let Ok(before) = self.old.resolve_one(provider, id) else { return };
        let now = self.new.resolve_one(provider, id);
        let plain = |found: ResolvedModel| ResolvedModel {
            date_dropped: false,
            vendor_inferred: false,
            vertex: false,
            ..found
        };
        if !self.compared.insert((plain(before), now.map(plain))) {
            return;
        }
        let place = self.old.model_name(before);
        match now {
            // a call through Vertex may be known by its id alone
            Ok(now) => {
                for vertex in [false, true] {
                    self.compare_prices(&place, ResolvedModel { vertex, ..before }, ResolvedModel { vertex, ..now });
                }
            }
            Err(UnpricedReason::AmbiguousProvider) => {
                let what = format!("id {id} is now ambiguous for calls that name no provider");
                self.report(FindingSeverity::Warning, &place, what);
            }
            Err(_) => self.report(FindingSeverity::Refusal, &place, format!("id {id} no longer has a price")),
        }
    }

    fn compare_prices(&mut self, place: &str, before: ResolvedModel, now: ResolvedModel) {
        let (old, new) = (self.old, self.new);
        let (Some((_, was)), Some((_, is))) = (old.model(before), new.model(now)) else { return };
        let by_scope =
            |table: &'t RateTable, found: ResolvedModel| (&table.parents, &table.scopes, found.bedrock_scope);
        if was.rates == is.rates && by_scope(old, before) == by_scope(new, now) {
            return;
        }
        let rates: Vec<&Rate> = was.rates.iter().chain(&*is.rates).collect();
        let most = self.lookups_left.min(MAX_LOOKUPS_PER_MODEL);
        let Some((queries, prompts)) = RateQuery::list_all(&rates, most) else { return self.lookups_left = 0 };
        self.lookups_left = self.lookups_left.saturating_sub(queries.len().saturating_mul(prompts.len()));
        let mut changes = BTreeMap::new();
        for (query, prompt) in queries.iter().flat_map(|query| prompts.iter().map(move |prompt| (query, *prompt))) {
            if let Ok(row) = old.price_model(before, query, prompt) {
                let new_row = new.price_model(now, query, prompt).ok();
                self.add_changes(&mut changes, (&row, new_row.as_ref()), query.time, prompt);
            }
        }
        for (severity, what) in changes.into_values() {
            self.changed.insert(place.to_owned());
            self.report(severity, place, what);
        }
    }

    /// Adds the changed units and fees of one call, in USD per million tokens or 1,000 uses; the worst change of each.
    fn add_changes(
        &self,
        changes: &mut BTreeMap<&str, (FindingSeverity, String)>,
        (old, new): (&PriceRow<'_>, Option<&PriceRow<'_>>),
        time: u64,
        prompt: u64,
    ) {
        let per = |price: Usd, amount| Usd(price.0.saturating_mul(amount));
        let units = Unit::ALL.iter().filter_map(|unit| {
            let (price, priced_unit) = old.price(*unit)?;
            let now = new.and_then(|new| new.price(*unit));
            // a unit that both tables price as its parent is compared as that parent
            let is_own = priced_unit == *unit || now.is_some_and(|(_, now)| now != priced_unit);
            is_own.then(|| (unit.as_str(), per(price, 1_000_000), now.map(|(now, _)| per(now, 1_000_000))))
        });
        let fees = Fee::ALL.iter().filter_map(|fee| {
            let now = new.and_then(|new| new.fee(*fee));
            Some((fee.as_str(), per(old.fee(*fee)?, 1_000), now.map(|now| per(now, 1_000))))
        });
        let tier = if prompt > 0 { format!(" from {prompt} tokens") } else { String::new() };
        for (unit, was, is) in units.chain(fees).filter(|(_, was, is)| *is != Some(*was)) {
            let (severity, why) = self.judge(old, time, was, is);
            if changes.get(unit).is_none_or(|(known, _)| *known < severity) {
                let rate = new.unwrap_or(old).name();
                let is = is.map_or("have no price".to_owned(), |is| format!("cost {is}"));
                changes.insert(unit, (severity, format!("{rate}{tier}: {unit} would {is} instead of {was}{why}")));
            }
        }
    }

    fn judge(&self, row: &PriceRow<'_>, time: u64, old: Usd, new: Option<Usd>) -> (FindingSeverity, &'static str) {
        let exceeds = |one: Usd, other: Usd| one.0 > other.0.saturating_mul(MAX_PRICE_FACTOR);
        let is_past = time < self.made;
        match new {
            None => (FindingSeverity::Refusal, ""),
            Some(Usd::ZERO) => (FindingSeverity::Refusal, ": a price must not drop to zero"),
            Some(new) if exceeds(new, old) || exceeds(old, new) => {
                (FindingSeverity::Refusal, ": changed by more than a factor of three")
            }
            _ if row.rate.to < u64::MAX && (is_past || self.made == 0) => {
                (FindingSeverity::Refusal, ": past calls would get a different cost")
            }
            _ if is_past || time <= row.rate.from.max(EARLIEST_CALL).saturating_add(WEEK) => {
                (FindingSeverity::Warning, ": an existing window changed")
            }
            _ => (FindingSeverity::Change, ""),
        }
    }
}
