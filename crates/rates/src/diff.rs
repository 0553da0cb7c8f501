//! Compares a new table with the one in use and decides whether each difference is plausible ([`Finding`]). Public
//! price lists have had prices 100,000 times too high and half of their models missing.
//! A refusal is accepted by the name of its model or not at all. The only modification made here is to keep vanished
//! models. This module compares the written tables; `effective` compares what calls would cost, and `moved` which
//! model an id means.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::compile::{end, start};
use super::decimal::Decimal;
use super::finding::{Finding, Gravity, JUMP};
use super::moved;
use super::schema::{File, Model, Price, Provider, Rate};
use super::source::{Source, digest};

impl Source {
    /// The differences from this table to `new`. Refusals whose place (`provider/model`, or `*`) is in `accept` are
    /// downgraded to changes.
    pub fn diff(&self, new: &Self, accept: &[String]) -> Vec<Finding> {
        let mut diff = Diff { findings: Vec::new(), changed: BTreeSet::new() };
        for (key, old) in &self.file.providers {
            match new.file.providers.get(key) {
                None => diff.tell(Gravity::Warning, format!("{key}/*"), "the provider vanished; its entries are kept"),
                Some(new) => diff.provider(key, old, new),
            }
        }
        for (key, provider) in &new.file.providers {
            let old = self.file.providers.get(key);
            for model in &provider.models {
                if old.and_then(|old| find(old, model)).is_none() {
                    diff.tell(Gravity::Change, format!("{key}/{}", model.id), "new");
                    diff.sane(key, model);
                }
            }
        }
        diff.whole(&self.file, &new.file);
        // with another `per_tokens` every price would differ; that difference is reported once
        if self.file.per_tokens == new.file.per_tokens || accept.iter().any(|word| word == "*") {
            diff.compiled(self, new);
        }
        let accepted = |finding: &Finding| {
            accept.contains(&finding.place) || (finding.place == "*" && accept.iter().any(|word| word == "*"))
        };
        for finding in diff.findings.iter_mut().filter(|finding| accepted(finding)) {
            finding.gravity = finding.gravity.min(Gravity::Change);
        }
        diff.findings.sort_by(|a, b| (b.gravity, &a.place, &a.what).cmp(&(a.gravity, &b.place, &b.what)));
        diff.findings.dedup();
        diff.findings
    }

    /// Adds the models that `old` lists and this table does not; returns the `provider/model` of each. If any were
    /// added, the digest is derived from both files.
    pub fn keep_vanished(&mut self, old: &Self) -> Vec<String> {
        let mut kept = Vec::new();
        for (key, before) in &old.file.providers {
            let Some(file) = self.file.whole_mut() else { break };
            let empty = || Provider { models: Vec::new(), ..before.clone() };
            let now = file.providers.entry(key.clone()).or_insert_with(empty);
            let mut taken: HashSet<String> = now.models.iter().flat_map(ids).cloned().collect();
            let canonical: HashSet<String> = now.models.iter().map(|model| model.id.clone()).collect();
            for model in &before.models {
                if taken.contains(&model.id) || canonical.contains(&model.id) {
                    continue;
                }
                let mut model = model.clone();
                let free: Vec<String> = ids(&model).filter(|id| !taken.contains(*id)).cloned().collect();
                if free.is_empty() {
                    continue;
                }
                taken.extend(free.iter().cloned());
                model.ids = free;
                kept.push(format!("{key}/{}", model.id));
                now.models.push(model);
            }
        }
        if !kept.is_empty() {
            self.digest = digest(&format!("{}{}", self.digest, old.digest));
            self.text = None;
        }
        kept
    }
}

/// The exact ids of a model.
pub(super) fn ids(model: &Model) -> impl Iterator<Item = &String> {
    model.exact().iter()
}

/// The provider's model with the same id.
pub(super) fn find<'p>(provider: &'p Provider, model: &Model) -> Option<&'p Model> {
    let by_id = || provider.models.iter().find(|known| ids(known).any(|id| *id == model.id));
    provider.models.iter().find(|known| known.id == model.id).or_else(by_id)
}

struct Diff {
    findings: Vec<Finding>,
    changed: BTreeSet<String>,
}

impl Diff {
    fn tell(&mut self, gravity: Gravity, place: String, what: impl Into<String>) {
        self.findings.push(Finding { gravity, place, what: what.into() });
    }

    fn provider(&mut self, key: &str, old: &Provider, new: &Provider) {
        for model in &old.models {
            let place = format!("{key}/{}", model.id);
            let Some(now) = find(new, model) else {
                self.tell(Gravity::Warning, place, "the model vanished; its entry is kept");
                continue;
            };
            if model.rates == now.rates {
                continue;
            }
            self.changed.insert(place.clone());
            self.windows(&place, model, now);
            self.sane(key, now);
            if let (Some(old), Some(new)) = (model.rates.last(), now.rates.last()) {
                self.prices(&place, old, new);
            }
        }
    }

