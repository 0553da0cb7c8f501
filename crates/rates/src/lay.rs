//! [`lay`]: applies one overlay to a parsed table. A row for a provider or model that the table below does not list is
//! refused, with the nearest name as a hint, unless it says `new: true`. An overlay's window replaces the base's
//! prices; units without a price in the overlay keep the price below. `overlay` selects the overlays that apply.

use std::collections::BTreeMap;

use super::compile::{Wrong, end, start};
use super::decimal::{Decimal, plain};
use super::diff::{flat, ids};
use super::schema::{File, Model, Price, Provider, Rate};
use super::source::Source;

/// Names less similar than this are not offered as hints.
const ALIKE: f64 = 0.7;

/// One change made by an overlay.
pub struct Change {
    /// File name and version of the overlay.
    pub overlay: String,
    /// The tenant the overlay applies to; `None` = all.
    pub tenant: Option<String>,
    /// `provider/model`; `provider/*` or `*` for discounts; or an alias.
    pub place: String,
    /// Start of the window; `None` = no start.
    pub from: Option<String>,
    /// End of the window; `None` = open.
    pub to: Option<String>,
    /// The unit and its circumstances; or `discount`, `alias`.
    pub what: String,
    /// The price in the table below, at the start of the window.
    pub before: Option<String>,
    /// The new price.
    pub after: String,
    /// Inherited from the table below, because the overlay has no price for it.
    pub inherited: bool,
}

/// The result of applying an overlay.
#[derive(Default)]
pub(super) struct Laid {
    pub(super) changes: Vec<Change>,
    pub(super) warnings: Vec<Wrong>,
}

/// Applies an overlay to a file. Discounts are applied first, so the overlay's own prices are not discounted. `below`
/// is the name and version of the base; `explain` records sources and changes.
pub(super) fn lay(file: &mut File, overlay: &Source, below: &str, explain: bool) -> Result<Laid, Vec<Wrong>> {
    let mut laying = Laying {
        label: overlay.label(),
        tenant: overlay.tenant().map(str::to_owned),
        below: below.to_owned(),
        explain,
        wrong: Vec::new(),
        laid: Laid::default(),
    };
    let over = &*overlay.file;
    if let Some(text) = &over.discount {
        file.providers.values_mut().for_each(|provider| laying.discount("discount", provider, text));
        laying.change("*", None, ("discount", None, text), false);
    }
    file.unit_parents.extend(over.unit_parents.clone());
    file.bedrock_scopes.extend(over.bedrock_scopes.clone());
    for (from, to) in &over.alias {
        let before = file.alias.insert(from.clone(), to.clone());
        laying.change(from, None, ("alias", before, to), false);
    }
    for (key, over) in &over.providers {
        laying.provider(file, key, over);
    }
    if laying.wrong.is_empty() { Ok(laying.laid) } else { Err(laying.wrong) }
}

struct Laying {
    label: String,
    tenant: Option<String>,
    below: String,
    explain: bool,
    wrong: Vec<Wrong>,
    laid: Laid,
}

impl Laying {
    fn tell(&mut self, path: String, what: String) {
        self.wrong.push(Wrong { path, what });
    }

    fn change(&mut self, place: &str, window: Option<&Rate>, priced: (&str, Option<String>, &str), inherited: bool) {
        let (what, before, after) = priced;
        if self.explain {
            self.laid.changes.push(Change {
                overlay: self.label.clone(),
                tenant: self.tenant.clone(),
                place: place.to_owned(),
                from: window.and_then(|rate| rate.from.clone()),
                to: window.and_then(|rate| rate.to.clone()),
                what: what.to_owned(),
                before: before.map(plain),
                after: plain(after.to_owned()),
                inherited,
            });
        }
    }

    /// Multiplies every price of a provider.
    fn discount(&mut self, path: &str, provider: &mut Provider, text: &str) {
        let Some(factor) = Decimal::parse(text) else { return };
        for rate in provider.models.iter_mut().flat_map(|model| &mut model.rates) {
            if !multiply(rate, factor) {
                return self.tell(path.to_owned(), "a price times the discount can't be held".to_owned());
            }
            if self.explain {
                for what in flat(rate).into_keys() {
                    let source = rate.sources.remove(&what).unwrap_or_else(|| self.below.clone());
                    rate.sources.insert(what, format!("{source}, times {text} of {}", self.label));
                }
            }
        }
    }

