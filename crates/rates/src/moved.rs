//! Compares the meaning of model ids, aliases, names, fallbacks and patterns in two tables, and the prices of each old
//! model with its successor's. An id that moves to another model changes the cost of calls even if no price changed.
//! An id that the old table lists must mean the same model in the new one. An id that the old table only guessed (a
//! snapshot by its model, a reseller's by its vendor) may become exact at a plausible price. Linear in the number of
//! ids. `effective` compares prices.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::effective::Compare;
use super::finding::{Finding, Gravity};
use super::resolved::{Resolved, Unpriced};
use super::row::Place;
use super::schema::{self, File};
use super::table::{Provider, Table};

/// Provider and model, by index.
type At = (usize, usize);

/// Compares two tables; the new one must contain the vanished models of the old.
pub(super) fn findings(old: (&File, &Table), new: (&File, &Table)) -> Vec<Finding> {
    let mut judge = Judge::new(old.1, new.1);
    judge.models();
    judge.ids();
    judge.vendors();
    judge.aliases();
    judge.names();
    judge.fallbacks();
    judge.scopes();
    judge.patterns(old.0, new.0);
    judge.findings
}

fn at(found: Resolved) -> At {
    (found.provider, found.model)
}

struct Judge<'t> {
    old: &'t Table,
    new: &'t Table,
    /// The new index of each old provider, by key.
    providers: Vec<Option<usize>>,
    /// The successor of each old model: the new model with its id.
    models: Vec<Vec<Option<At>>>,
    compare: Compare,
    compared: HashSet<(At, At)>,
    findings: Vec<Finding>,
}

impl<'t> Judge<'t> {
    fn new(old: &'t Table, new: &'t Table) -> Self {
        let keys: HashMap<&str, usize> = new.providers.iter().map(|provider| &*provider.key).zip(0..).collect();
        let counterparts = old.providers.iter().map(|provider| keys.get(&*provider.key).copied());
        let providers: Vec<Option<usize>> = counterparts.collect();
        let mut models = Vec::with_capacity(old.providers.len());
        for (provider, now) in old.providers.iter().zip(&providers) {
            let found = now.and_then(|at| Some((at, new.providers.get(at)?)));
            models.push(found.map_or(Vec::new(), |(at, now)| successors(provider, now, at)));
        }
        let (compare, compared, findings) = (Compare::default(), HashSet::new(), Vec::new());
        Self { old, new, providers, models, compare, compared, findings }
    }

    fn tell(&mut self, gravity: Gravity, place: String, what: String) {
        self.findings.push(Finding { gravity, place, what });
    }

    fn refuse(&mut self, place: String, what: String) {
        self.tell(Gravity::Refusal, place, what);
    }

    fn successor(&self, old: At) -> Option<At> {
        self.models.get(old.0)?.get(old.1).copied().flatten()
    }

    /// Compares the prices of an old and a new model, once per pair.
    fn pair(&mut self, old: At, new: At) {
        let (Some(before), Some(now)) = (place(self.old, old), place(self.new, new)) else { return };
        if !self.compared.insert((old, new)) {
            return;
        }
        if let Some(what) = self.compare.models(before, now) {
            let other = if self.successor(old) == Some(new) { String::new() } else { format!(" (by {})", name(now)) };
            self.refuse(name(before), format!("{what}{other}"));
        }
    }

    /// Checks that `what` still means the same model. If it was `listed`, another model is refused even at the same
    /// price.
    fn same(&mut self, what: &str, old: At, new: Result<At, Unpriced>, listed: bool) {
        let Some(before) = place(self.old, old) else { return };
        let new = match new {
            Ok(new) => new,
            Err(Unpriced::AmbiguousProvider) => {
                let what = format!("{what} is ambiguous now for calls that name no provider");
                return self.tell(Gravity::Warning, name(before), what);
            }
            Err(_) => return self.refuse(name(before), format!("{what} has no price any more")),
        };
        if self.successor(old) == Some(new) {
            return;
        }
        match place(self.new, new) {
            Some(now) if listed => self.refuse(name(before), format!("{what} means {} now", name(now))),
            _ => self.pair(old, new),
        }
    }