    /// Windows of the past must not change.
    fn windows(&mut self, place: &str, old: &Model, new: &Model) {
        for window in &old.rates {
            let same = new.rates.iter().find(|rate| start(rate) == start(window));
            let gravity = if end(window) == u64::MAX { Gravity::Warning } else { Gravity::Refusal };
            match same {
                None => self.tell(gravity, place.to_owned(), "a window of the past is gone"),
                Some(rate) if end(rate) > end(window) => {
                    self.tell(gravity, place.to_owned(), "a window that was closed goes on");
                }
                Some(rate)
                    if (&rate.price, &rate.tiers, &rate.adjust) != (&window.price, &window.tiers, &window.adjust) =>
                {
                    let what = "prices of a window were changed in place: calls of the past would cost something else";
                    self.tell(gravity, place.to_owned(), what);
                }
                Some(_) => {}
            }
        }
    }

    /// Compares every price of the last windows.
    fn prices(&mut self, place: &str, old: &Rate, new: &Rate) {
        let (old, new) = (flat(old), flat(new));
        for (unit, before) in &old {
            let Some(now) = new.get(unit) else {
                self.tell(Gravity::Refusal, place.to_owned(), format!("{unit}: {before} is gone"));
                continue;
            };
            let (Some(old), Some(new)) = (Decimal::parse(before), Decimal::parse(now)) else { continue };
            if old.same(new) {
                continue;
            }
            let (gravity, why) = if new.is_zero() {
                (Gravity::Refusal, ": nothing is free at once")
            } else if new.exceeds(old, JUMP) || old.exceeds(new, JUMP) {
                (Gravity::Refusal, ": more than three times")
            } else {
                (Gravity::Change, "")
            };
            self.tell(gravity, place.to_owned(), format!("{unit}: {before} to {now}{why}"));
        }
        for (unit, now) in new.iter().filter(|(unit, _)| !old.contains_key(*unit)) {
            self.tell(Gravity::Change, place.to_owned(), format!("{unit}: {now} is new"));
        }
    }

    /// Refuses prices that are implausible by themselves.
    fn sane(&mut self, key: &str, model: &Model) {
        let Some(rate) = model.rates.last() else { return };
        let price = |unit: &str| rate.price.get(unit).and_then(|text| Decimal::parse(text));
        let place = format!("{key}/{}", model.id);
        if let (Some(input), Some(output)) = (price("input"), price("output"))
            && input.exceeds(output, 2)
            && !output.is_zero()
        {
            self.tell(Gravity::Refusal, place.clone(), "output is cheaper than half of input");
        }
        if let (Some(input), Some(read)) = (price("input"), price("cache_read"))
            && read.exceeds(input, 1)
        {
            self.tell(Gravity::Refusal, place, "reading from the cache is dearer than input");
        }
    }

    /// Compares what calls would cost and which models ids mean, with vanished models kept.
    fn compiled(&mut self, old: &Source, new: &Source) {
        let mut kept = new.clone();
        kept.keep_vanished(old);
        match (old.compile(), kept.compile()) {
            (Ok(before), Ok(now)) => {
                self.findings.extend(moved::findings((&old.file, &before), (&kept.file, &now)));
            }
            (Err(error), _) | (_, Err(error)) => self.tell(Gravity::Refusal, "*".to_owned(), error.0),
        }
    }

    /// Refuses tables that change too much at once.
    fn whole(&mut self, old: &File, new: &File) {
        if old.per_tokens != new.per_tokens {
            let what = format!("prices are per {} tokens, and were per {}", new.per_tokens, old.per_tokens);
            self.tell(Gravity::Refusal, "*".to_owned(), what);
        }
        if old.currency != new.currency {
            let what = format!("prices are in {}, and were in {}", new.currency, old.currency);
            self.tell(Gravity::Refusal, "*".to_owned(), what);
        }
        let count = |file: &File| file.providers.values().map(|provider| provider.models.len()).sum::<usize>();
        let (before, now) = (count(old), count(new));
        if now * 100 < before * 98 {
            self.tell(Gravity::Refusal, "*".to_owned(), format!("the table shrinks from {before} to {now} models"));
        }
        let changed = self.changed.len();
        if before >= 20 && changed * 100 > before * 5 {
            self.tell(Gravity::Refusal, "*".to_owned(), format!("{changed} of {before} models change at once"));
        }
    }
}

/// Every price of a window under a unique name.
pub(super) fn flat(rate: &Rate) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut put = |prefix: &str, list: &Price| {
        out.extend(list.iter().map(|(unit, text)| (format!("{prefix}{unit}"), text.clone())));
    };
    put("", &rate.price);
    put("fee ", &rate.fees_per_1000);
    let tier =
        |at: &super::schema::Tier| at.at_least_input.or(at.over_input.map(|over| over.saturating_add(1))).unwrap_or(0);
    for one in &rate.tiers {
        put(&format!("from {} tokens ", tier(one)), &one.price);
    }
    for adjust in &rate.adjust {
        let when: Vec<String> =
            adjust.when.iter().map(|(word, values)| format!("{word}={}", values.join("|"))).collect();
        let when = when.join("+");
        put(&format!("{when} "), &adjust.price);
        for one in &adjust.tiers {
            put(&format!("{when} from {} tokens ", tier(one)), &one.price);
        }
        if let Some(factor) = &adjust.multiply {
            put(&format!("{when} "), &Price::from([("factor".to_owned(), factor.clone())]));
        }
    }
    out
}
