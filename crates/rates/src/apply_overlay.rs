//! [`apply_overlay`]: applies one overlay to a parsed table. A row for a provider or model that the table below does
//! not list is refused, with the nearest name as a hint, unless it says `new: true`. An overlay's window replaces the
//! base's prices; units without a price in the overlay keep the price below. `overlay` selects the overlays that apply.

use super::compile::{TableProblem, window_end, window_start};
use super::decimal::{Decimal, plain_decimal};
use super::schema::{ModelSpec, PriceTexts, ProviderSpec, RateSpec, TableFile};
use super::source::TableSource;
use super::table::nearest_name;

pub struct OverlayChange {
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
    pub unit: String,
    /// The price in the table below, at the start of the window.
    pub before: Option<String>,
    pub after: String,
    /// Inherited from the table below, because the overlay has no price for it.
    pub inherited: bool,
}

/// The changes, and warnings of an overlay.
type OverlayResult = (Vec<OverlayChange>, Vec<TableProblem>);

/// Applies an overlay to a file. Discounts are applied first, so the overlay's own prices are not discounted. `below`
/// is the name and version of the base; `explain` records sources and changes.
pub(super) fn apply_overlay(
    file: &mut TableFile,
    overlay: &TableSource,
    below: &str,
    explain: bool,
) -> Result<OverlayResult, Vec<TableProblem>> {
    let mut application = OverlayApplication {
        label: overlay.label(),
        tenant: overlay.tenant().map(str::to_owned),
        base_label: below.to_owned(),
        explain,
        ..OverlayApplication::default()
    };
    let written = &*overlay.file;
    if let Some(text) = &written.discount {
        file.providers.values_mut().for_each(|provider| application.apply_discount("discount", provider, text));
        application.record_change("*", None, ("discount", None, text), false);
    }
    file.unit_parents.extend(written.unit_parents.clone());
    file.bedrock_scopes.extend(written.bedrock_scopes.clone());
    for (from, to) in &written.alias {
        let before = file.alias.insert(from.clone(), to.clone());
        application.record_change(from, None, ("alias", before, to), false);
    }
    for (key, over) in &written.providers {
        application.apply_provider(file, key, over);
    }
    let OverlayApplication { problems, changes, warnings, .. } = application;
    if problems.is_empty() { Ok((changes, warnings)) } else { Err(problems) }
}

#[derive(Default)]
struct OverlayApplication {
    label: String,
    tenant: Option<String>,
    base_label: String,
    explain: bool,
    problems: Vec<TableProblem>,
    changes: Vec<OverlayChange>,
    warnings: Vec<TableProblem>,
}

impl OverlayApplication {
    fn report_problem(&mut self, path: String, message: String) {
        self.problems.push(TableProblem { path, message });
    }

    fn record_change(
        &mut self,
        place: &str,
        window: Option<&RateSpec>,
        (unit, before, after): (&str, Option<String>, &str),
        inherited: bool,
    ) {
        if self.explain {
            self.changes.push(OverlayChange {
                overlay: self.label.clone(),
                tenant: self.tenant.clone(),
                place: place.to_owned(),
                from: window.and_then(|rate| rate.from.clone()),
                to: window.and_then(|rate| rate.to.clone()),
                unit: unit.to_owned(),
                before: before.map(plain_decimal),
                after: plain_decimal(after.to_owned()),
                inherited,
            });
        }
    }

    /// Multiplies every price of a provider.
    fn apply_discount(&mut self, path: &str, provider: &mut ProviderSpec, text: &str) {
        let Some(factor) = Decimal::parse(text) else { return };
        for rate in provider.models.iter_mut().flat_map(|model| &mut model.rates) {
            if !multiply_prices(rate, factor) {
                return self
                    .report_problem(path.to_owned(), "a price times the discount has too many digits".to_owned());
            }
            if self.explain {
                for what in rate.flatten_prices().into_keys() {
                    let source = rate.sources.remove(&what).unwrap_or_else(|| self.base_label.clone());
                    rate.sources.insert(what, format!("{source}, times {text} of {}", self.label));
                }
            }
        }
    }

