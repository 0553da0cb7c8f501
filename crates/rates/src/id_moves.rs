//! Compares the meaning of model ids, aliases, names, fallbacks and patterns in two tables, and the prices of each old
//! model with its successor's. An id that moves to another model changes the cost of calls even if no price changed.
//! An id that the old table lists must mean the same model in the new one. An id that the old table only guessed (a
//! snapshot by its model, a reseller's by its vendor) may become exact at a plausible price. Linear in the number of
//! ids. `price_jumps` compares prices.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::finding::{FindingSeverity, TableFinding};
use super::price_jumps::PriceComparison;
use super::resolved::{ResolvedModel, UnpricedReason};
use super::row::TableModel;
use super::schema::{self, TableFile};
use super::table::{Provider, RateTable};

/// Provider and model, by index.
type ModelIndex = (usize, usize);

/// Compares two tables; the new one must contain the vanished models of the old.
pub(super) fn compare_tables(old: (&TableFile, &RateTable), new: (&TableFile, &RateTable)) -> Vec<TableFinding> {
    let mut comparison = IdComparison::new(old.1, new.1);
    comparison.compare_models();
    comparison.compare_ids();
    comparison.compare_vendors();
    comparison.compare_aliases();
    comparison.compare_names();
    comparison.compare_fallbacks();
    comparison.compare_scopes();
    comparison.compare_patterns(old.0, new.0);
    comparison.findings
}

fn model_index(found: ResolvedModel) -> ModelIndex {
    (found.provider, found.model)
}

struct IdComparison<'t> {
    old: &'t RateTable,
    new: &'t RateTable,
    /// The new index of each old provider, by key.
    providers: Vec<Option<usize>>,
    /// The successor of each old model: the new model with its id.
    models: Vec<Vec<Option<ModelIndex>>>,
    prices: PriceComparison,
    /// Pairs whose prices were compared.
    compared: HashSet<(ModelIndex, ModelIndex)>,
    findings: Vec<TableFinding>,
}

impl<'t> IdComparison<'t> {
    fn new(old: &'t RateTable, new: &'t RateTable) -> Self {
        let keys: HashMap<&str, usize> = new.providers.iter().map(|provider| &*provider.key).zip(0..).collect();
        let providers: Vec<Option<usize>> =
            old.providers.iter().map(|provider| keys.get(&*provider.key).copied()).collect();
        let mut models = Vec::with_capacity(old.providers.len());
        for (provider, now) in old.providers.iter().zip(&providers) {
            let found = now.and_then(|at| Some((at, new.providers.get(at)?)));
            models.push(found.map_or(Vec::new(), |(at, now)| find_successors(provider, now, at)));
        }
        let (prices, compared, findings) = (PriceComparison::default(), HashSet::new(), Vec::new());
        Self { old, new, providers, models, prices, compared, findings }
    }

    fn add_finding(&mut self, severity: FindingSeverity, place: String, description: String) {
        self.findings.push(TableFinding { severity, place, description });
    }

    fn add_refusal(&mut self, place: String, description: String) {
        self.add_finding(FindingSeverity::Refusal, place, description);
    }

    fn successor(&self, old: ModelIndex) -> Option<ModelIndex> {
        self.models.get(old.0)?.get(old.1).copied().flatten()
    }

    /// Compares the prices of an old and a new model, once per pair.
    fn compare_pair(&mut self, old: ModelIndex, new: ModelIndex) {
        let (Some(before), Some(now)) = (table_model(self.old, old), table_model(self.new, new)) else { return };
        if !self.compared.insert((old, new)) {
            return;
        }
        if let Some(what) = self.prices.compare_models(before, now) {
            let by_other =
                if self.successor(old) == Some(new) { String::new() } else { format!(" (by {})", model_name(now)) };
            self.add_refusal(model_name(before), format!("{what}{by_other}"));
        }
    }

    /// Checks that `what` (an id or alias) still means the same model. If the old table `listed` it, another model is
    /// refused even at the same price.
    fn check_same_model(&mut self, what: &str, old: ModelIndex, new: Result<ModelIndex, UnpricedReason>, listed: bool) {
        let Some(before) = table_model(self.old, old) else { return };
        let new = match new {
            Ok(new) => new,
            Err(UnpricedReason::AmbiguousProvider) => {
                let what = format!("{what} is now ambiguous for calls that name no provider");
                return self.add_finding(FindingSeverity::Warning, model_name(before), what);
            }
            Err(_) => return self.add_refusal(model_name(before), format!("{what} no longer has a price")),
        };
        if self.successor(old) == Some(new) {
            return;
        }
        match table_model(self.new, new) {
            Some(now) if listed => {
                self.add_refusal(model_name(before), format!("{what} now means {}", model_name(now)))
            }
            _ => self.compare_pair(old, new),
        }
    }

