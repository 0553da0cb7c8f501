//! **What**: contract prices: overlays laid over a table, for everybody or for one tenant ([`Rates`]). **Invariants**: an
//! overlay's model replaces the base's windows where both speak of a time, and nothing else; base and overlays all enter
//! the stamp's digest; what is wrong with an overlay is told with its own line.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::{Wrong, compile, time};
use super::decimal::Decimal;
use super::schema::{File, Model, Price, Rate};
use super::source::{Source, digest};
use super::table::{RatesError, Table};

/// The keys that a `match` may name.
const TENANT_KEYS: [&str; 2] = ["tenant.id", "tenant"];

/// A table with its overlays: one for everybody, others for tenants that have contracts of their own.
pub struct Rates {
    common: Arc<Table>,
    tenants: HashMap<Box<str>, Arc<Table>>,
    /// What tells a tenant's own overlays, by tenant: a digest of their files.
    contracts: HashMap<Box<str>, Box<str>>,
}

impl Rates {
    /// Lays `overlays` over `base`, in order.
    ///
    /// # Errors
    /// Everything wrong with the first file that is wrong, one thing a line, each with its place.
    pub fn build(base: &Source, overlays: &[Source]) -> Result<Self, RatesError> {
        // alone first: what is wrong with a file is told at its own lines
        let whole = base.shared()?;
        let mut tenants: Vec<&str> = Vec::new();
        for overlay in overlays {
            overlay.check_overlay(base)?;
            if let Some(tenant) = overlay.tenant().filter(|tenant| !tenants.contains(tenant)) {
                tenants.push(tenant);
            }
        }
        let overlaid = overlays.iter().any(|overlay| overlay.tenant().is_none());
        let common = if overlaid { Arc::new(laid(base, overlays, None)?) } else { whole };
        let laid = |tenant: &&str| Ok(((*tenant).into(), Arc::new(laid(base, overlays, Some(tenant))?)));
        let contracts = tenants.iter().map(|tenant| ((*tenant).into(), contract(overlays, tenant))).collect();
        let tenants = tenants.iter().map(laid).collect::<Result<_, RatesError>>()?;
        Ok(Self { common, tenants, contracts })
    }

    /// What tells the overlays that hold for this tenant alone: index rows keep it, as they may not keep the tenant.
    pub fn contract(&self, tenant: Option<&str>) -> Option<&str> {
        self.contracts.get(tenant?).map(|contract| &**contract)
    }

    /// The table of the tenant whose own overlays these are.
    pub fn by_contract(&self, contract: &str) -> Option<&Arc<Table>> {
        let (tenant, _) = self.contracts.iter().find(|(_, known)| &***known == contract)?;
        self.tenants.get(tenant)
    }

    /// The table for calls of `tenant`.
    pub fn table(&self, tenant: Option<&str>) -> &Arc<Table> {
        tenant.and_then(|tenant| self.tenants.get(tenant)).unwrap_or(&self.common)
    }

    /// The table for everybody without one of their own.
    pub fn common(&self) -> &Arc<Table> {
        &self.common
    }

    /// Tenants with a table of their own.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(|tenant| &**tenant)
    }
}

/// A digest of the overlays that hold for this tenant alone.
fn contract(overlays: &[Source], tenant: &str) -> Box<str> {
    let own = overlays.iter().filter(|overlay| overlay.tenant() == Some(tenant));
    let digests: String = own.map(|overlay| overlay.digest.as_str()).collect();
    digest(&digests).get(..12).unwrap_or_default().into()
}

/// The base with every overlay that holds for `tenant`.
fn laid(base: &Source, overlays: &[Source], tenant: Option<&str>) -> Result<Table, RatesError> {
    let (mut file, mut digests) = ((*base.file).clone(), base.digest.clone());
    let mut names = base.name.clone();
    let holds = |overlay: &&Source| overlay.tenant().is_none_or(|own| Some(own) == tenant);
    for overlay in overlays.iter().filter(holds) {
        lay(&mut file, &overlay.file).map_err(|wrong| overlay.placed(&wrong))?;
        digests.push_str(&overlay.digest);
        names.push_str(" + ");
        names.push_str(&overlay.name);
    }
    compile(&file, &digest(&digests)).map_err(|wrong| {
        let lines = wrong.iter().map(|Wrong { path, what }| format!("{names}: {path}: {what}"));
        RatesError(lines.collect::<Vec<_>>().join("\n"))
    })
}

impl Source {
    /// Whose calls an overlay holds for; none = everybody's.
    pub fn tenant(&self) -> Option<&str> {
        let applies = self.file.applies.as_ref()?;
        TENANT_KEYS.iter().find_map(|key| applies.resource.get(*key)).map(String::as_str)
    }