    fn provider(&mut self, file: &mut File, key: &str, over: &Provider) {
        let place = format!("providers.{key}");
        if !file.providers.contains_key(key) {
            if !over.new {
                return self.tell(place, unknown_provider(file, key));
            }
            let empty = Provider { reseller: over.reseller, ..Provider::default() };
            file.providers.insert(key.to_owned(), empty);
        }
        let fallback = if over.fallback.is_empty() {
            file.providers.get(key).map(|provider| provider.fallback.clone()).unwrap_or_default()
        } else {
            over.fallback.clone()
        };
        let sold: Vec<Option<Model>> = over.models.iter().map(|model| sold_by(file, &fallback, model)).collect();
        let Some(provider) = file.providers.get_mut(key) else { return };
        if let Some(text) = &over.discount {
            self.discount(&format!("{place}.discount"), provider, text);
            self.change(&format!("{key}/*"), None, ("discount", None, text), false);
        }
        if provider.names.is_empty() && !over.names.is_empty() && !over.new {
            provider.names.push(key.to_owned());
        }
        for name in &over.names {
            if !provider.names.contains(name) {
                provider.names.push(name.clone());
            }
        }
        provider.fallback = fallback;
        for (at, (model, sold)) in over.models.iter().zip(sold).enumerate() {
            let place = format!("{place}.models[{at}]");
            let new = over.new || model.new;
            if let Err(wrong) = self.model((key, &place), provider, (model, new), sold) {
                self.wrong.push(wrong);
            }
        }
    }

    /// Applies one model. `sold` is the model as a fallback provider lists it, whose prices would apply otherwise.
    fn model(
        &mut self,
        (key, path): (&str, &str),
        provider: &mut Provider,
        (model, new): (&Model, bool),
        sold: Option<Model>,
    ) -> Result<(), Wrong> {
        let place = format!("{key}/{}", model.id);
        let at = match provider.models.iter().position(|known| is_same(known, model)) {
            Some(at) => at,
            None if new => {
                let own = Model { new: false, inherit: None, ..model.clone() };
                provider.models.push(Model { rates: Vec::new(), ..own });
                provider.models.len().saturating_sub(1)
            }
            None => {
                let unknown = || Wrong { path: format!("{path}.id"), what: unknown_model(key, provider, model) };
                let mut sold = sold.ok_or_else(unknown)?;
                let free = |id: &String| !provider.models.iter().any(|known| ids(known).any(|own| own == id));
                sold.ids = ids(&sold).filter(|id| free(id)).cloned().collect();
                sold.patterns.clear();
                provider.models.push(sold);
                provider.models.len().saturating_sub(1)
            }
        };
        if let Some(known) = provider.models.get_mut(at) {
            self.replace((&place, path), known, model);
        }
        Ok(())
    }

    /// Replaces the base's windows by the overlay's; the base keeps the times outside of them.
    fn replace(&mut self, (place, path): (&str, &str), known: &mut Model, over: &Model) {
        let below = known.rates.clone();
        let mut rates = below.clone();
        for (at, window) in over.rates.iter().enumerate() {
            let mut window = window.clone();
            if self.explain {
                window.sources = flat(&window).into_keys().map(|what| (what, self.label.clone())).collect();
            }
            let pieces = if over.inherit == Some(false) { vec![window.clone()] } else { pieces(&below, &window) };
            self.warn((place, &format!("{path}.rates[{at}]")), over, &below, &window, &pieces);
            for piece in &pieces {
                self.explain_piece(place, &below, &window, piece);
            }
            rates = rates.into_iter().flat_map(|rate| without(rate, &window)).collect();
            rates.extend(pieces);
        }
        rates.sort_by_key(start);
        known.rates = rates;
        for id in &over.ids {
            if !known.ids.contains(id) {
                if known.ids.is_empty() {
                    known.ids.push(known.id.clone());
                }
                known.ids.push(id.clone());
            }
        }
        let more = over.patterns.iter().filter(|pattern| !known.patterns.contains(pattern)).cloned();
        known.patterns.extend(more.collect::<Vec<_>>());
    }

    /// Warns of prices that the overlay leaves to the table below, unless the overlay sets `inherit`.
    fn warn(&mut self, (place, path): (&str, &str), over: &Model, below: &[Rate], window: &Rate, pieces: &[Rate]) {
        if over.inherit.is_some() {
            return;
        }
        let own = flat(window);
        let mut missing: Vec<String> = pieces.iter().flat_map(|piece| flat(piece).into_keys()).collect();
        missing.retain(|what| !own.contains_key(what));
        missing.sort();
        missing.dedup();
        let meets = |rate: &&Rate| end(rate) > start(window) && start(rate) < end(window);
        let mut met = below.iter().filter(meets);
        let bare = window.tiers.is_empty() && window.adjust.is_empty();
        let dropped = bare && met.any(|rate| !rate.tiers.is_empty() || !rate.adjust.is_empty());
        if missing.is_empty() && !dropped {
            return;
        }
        let mut what = format!("{place}: ");
        if !missing.is_empty() {
            let list = missing.join(", ");
            what.push_str(&format!("no price here for {list}: calls pay the price of the table below for that; "));
        }
        if dropped {
            what.push_str("`tiers` and `adjust` (long prompts, batch) of the table below are not taken over; ");
        }
        what.push_str("`inherit: true` says that this is meant, `inherit: false` takes no price from below");
        self.laid.warnings.push(Wrong { path: path.to_owned(), what });
    }

