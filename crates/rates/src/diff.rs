//! Compares a new table with the one in use and decides whether each difference is plausible ([`TableFinding`]). Public
//! price lists have had prices 100,000 times too high and half of their models missing.
//! A refusal is accepted by the name of its model or not at all. The only modification made here is to keep vanished
//! models. This module compares the written tables; `price_jumps` compares what calls would cost, and `id_moves` which
//! model an id means.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::compile::{window_end, window_start};
use super::decimal::Decimal;
use super::finding::{FindingSeverity, MAX_PRICE_FACTOR, TableFinding};
use super::id_moves;
use super::schema::{ModelSpec, PriceTexts, ProviderSpec, RateSpec, TableFile};
use super::source::{TableSource, digest_text};

impl TableSource {
    /// The differences from this table to `new`. Refusals whose place (`provider/model`, or `*`) is in `accept` are
    /// downgraded to changes.
    pub fn diff(&self, new: &Self, accept: &[String]) -> Vec<TableFinding> {
        let mut diff = TableDiff { findings: Vec::new(), changed: BTreeSet::new() };
        for (key, old) in &self.file.providers {
            match new.file.providers.get(key) {
                None => diff.add_finding(
                    FindingSeverity::Warning,
                    format!("{key}/*"),
                    "the new table lacks this provider; its entries are kept",
                ),
                Some(new) => diff.compare_provider(key, old, new),
            }
        }
        for (key, provider) in &new.file.providers {
            let old = self.file.providers.get(key);
            for model in &provider.models {
                if old.and_then(|old| find_model(old, model)).is_none() {
                    diff.add_finding(FindingSeverity::Change, format!("{key}/{}", model.id), "new");
                    diff.check_plausibility(key, model);
                }
            }
        }
        diff.compare_totals(&self.file, &new.file);
        // with another `per_tokens` every price would differ; that difference is reported once
        if self.file.per_tokens == new.file.per_tokens || accept.iter().any(|word| word == "*") {
            diff.compare_compiled(self, new);
        }
        let is_accepted = |finding: &TableFinding| {
            accept.contains(&finding.place) || (finding.place == "*" && accept.iter().any(|word| word == "*"))
        };
        for finding in diff.findings.iter_mut().filter(|finding| is_accepted(finding)) {
            finding.severity = finding.severity.min(FindingSeverity::Change);
        }
        diff.findings
            .sort_by(|a, b| (b.severity, &a.place, &a.description).cmp(&(a.severity, &b.place, &b.description)));
        diff.findings.dedup();
        diff.findings
    }

    /// Adds the models that `old` lists and this table does not; returns the `provider/model` of each. If any were
    /// added, the digest is derived from both files.
    pub fn keep_vanished(&mut self, old: &Self) -> Vec<String> {
        let mut kept = Vec::new();
        for (key, before) in &old.file.providers {
            let Some(file) = self.file.whole_mut() else { break };
            let empty = || ProviderSpec { models: Vec::new(), ..before.clone() };
            let now = file.providers.entry(key.clone()).or_insert_with(empty);
            let mut taken_ids: HashSet<String> = now.models.iter().flat_map(exact_ids).cloned().collect();
            let canonical_ids: HashSet<String> = now.models.iter().map(|model| model.id.clone()).collect();
            for model in &before.models {
                if taken_ids.contains(&model.id) || canonical_ids.contains(&model.id) {
                    continue;
                }
                let mut model = model.clone();
                let free_ids: Vec<String> = exact_ids(&model).filter(|id| !taken_ids.contains(*id)).cloned().collect();
                if free_ids.is_empty() {
                    continue;
                }
                taken_ids.extend(free_ids.iter().cloned());
                model.ids = free_ids;
                kept.push(format!("{key}/{}", model.id));
                now.models.push(model);
            }
        }
        if !kept.is_empty() {
            self.digest = digest_text(&format!("{}{}", self.digest, old.digest));
            self.text = None;
        }
        kept
    }
}