    /// Whether its version says that it is older; versions without numbers say nothing.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        let (own, other) = (numbers(&self.file.version), numbers(&other.file.version));
        !own.is_empty() && own < other
    }

    /// What an overlay must be by itself.
    fn check_overlay(&self, base: &Source) -> Result<(), RatesError> {
        let mut wrong = Vec::new();
        let mut tell = |path: &str, what: String| wrong.push(Wrong { path: path.to_owned(), what });
        if !self.file.overlay {
            tell("schema", "it is no overlay: `overlay: true` is missing".to_owned());
        }
        if self.file.per_tokens != base.file.per_tokens {
            tell("per_tokens", format!("prices are per {} tokens below", base.file.per_tokens));
        }
        if let Some(bound) = self.file.base.as_deref().filter(|bound| !version_fits(bound, &base.file.version)) {
            tell("base", format!("it wants a table {bound}, the one below is {}", base.file.version));
        }
        if let Some(applies) = &self.file.applies {
            for key in applies.resource.keys().filter(|key| !TENANT_KEYS.contains(&key.as_str())) {
                tell(&format!("match.resource.{key}"), "only `tenant.id` can be matched".to_owned());
            }
            if self.tenant().is_none() {
                tell("match.resource", "`tenant.id` is missing".to_owned());
            }
        }
        let discounts =
            self.file.providers.iter().map(|(key, provider)| (format!("providers.{key}.discount"), provider));
        let discounts = discounts.map(|(path, provider)| (path, provider.discount.as_deref()));
        for (path, text) in discounts.chain([("discount".to_owned(), self.file.discount.as_deref())]) {
            if text.is_some_and(|text| Decimal::parse(text).is_none_or(Decimal::is_negative)) {
                tell(&path, "a discount is a factor such as \"0.85\"".to_owned());
            }
        }
        let mut alone = (*self.file).clone();
        (alone.overlay, alone.base, alone.applies, alone.discount) = (false, None, None, None);
        alone.alias.clear();
        for provider in alone.providers.values_mut() {
            provider.fallback.clear();
            provider.discount = None;
        }
        wrong.extend(compile(&alone, &self.digest).err().unwrap_or_default());
        if wrong.is_empty() { Ok(()) } else { Err(self.placed(&wrong)) }
    }
}

/// Lays one overlay over a file: discounts first, so that its own prices are meant as written.
fn lay(file: &mut File, overlay: &File) -> Result<(), Vec<Wrong>> {
    let mut wrong = Vec::new();
    let mut tell = |path: String, what: &str| wrong.push(Wrong { path, what: what.to_owned() });
    if let Some(factor) = overlay.discount.as_deref().and_then(Decimal::parse) {
        for provider in file.providers.values_mut() {
            if !provider.models.iter_mut().flat_map(|model| &mut model.rates).all(|rate| discount(rate, factor)) {
                tell("discount".to_owned(), "a price times the discount can't be held");
            }
        }
    }
    file.unit_parents.extend(overlay.unit_parents.clone());
    file.bedrock_scopes.extend(overlay.bedrock_scopes.clone());
    file.alias.extend(overlay.alias.clone());
    for (key, over) in &overlay.providers {
        let provider = file.providers.entry(key.clone()).or_default();
        if let Some(factor) = over.discount.as_deref().and_then(Decimal::parse)
            && !provider.models.iter_mut().flat_map(|model| &mut model.rates).all(|rate| discount(rate, factor))
        {
            tell(format!("providers.{key}.discount"), "a price times the discount can't be held");
        }
        for name in &over.names {
            if !provider.names.contains(name) {
                provider.names.push(name.clone());
            }
        }
        if !over.fallback.is_empty() {
            provider.fallback.clone_from(&over.fallback);
        }
        for model in &over.models {
            let same =
                |known: &&mut Model| known.id == model.id || model.ids.is_empty() && known.ids.contains(&model.id);
            match provider.models.iter_mut().find(same) {
                None => provider.models.push(model.clone()),
                Some(known) => replace(known, model),
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn discount(rate: &mut Rate, factor: Decimal) -> bool {
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

/// The overlay's windows in place of the base's, which keeps what they leave.
fn replace(base: &mut Model, over: &Model) {
    let mut rates = base.rates.clone();
    for window in &over.rates {
        rates = rates.into_iter().flat_map(|rate| without(rate, window)).collect();
    }
    rates.extend(over.rates.iter().cloned());
    rates.sort_by_key(start);
    base.rates = rates;
    for id in &over.ids {
        if !base.ids.contains(id) {
            if base.ids.is_empty() {
                base.ids.push(base.id.clone());
            }
            base.ids.push(id.clone());
        }
    }
    base.patterns
        .extend(over.patterns.iter().filter(|pattern| !base.patterns.contains(pattern)).cloned().collect::<Vec<_>>());
}

/// When a window begins, Unix ns.
pub(super) fn start(rate: &Rate) -> u64 {
    rate.from.as_deref().and_then(time).unwrap_or(0)
}

/// When it ends.
pub(super) fn end(rate: &Rate) -> u64 {
    rate.to.as_deref().map_or(u64::MAX, |text| time(text).unwrap_or(u64::MAX))
}

/// What is left of a window beside another.
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

/// The numbers in a version.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// `>=2026-11-20.1`, or exactly that version. Numbers are compared as numbers.
fn version_fits(bound: &str, version: &str) -> bool {
    match bound.trim().strip_prefix(">=") {
        Some(least) => numbers(version) >= numbers(least),
        None => bound.trim() == version,
    }
}