    fn explain_piece(&mut self, place: &str, below: &[Rate], window: &Rate, piece: &Rate) {
        if !self.explain {
            return;
        }
        let meets = |rate: &&Rate| end(rate) > start(piece) && start(rate) < end(piece);
        let before = below.iter().find(meets).map(flat).unwrap_or_default();
        let own = flat(window);
        for (what, after) in flat(piece) {
            let inherited = !own.contains_key(&what);
            self.change(place, Some(piece), (&what, before.get(&what).cloned(), &after), inherited);
        }
    }
}

fn is_same(known: &Model, model: &Model) -> bool {
    let equal = |id: &str| id.trim().eq_ignore_ascii_case(model.id.trim());
    equal(&known.id) || model.ids.is_empty() && known.ids.iter().any(|id| equal(id))
}

/// The model as the first of the `fallback` providers lists it: without the overlay, calls pay its prices.
fn sold_by(file: &File, fallback: &[String], model: &Model) -> Option<Model> {
    let providers = fallback.iter().filter_map(|key| file.providers.get(key));
    providers.flat_map(|provider| &provider.models).find(|known| is_same(known, model)).cloned()
}

fn unknown_provider(file: &File, key: &str) -> String {
    let lower = key.trim().to_lowercase();
    let called = file.providers.iter().find(|(_, provider)| provider.names.contains(&lower));
    let hint = match called {
        Some((own, _)) => format!("; the table below calls it {own}"),
        None => {
            nearest(&lower, file.providers.keys()).map_or_else(String::new, |own| format!("; the nearest is {own}"))
        }
    };
    format!("the table below has no provider {key}{hint}; `new: true` for one that it does not list")
}

fn unknown_model(key: &str, provider: &Provider, model: &Model) -> String {
    let lower = model.id.trim().to_lowercase();
    let hint = nearest(&lower, provider.models.iter().flat_map(ids));
    let hint = hint.map_or_else(String::new, |id| format!("; the nearest is {key}/{id}"));
    format!("the table below has no model {key}/{}{hint}; `new: true` for one that it does not list", model.id)
}

fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n String>) -> Option<&'n String> {
    let scored = names.map(|name| (strsim::jaro_winkler(word, name), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)));
    best.filter(|(likeness, _)| *likeness > ALIKE).map(|(_, name)| name)
}

fn multiply(rate: &mut Rate, factor: Decimal) -> bool {
    rate.lists().all(|list: &mut Price| {
        list.values_mut().all(|text| match Decimal::parse(text).and_then(|price| price.times(factor)) {
            Some(price) => {
                *text = price.to_string();
                true
            }
            None => false,
        })
    })
}

/// The overlay's window, split where the inherited prices below change.
fn pieces(below: &[Rate], window: &Rate) -> Vec<Rate> {
    let (mut out, mut left) = (Vec::new(), window.clone());
    for rate in below.iter().filter(|rate| end(rate) > start(window) && start(rate) < end(window)) {
        if start(&left) < start(rate) {
            push(&mut out, Rate { to: rate.from.clone(), ..left.clone() });
            left.from.clone_from(&rate.from);
        }
        let mut piece = left.clone();
        inherit(&mut piece, rate);
        if end(rate) >= end(&left) {
            push(&mut out, piece);
            return out;
        }
        piece.to.clone_from(&rate.to);
        left.from.clone_from(&rate.to);
        push(&mut out, piece);
    }
    push(&mut out, left);
    out
}

/// Appends a window, or extends the last one if its prices are equal.
fn push(out: &mut Vec<Rate>, piece: Rate) {
    match out.last_mut() {
        Some(last) if (&last.price, &last.fees_per_1000) == (&piece.price, &piece.fees_per_1000) => last.to = piece.to,
        _ => out.push(piece),
    }
}

fn inherit(piece: &mut Rate, below: &Rate) {
    let missing = |own: &Price, list: &Price| -> BTreeMap<String, String> {
        list.iter()
            .filter(|(unit, _)| !own.contains_key(*unit))
            .map(|(unit, text)| (unit.clone(), text.clone()))
            .collect()
    };
    let (units, fees) = (missing(&piece.price, &below.price), missing(&piece.fees_per_1000, &below.fees_per_1000));
    let named = units.keys().cloned().chain(fees.keys().map(|fee| format!("fee {fee}")));
    for what in named {
        if let Some(source) = below.sources.get(&what) {
            piece.sources.insert(what, source.clone());
        }
    }
    piece.price.extend(units);
    piece.fees_per_1000.extend(fees);
}

/// The parts of a window outside of another.
fn without(rate: Rate, window: &Rate) -> Vec<Rate> {
    if end(&rate) <= start(window) || end(window) <= start(&rate) {
        return vec![rate];
    }
    let mut left = Vec::new();
    if start(&rate) < start(window) {
        left.push(Rate { to: window.from.clone(), ..rate.clone() });
    }
    if end(window) < end(&rate) {
        left.push(Rate { from: window.to.clone(), ..rate });
    }
    left
}