    fn apply_provider(&mut self, file: &mut TableFile, key: &str, over: &ProviderSpec) {
        let place = format!("providers.{key}");
        if !file.providers.contains_key(key) {
            if !over.new {
                return self.report_problem(place, unknown_provider_message(file, key));
            }
            let empty = ProviderSpec { reseller: over.reseller, ..ProviderSpec::default() };
            file.providers.insert(key.to_owned(), empty);
        }
        let fallback = if over.fallback.is_empty() {
            file.providers.get(key).map(|provider| provider.fallback.clone()).unwrap_or_default()
        } else {
            over.fallback.clone()
        };
        let fallback_models: Vec<Option<ModelSpec>> =
            over.models.iter().map(|model| find_fallback_model(file, &fallback, model)).collect();
        let Some(provider) = file.providers.get_mut(key) else { return };
        if let Some(text) = &over.discount {
            self.apply_discount(&format!("{place}.discount"), provider, text);
            self.record_change(&format!("{key}/*"), None, ("discount", None, text), false);
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
        for (at, (model, fallback_model)) in over.models.iter().zip(fallback_models).enumerate() {
            let place = format!("{place}.models[{at}]");
            let is_new = over.new || model.new;
            if let Err(problem) = self.apply_model((key, &place), provider, (model, is_new), fallback_model) {
                self.problems.push(problem);
            }
        }
    }

    /// Applies one model. `fallback_model`: the model as a fallback provider lists it; its prices would apply
    /// otherwise.
    fn apply_model(
        &mut self,
        (key, path): (&str, &str),
        provider: &mut ProviderSpec,
        (model, is_new): (&ModelSpec, bool),
        fallback_model: Option<ModelSpec>,
    ) -> Result<(), TableProblem> {
        let place = format!("{key}/{}", model.id);
        let at = match provider.models.iter().position(|known| is_same(known, model)) {
            Some(at) => at,
            None if is_new => {
                provider.models.push(ModelSpec { new: false, inherit: None, rates: Vec::new(), ..model.clone() });
                provider.models.len().saturating_sub(1)
            }
            None => {
                let unknown = || TableProblem {
                    path: format!("{path}.id"),
                    message: unknown_model_message(key, provider, model),
                };
                let mut added = fallback_model.ok_or_else(unknown)?;
                let is_free =
                    |id: &String| !provider.models.iter().any(|known| known.exact_ids().iter().any(|own| own == id));
                added.ids = added.exact_ids().iter().filter(|id| is_free(id)).cloned().collect();
                added.patterns.clear();
                provider.models.push(added);
                provider.models.len().saturating_sub(1)
            }
        };
        if let Some(known) = provider.models.get_mut(at) {
            self.replace_windows((&place, path), known, model);
        }
        Ok(())
    }

    /// Replaces the base's windows by the overlay's; the base keeps the times outside of them.
    fn replace_windows(&mut self, (place, path): (&str, &str), known: &mut ModelSpec, over: &ModelSpec) {
        let below = known.rates.clone();
        let mut rates = below.clone();
        for (at, window) in over.rates.iter().enumerate() {
            let mut window = window.clone();
            if self.explain {
                window.sources = window.flatten_prices().into_keys().map(|what| (what, self.label.clone())).collect();
            }
            let pieces = if over.inherit == Some(false) { vec![window.clone()] } else { split_window(&below, &window) };
            self.warn_inherited((place, &format!("{path}.rates[{at}]")), over, &below, &window, &pieces);
            for piece in &pieces {
                self.explain_piece(place, &below, &window, piece);
            }
            rates = rates.into_iter().flat_map(|rate| subtract_window(rate, &window)).collect();
            rates.extend(pieces);
        }
        rates.sort_by_key(window_start);
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
    fn warn_inherited(
        &mut self,
        (place, path): (&str, &str),
        over: &ModelSpec,
        below: &[RateSpec],
        window: &RateSpec,
        pieces: &[RateSpec],
    ) {
        if over.inherit.is_some() {
            return;
        }
        let own = window.flatten_prices();
        let mut missing: Vec<String> = pieces.iter().flat_map(|piece| piece.flatten_prices().into_keys()).collect();
        missing.retain(|what| !own.contains_key(what));
        missing.sort();
        missing.dedup();
        let mut overlapping = below.iter().filter(|rate| overlaps(rate, window));
        let has_base_prices_only = window.tiers.is_empty() && window.adjust.is_empty();
        let drops_tiers =
            has_base_prices_only && overlapping.any(|rate| !rate.tiers.is_empty() || !rate.adjust.is_empty());
        if missing.is_empty() && !drops_tiers {
            return;
        }
        let mut message = format!("{place}: ");
        if !missing.is_empty() {
            let list = missing.join(", ");
            message.push_str(&format!("the overlay has no price for {list}, so the base table's price applies; "));
        }
        if drops_tiers {
            message.push_str("`tiers` and `adjust` (long prompts, batch) of the base table no longer apply; ");
        }
        message.push_str("set `inherit: true` to accept this, or `inherit: false` to use no price of the base table");
        self.warnings.push(TableProblem { path: path.to_owned(), message });
    }

    fn explain_piece(&mut self, place: &str, below: &[RateSpec], window: &RateSpec, piece: &RateSpec) {
        if !self.explain {
            return;
        }
        let before = below.iter().find(|rate| overlaps(rate, piece)).map(RateSpec::flatten_prices).unwrap_or_default();
        let own = window.flatten_prices();
        for (what, after) in piece.flatten_prices() {
            let inherited = !own.contains_key(&what);
            self.record_change(place, Some(piece), (&what, before.get(&what).cloned(), &after), inherited);
        }
    }
}

fn is_same(known: &ModelSpec, model: &ModelSpec) -> bool {
    let equal = |id: &str| id.trim().eq_ignore_ascii_case(model.id.trim());
    equal(&known.id) || model.ids.is_empty() && known.ids.iter().any(|id| equal(id))
}

/// The model as the first of the `fallback` providers lists it: without the overlay, calls pay its prices.
fn find_fallback_model(file: &TableFile, fallback: &[String], model: &ModelSpec) -> Option<ModelSpec> {
    let providers = fallback.iter().filter_map(|key| file.providers.get(key));
    providers.flat_map(|provider| &provider.models).find(|known| is_same(known, model)).cloned()
}

fn unknown_provider_message(file: &TableFile, key: &str) -> String {
    let lower = key.trim().to_lowercase();
    let named = file.providers.iter().find(|(_, provider)| provider.names.contains(&lower));
    let hint = match named {
        Some((own, _)) => format!("; the base table calls it {own}"),
        None => nearest_name(&lower, file.providers.keys().map(String::as_str))
            .map_or_else(String::new, |own| format!("; the nearest is {own}")),
    };
    format!("the base table has no provider {key}{hint}; set `new: true` to add it")
}

fn unknown_model_message(key: &str, provider: &ProviderSpec, model: &ModelSpec) -> String {
    let lower = model.id.trim().to_lowercase();
    let hint = nearest_name(&lower, provider.models.iter().flat_map(ModelSpec::exact_ids).map(String::as_str));
    let hint = hint.map_or_else(String::new, |id| format!("; the nearest is {key}/{id}"));
    format!("the base table has no model {key}/{}{hint}; set `new: true` to add it", model.id)
}

fn multiply_prices(rate: &mut RateSpec, factor: Decimal) -> bool {
    rate.price_lists_mut().flat_map(PriceTexts::values_mut).all(|text| {
        let product = Decimal::parse(text).and_then(|price| price.times(factor));
        product.map(|product| *text = product.to_string()).is_some()
    })
}

fn overlaps(one: &RateSpec, other: &RateSpec) -> bool {
    window_end(one) > window_start(other) && window_start(one) < window_end(other)
}

/// The overlay's window, split where the inherited prices below change.
fn split_window(below: &[RateSpec], window: &RateSpec) -> Vec<RateSpec> {
    let (mut out, mut rest) = (Vec::new(), window.clone());
    for rate in below.iter().filter(|rate| overlaps(rate, window)) {
        if window_start(&rest) < window_start(rate) {
            push_window(&mut out, RateSpec { to: rate.from.clone(), ..rest.clone() });
            rest.from.clone_from(&rate.from);
        }
        let mut piece = rest.clone();
        inherit_prices(&mut piece, rate);
        if window_end(rate) >= window_end(&rest) {
            push_window(&mut out, piece);
            return out;
        }
        piece.to.clone_from(&rate.to);
        rest.from.clone_from(&rate.to);
        push_window(&mut out, piece);
    }
    push_window(&mut out, rest);
    out
}

/// Appends a window, or extends the last one if its prices are equal.
fn push_window(out: &mut Vec<RateSpec>, piece: RateSpec) {
    match out.last_mut() {
        Some(last) if (&last.price, &last.fees_per_1000) == (&piece.price, &piece.fees_per_1000) => last.to = piece.to,
        _ => out.push(piece),
    }
}

fn inherit_prices(piece: &mut RateSpec, below: &RateSpec) {
    let RateSpec { price, fees_per_1000, sources, .. } = piece;
    for (own, list, prefix) in [(price, &below.price, ""), (fees_per_1000, &below.fees_per_1000, "fee ")] {
        for (unit, text) in list {
            if !own.contains_key(unit) {
                own.insert(unit.clone(), text.clone());
                let name = format!("{prefix}{unit}");
                sources.extend(below.sources.get(&name).map(|source| (name, source.clone())));
            }
        }
    }
}

/// The parts of a window outside of another.
fn subtract_window(rate: RateSpec, window: &RateSpec) -> Vec<RateSpec> {
    if !overlaps(&rate, window) {
        return vec![rate];
    }
    let mut parts = Vec::new();
    if window_start(&rate) < window_start(window) {
        parts.push(RateSpec { to: window.from.clone(), ..rate.clone() });
    }
    if window_end(window) < window_end(&rate) {
        parts.push(RateSpec { from: window.to.clone(), ..rate });
    }
    parts
}