/// The exact ids of a model.
pub(super) fn exact_ids(model: &ModelSpec) -> impl Iterator<Item = &String> {
    model.exact_ids().iter()
}

/// The provider's model with the id of `model`: as its canonical id, otherwise among its exact ids.
pub(super) fn find_model<'p>(provider: &'p ProviderSpec, model: &ModelSpec) -> Option<&'p ModelSpec> {
    let by_id = || provider.models.iter().find(|known| exact_ids(known).any(|id| *id == model.id));
    provider.models.iter().find(|known| known.id == model.id).or_else(by_id)
}

struct TableDiff {
    findings: Vec<TableFinding>,
    /// `provider/model` of models whose rates differ.
    changed: BTreeSet<String>,
}

impl TableDiff {
    fn add_finding(&mut self, severity: FindingSeverity, place: String, description: impl Into<String>) {
        self.findings.push(TableFinding { severity, place, description: description.into() });
    }

    fn compare_provider(&mut self, key: &str, old: &ProviderSpec, new: &ProviderSpec) {
        for model in &old.models {
            let place = format!("{key}/{}", model.id);
            let Some(now) = find_model(new, model) else {
                self.add_finding(FindingSeverity::Warning, place, "the new table lacks this model; its entry is kept");
                continue;
            };
            if model.rates == now.rates {
                continue;
            }
            self.changed.insert(place.clone());
            self.compare_windows(&place, model, now);
            self.check_plausibility(key, now);
            if let (Some(old), Some(new)) = (model.rates.last(), now.rates.last()) {
                self.compare_prices(&place, old, new);
            }
        }
    }

    /// Windows of the past must not change.
    fn compare_windows(&mut self, place: &str, old: &ModelSpec, new: &ModelSpec) {
        for window in &old.rates {
            let counterpart = new.rates.iter().find(|rate| window_start(rate) == window_start(window));
            let severity =
                if window_end(window) == u64::MAX { FindingSeverity::Warning } else { FindingSeverity::Refusal };
            match counterpart {
                None => self.add_finding(severity, place.to_owned(), "a past window is missing"),
                Some(rate) if window_end(rate) > window_end(window) => {
                    self.add_finding(severity, place.to_owned(), "a closed window was extended");
                }
                Some(rate)
                    if (&rate.price, &rate.tiers, &rate.adjust) != (&window.price, &window.tiers, &window.adjust) =>
                {
                    let what = "prices of an existing window changed: past calls would get a different cost";
                    self.add_finding(severity, place.to_owned(), what);
                }
                Some(_) => {}
            }
        }
    }

    /// Compares every price of the last windows.
    fn compare_prices(&mut self, place: &str, old: &RateSpec, new: &RateSpec) {
        let (old, new) = (flatten_prices(old), flatten_prices(new));
        for (unit, before) in &old {
            let Some(now) = new.get(unit) else {
                self.add_finding(
                    FindingSeverity::Refusal,
                    place.to_owned(),
                    format!("{unit}: the price {before} is missing"),
                );
                continue;
            };
            let (Some(old), Some(new)) = (Decimal::parse(before), Decimal::parse(now)) else { continue };
            if old.equals(new) {
                continue;
            }
            let (severity, why) = if new.is_zero() {
                (FindingSeverity::Refusal, ": a price must not drop to zero")
            } else if new.exceeds(old, MAX_PRICE_FACTOR) || old.exceeds(new, MAX_PRICE_FACTOR) {
                (FindingSeverity::Refusal, ": changed by more than a factor of three")
            } else {
                (FindingSeverity::Change, "")
            };
            self.add_finding(severity, place.to_owned(), format!("{unit}: {before} to {now}{why}"));
        }
        for (unit, now) in new.iter().filter(|(unit, _)| !old.contains_key(*unit)) {
            self.add_finding(FindingSeverity::Change, place.to_owned(), format!("{unit}: {now} is new"));
        }
    }