    /// Compares the prices of every model.
    fn compare_models(&mut self) {
        let pairs: Vec<(ModelIndex, ModelIndex)> = self
            .models
            .iter()
            .enumerate()
            .flat_map(|(provider, list)| {
                let found = list.iter().enumerate();
                found.filter_map(move |(model, new)| Some(((provider, model), (*new)?)))
            })
            .collect();
        for (old, new) in pairs {
            self.compare_pair(old, new);
        }
    }

    /// Compares every id, looked up with its provider.
    fn compare_ids(&mut self) {
        let (old, new) = (self.old, self.new);
        let pairs: Vec<(usize, usize)> =
            self.providers.iter().enumerate().filter_map(|(from, to)| Some((from, (*to)?))).collect();
        for (from, to) in pairs {
            let (Some(before), Some(now)) = (old.providers.get(from), new.providers.get(to)) else { continue };
            for (id, model) in before.catalog().ids.iter().filter(|(id, _)| old.resolve_alias(id).is_none()) {
                let found = match (new.resolve_alias(id), now.catalog().ids.get(id)) {
                    (Some(alias), _) => Some(model_index(alias)),
                    (None, Some(model)) => Some((to, *model)),
                    (None, None) => new.find_model(to, id, false).map(model_index),
                };
                self.check_same_model(
                    &format!("id {id}"),
                    (from, *model),
                    found.ok_or(UnpricedReason::UnknownModel),
                    true,
                );
            }
            for (id, model) in now.catalog().ids.iter().filter(|(id, _)| !before.catalog().ids.contains_key(*id)) {
                if let Some(guessed) = old.find_model(from, id, false) {
                    self.check_same_model(&format!("id {id}"), model_index(guessed), Ok((to, *model)), false);
                }
            }
        }
    }

    /// Compares ids looked up without a provider, if the vendors that list them changed.
    fn compare_vendors(&mut self) {
        let (before, now) = (vendors_by_id(self.old), vendors_by_id(self.new));
        let ids: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
        for id in ids.into_iter().filter(|id| before.get(id) != now.get(id)) {
            if let Ok(found) = self.old.resolve_one("", id) {
                let new = self.new.resolve_one("", id).map(model_index);
                self.check_same_model(
                    &format!("id {id} without a provider"),
                    model_index(found),
                    new,
                    before.contains_key(id),
                );
            }
        }
    }

    /// Compares aliases of the old table, and ids that a new alias overrides (`compare_ids` checks the listed ones).
    fn compare_aliases(&mut self) {
        let (old, new) = (self.old, self.new);
        for (alias, found) in &old.aliases {
            self.check_same_model(
                &format!("alias {alias}"),
                model_index(*found),
                new.resolve_one("", alias).map(model_index),
                true,
            );
        }
        for (alias, found) in new.aliases.iter().filter(|(alias, _)| !old.aliases.contains_key(*alias)) {
            if let Ok(guessed) = old.resolve_one("", alias) {
                let listed = !guessed.date_dropped && !guessed.vendor_inferred;
                self.check_same_model(&format!("id {alias}"), model_index(guessed), Ok(model_index(*found)), listed);
            }
        }
    }

    /// Compares the names of providers.
    fn compare_names(&mut self) {
        let (old, new) = (self.old, self.new);
        let key = |table: &'t RateTable, at: usize| table.providers.get(at).map(|provider| &*provider.key);
        for name in old.names.keys().chain(new.names.keys()) {
            // look-ups also find a provider's name without its suffix
            let Some(was) = old.provider_index(name).and_then(|at| key(old, at)) else { continue };
            match new.provider_index(name).and_then(|at| key(new, at)) {
                Some(is) if is == was => {}
                Some(is) => self.add_refusal(format!("{was}/*"), format!("provider name {name} now means {is}")),
                None => self.add_refusal(format!("{was}/*"), format!("provider name {name} is missing")),
            }
        }
    }