    /// Compares the prices of every model.
    fn models(&mut self) {
        let pairs: Vec<(At, At)> = self
            .models
            .iter()
            .enumerate()
            .flat_map(|(provider, list)| {
                let found = list.iter().enumerate();
                found.filter_map(move |(model, new)| Some(((provider, model), (*new)?)))
            })
            .collect();
        for (old, new) in pairs {
            self.pair(old, new);
        }
    }

    /// Compares every id, looked up with its provider.
    fn ids(&mut self) {
        let (old, new) = (self.old, self.new);
        let pairs: Vec<(usize, usize)> =
            self.providers.iter().enumerate().filter_map(|(from, to)| Some((from, (*to)?))).collect();
        for (from, to) in pairs {
            let (Some(before), Some(now)) = (old.providers.get(from), new.providers.get(to)) else { continue };
            for (id, model) in before.catalog().ids.iter().filter(|(id, _)| old.alias(id).is_none()) {
                let found = match (new.alias(id), now.catalog().ids.get(id)) {
                    (Some(alias), _) => Some(at(alias)),
                    (None, Some(model)) => Some((to, *model)),
                    (None, None) => new.at(to, id, false).map(at),
                };
                self.same(&format!("id {id}"), (from, *model), found.ok_or(Unpriced::UnknownModel), true);
            }
            for (id, model) in now.catalog().ids.iter().filter(|(id, _)| !before.catalog().ids.contains_key(*id)) {
                if let Some(guessed) = old.at(from, id, false) {
                    self.same(&format!("id {id}"), at(guessed), Ok((to, *model)), false);
                }
            }
        }
    }

    /// Compares ids looked up without a provider, if the vendors that list them changed.
    fn vendors(&mut self) {
        let (before, now) = (vendors(self.old), vendors(self.new));
        let ids: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
        for id in ids.into_iter().filter(|id| before.get(id) != now.get(id)) {
            if let Ok(found) = self.old.resolve_one("", id) {
                let new = self.new.resolve_one("", id).map(at);
                self.same(&format!("id {id} without a provider"), at(found), new, before.contains_key(id));
            }
        }
    }

    /// Compares aliases of the old table, and ids that a new alias overrides (`ids` checks the listed ones).
    fn aliases(&mut self) {
        let (old, new) = (self.old, self.new);
        for (alias, found) in &old.aliases {
            self.same(&format!("alias {alias}"), at(*found), new.resolve_one("", alias).map(at), true);
        }
        for (alias, found) in new.aliases.iter().filter(|(alias, _)| !old.aliases.contains_key(*alias)) {
            if let Ok(guessed) = old.resolve_one("", alias) {
                let listed = !guessed.date_dropped && !guessed.vendor_inferred;
                self.same(&format!("id {alias}"), at(guessed), Ok(at(*found)), listed);
            }
        }
    }

    /// Compares the names of providers.
    fn names(&mut self) {
        let (old, new) = (self.old, self.new);
        let key = |table: &'t Table, at: usize| table.providers.get(at).map(|provider| &*provider.key);
        for name in old.names.keys().chain(new.names.keys()) {
            // look-ups also find a provider's name without its suffix
            let Some(was) = old.provider_named(name).and_then(|at| key(old, at)) else { continue };
            match new.provider_named(name).and_then(|at| key(new, at)) {
                Some(is) if is == was => {}
                Some(is) => self.refuse(format!("{was}/*"), format!("provider name {name} means {is} now")),
                None => self.refuse(format!("{was}/*"), format!("provider name {name} is gone")),
            }
        }
    }