    /// Refuses prices that are implausible by themselves.
    fn check_plausibility(&mut self, key: &str, model: &ModelSpec) {
        let Some(rate) = model.rates.last() else { return };
        let price = |unit: &str| rate.price.get(unit).and_then(|text| Decimal::parse(text));
        let place = format!("{key}/{}", model.id);
        if let (Some(input), Some(output)) = (price("input"), price("output"))
            && input.exceeds(output, 2)
            && !output.is_zero()
        {
            self.add_finding(FindingSeverity::Refusal, place.clone(), "output costs less than half of input");
        }
        if let (Some(input), Some(read)) = (price("input"), price("cache_read"))
            && read.exceeds(input, 1)
        {
            self.add_finding(FindingSeverity::Refusal, place, "reading from the cache costs more than input");
        }
    }

    /// Compares what calls would cost and which models ids mean, with vanished models kept.
    fn compare_compiled(&mut self, old: &TableSource, new: &TableSource) {
        let mut completed = new.clone();
        completed.keep_vanished(old);
        match (old.compile(), completed.compile()) {
            (Ok(before), Ok(now)) => {
                self.findings.extend(id_moves::compare_tables((&old.file, &before), (&completed.file, &now)));
            }
            (Err(error), _) | (_, Err(error)) => self.add_finding(FindingSeverity::Refusal, "*".to_owned(), error.0),
        }
    }

    /// Refuses tables that change too much at once.
    fn compare_totals(&mut self, old: &TableFile, new: &TableFile) {
        if old.per_tokens != new.per_tokens {
            let what = format!("prices are per {} tokens; in the table in use, per {}", new.per_tokens, old.per_tokens);
            self.add_finding(FindingSeverity::Refusal, "*".to_owned(), what);
        }
        if old.currency != new.currency {
            let what = format!("prices are in {}; in the table in use, in {}", new.currency, old.currency);
            self.add_finding(FindingSeverity::Refusal, "*".to_owned(), what);
        }
        let count = |file: &TableFile| file.providers.values().map(|provider| provider.models.len()).sum::<usize>();
        let (before, now) = (count(old), count(new));
        if now * 100 < before * 98 {
            self.add_finding(
                FindingSeverity::Refusal,
                "*".to_owned(),
                format!("the table shrinks from {before} to {now} models"),
            );
        }
        let changed = self.changed.len();
        if before >= 20 && changed * 100 > before * 5 {
            self.add_finding(
                FindingSeverity::Refusal,
                "*".to_owned(),
                format!("{changed} of {before} models change at once"),
            );
        }
    }
}

/// Every price of a window under a unique name.
pub(super) fn flatten_prices(rate: &RateSpec) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut add_list = |prefix: &str, list: &PriceTexts| {
        out.extend(list.iter().map(|(unit, text)| (format!("{prefix}{unit}"), text.clone())));
    };
    add_list("", &rate.price);
    add_list("fee ", &rate.fees_per_1000);
    let tier_start = |tier: &super::schema::TierSpec| {
        tier.at_least_input.or(tier.over_input.map(|over| over.saturating_add(1))).unwrap_or(0)
    };
    for tier in &rate.tiers {
        add_list(&format!("from {} tokens ", tier_start(tier)), &tier.price);
    }
    for adjust in &rate.adjust {
        let when: Vec<String> =
            adjust.when.iter().map(|(word, values)| format!("{word}={}", values.join("|"))).collect();
        let when = when.join("+");
        add_list(&format!("{when} "), &adjust.price);
        for tier in &adjust.tiers {
            add_list(&format!("{when} from {} tokens ", tier_start(tier)), &tier.price);
        }
        if let Some(factor) = &adjust.multiply {
            add_list(&format!("{when} "), &PriceTexts::from([("factor".to_owned(), factor.clone())]));
        }
    }
    out
}