    /// Compares fallback providers: new ones may only be appended.
    fn compare_fallbacks(&mut self) {
        let keys = |table: &'t RateTable, at: usize| -> Vec<&'t str> {
            let list = table.providers.get(at).map_or(&[][..], |provider| &provider.fallback);
            list.iter().filter_map(|at| Some(&*table.providers.get(*at)?.key)).collect()
        };
        for (at, provider) in self.old.providers.iter().enumerate() {
            let Some(to) = self.providers.get(at).copied().flatten() else { continue };
            let (was, is) = (keys(self.old, at), keys(self.new, to));
            if !is.starts_with(&was) {
                let what = format!("falls back to [{}]; in the table in use, to [{}]", is.join(", "), was.join(", "));
                self.add_refusal(format!("{}/*", provider.key), what);
            }
        }
    }

    /// Compares the scopes that the first segment of a Bedrock id may name.
    fn compare_scopes(&mut self) {
        let scope = |table: &'t RateTable, name: &str| {
            table.scopes.iter().find(|(known, _)| **known == *name).map(|(_, scope)| &**scope)
        };
        let bare = [("".into(), "region".into())];
        for (name, _) in self.old.scopes.iter().chain(&bare) {
            let default = if name.is_empty() { "region" } else { "nothing" };
            let (was, is) = (scope(self.old, name).unwrap_or(default), scope(self.new, name).unwrap_or(default));
            if was != is {
                self.add_refusal(
                    "aws/*".to_owned(),
                    format!("Bedrock scope \"{name}\" means {is}; in the table in use, {was}"),
                );
            }
        }
    }

    /// Compares patterns: old ones must be unchanged, and new ones may not take precedence over them or over a
    /// fallback.
    fn compare_patterns(&mut self, old: &TableFile, new: &TableFile) {
        for (key, before) in &old.providers {
            let Some(now) = new.providers.get(key) else { continue };
            let (was, is) = (list_patterns(before), list_patterns(now));
            if was == is {
                continue;
            }
            let known: BTreeMap<&str, &str> = was.iter().copied().collect();
            let remaining: Vec<(&str, &str)> =
                is.iter().copied().filter(|(text, _)| known.contains_key(text)).collect();
            if remaining != was {
                self.add_refusal(format!("{key}/*"), "id patterns were changed, reordered or removed".to_owned());
            }
            let last = is.iter().rposition(|(text, _)| known.contains_key(text));
            for (at, (text, model)) in is.iter().enumerate().filter(|(_, (text, _))| !known.contains_key(text)) {
                if last.is_some_and(|last| at < last) || !now.fallback.is_empty() {
                    let what =
                        format!("the new pattern {text} takes precedence over an existing pattern or a fallback");
                    self.add_refusal(format!("{key}/{model}"), what);
                }
            }
        }
    }
}

/// The new model for each old one.
fn find_successors(old: &Provider, new: &Provider, at: usize) -> Vec<Option<ModelIndex>> {
    let new = new.catalog();
    let canonical: HashMap<&str, usize> = new.models.iter().map(|model| &*model.id).zip(0..).collect();
    let found = |id: &str| canonical.get(id).or_else(|| new.ids.get(id.to_lowercase().as_str()));
    old.catalog().models.iter().map(|model| Some((at, *found(&model.id)?))).collect()
}

fn table_model(table: &RateTable, at: ModelIndex) -> Option<TableModel<'_>> {
    let provider = table.providers.get(at.0)?;
    Some(TableModel { table, provider, model: provider.catalog().models.get(at.1)? })
}

fn model_name(place: TableModel<'_>) -> String {
    format!("{}/{}", place.provider.key, place.model.id)
}

/// The vendors (not resellers) that list each id.
fn vendors_by_id(table: &RateTable) -> HashMap<&str, Vec<&str>> {
    let mut out: HashMap<&str, Vec<&str>> = HashMap::new();
    for provider in table.providers.iter().filter(|provider| !provider.reseller) {
        for id in provider.catalog().ids.keys() {
            out.entry(id).or_default().push(&provider.key);
        }
    }
    out
}

/// Patterns in the order in which they are tried, with their models.
fn list_patterns(provider: &schema::ProviderSpec) -> Vec<(&str, &str)> {
    let models = provider.models.iter();
    models.flat_map(|model| model.patterns.iter().map(|pattern| (pattern.as_str(), model.id.as_str()))).collect()
}