    /// Compares fallback providers: new ones may only be appended.
    fn fallbacks(&mut self) {
        let keys = |table: &'t Table, at: usize| -> Vec<&'t str> {
            let list = table.providers.get(at).map_or(&[][..], |provider| &provider.fallback);
            list.iter().filter_map(|at| Some(&*table.providers.get(*at)?.key)).collect()
        };
        for (at, provider) in self.old.providers.iter().enumerate() {
            let Some(to) = self.providers.get(at).copied().flatten() else { continue };
            let (was, is) = (keys(self.old, at), keys(self.new, to));
            if !is.starts_with(&was) {
                let what = format!("falls back to [{}], and to [{}] before", is.join(", "), was.join(", "));
                self.refuse(format!("{}/*", provider.key), what);
            }
        }
    }

    /// Compares the scopes that the first segment of a Bedrock id may name.
    fn scopes(&mut self) {
        let scope = |table: &'t Table, name: &str| {
            table.scopes.iter().find(|(known, _)| **known == *name).map(|(_, scope)| &**scope)
        };
        let bare = [("".into(), "region".into())];
        for (name, _) in self.old.scopes.iter().chain(&bare) {
            let default = if name.is_empty() { "region" } else { "nothing" };
            let (was, is) = (scope(self.old, name).unwrap_or(default), scope(self.new, name).unwrap_or(default));
            if was != is {
                self.refuse("aws/*".to_owned(), format!("Bedrock scope \"{name}\" means {is}, and meant {was}"));
            }
        }
    }

    /// Compares patterns: old ones must be unchanged, and new ones may not take precedence over them or over a
    /// fallback.
    fn patterns(&mut self, old: &File, new: &File) {
        for (key, before) in &old.providers {
            let Some(now) = new.providers.get(key) else { continue };
            let (was, is) = (patterns(before), patterns(now));
            if was == is {
                continue;
            }
            let known: BTreeMap<&str, &str> = was.iter().copied().collect();
            let stayed: Vec<(&str, &str)> = is.iter().copied().filter(|(text, _)| known.contains_key(text)).collect();
            if stayed != was {
                self.refuse(format!("{key}/*"), "patterns of ids changed, moved or are gone".to_owned());
            }
            let last = is.iter().rposition(|(text, _)| known.contains_key(text));
            for (at, (text, model)) in is.iter().enumerate().filter(|(_, (text, _))| !known.contains_key(text)) {
                if last.is_some_and(|last| at < last) || !now.fallback.is_empty() {
                    let what = format!("the new pattern {text} stands before what other ids were priced by");
                    self.refuse(format!("{key}/{model}"), what);
                }
            }
        }
    }
}

/// The new model for each old one.
fn successors(old: &Provider, new: &Provider, at: usize) -> Vec<Option<At>> {
    let new = new.catalog();
    let canonical: HashMap<&str, usize> = new.models.iter().map(|model| &*model.id).zip(0..).collect();
    let found = |id: &str| canonical.get(id).or_else(|| new.ids.get(id.to_lowercase().as_str()));
    old.catalog().models.iter().map(|model| Some((at, *found(&model.id)?))).collect()
}

fn place(table: &Table, at: At) -> Option<Place<'_>> {
    let provider = table.providers.get(at.0)?;
    Some(Place { table, provider, model: provider.catalog().models.get(at.1)? })
}

fn name(place: Place<'_>) -> String {
    format!("{}/{}", place.provider.key, place.model.id)
}

/// The vendors (not resellers) that list each id.
fn vendors(table: &Table) -> HashMap<&str, Vec<&str>> {
    let mut out: HashMap<&str, Vec<&str>> = HashMap::new();
    for provider in table.providers.iter().filter(|provider| !provider.reseller) {
        for id in provider.catalog().ids.keys() {
            out.entry(id).or_default().push(&provider.key);
        }
    }
    out
}

/// Patterns in the order in which they are tried, with their models.
fn patterns(provider: &schema::Provider) -> Vec<(&str, &str)> {
    let models = provider.models.iter();
    models.flat_map(|model| model.patterns.iter().map(|pattern| (pattern.as_str(), model.id.as_str()))).collect()
}
