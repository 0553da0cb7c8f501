//! [`RateTables`]: a table with contract prices, that is, overlays for all tenants or for one. An overlay's model
//! replaces the base's windows for the times it covers, and nothing else. The stamp's digest covers the base and all
//! overlays. Problems of an overlay are reported with their line in it.

use std::collections::HashMap;
use std::sync::Arc;

use super::apply_overlay::{OverlayChange, apply_overlay};
use super::compile::{TableProblem, compile, parse_time};
use super::decimal::Decimal;
use super::source::{TableSource, digest_text};
use super::table::{RateTable, RatesError};
use kernel::pseudonym::is_pseudonym;

/// The resource attributes that a `match` may name.
const TENANT_KEYS: [&str; 2] = ["tenant.id", "tenant"];

/// A table with its overlays: one for all, and others for tenants with contracts of their own.
pub struct RateTables {
    common: Arc<RateTable>,
    /// Tables by tenant, with a digest of the tenant's own overlays.
    tenants: HashMap<Box<str>, (Arc<RateTable>, Box<str>)>,
    warnings: Vec<String>,
}

impl RateTables {
    /// Applies `overlays` to `base`, in order.
    ///
    /// # Errors
    /// All problems of the first invalid file, one per line, each with its place.
    pub fn build(base: &TableSource, overlays: &[TableSource]) -> Result<Self, RatesError> {
        // files are checked one by one first, so that problems are reported at the lines of their file
        let base_table = base.compile_shared()?;
        let mut tenants: Vec<&str> = Vec::new();
        for overlay in overlays {
            overlay.check_overlay(base)?;
            if let Some(tenant) = overlay.tenant().filter(|tenant| !tenants.contains(tenant)) {
                tenants.push(tenant);
            }
        }
        let has_common_overlays = overlays.iter().any(|overlay| overlay.tenant().is_none());
        let mut warnings: Vec<String> = Vec::new();
        let mut build_table = |tenant| -> Result<Arc<RateTable>, RatesError> {
            let effective = EffectiveTable::build_for(base, overlays, tenant, false)?;
            for warning in effective.warnings {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            Ok(Arc::new(effective.table))
        };
        let common = if has_common_overlays { build_table(None)? } else { base_table };
        let with_table = |name| Ok((Box::from(name), (build_table(Some(name))?, digest_contract(overlays, name))));
        let tenants = tenants.into_iter().map(with_table).collect::<Result<_, RatesError>>()?;
        Ok(Self { common, tenants, warnings })
    }

    /// Overlay rows that are valid but probably mean something else, each with file, line and column.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Identifies the overlays of this tenant alone. Index rows store this digest because they may not store the
    /// tenant.
    pub fn contract_digest(&self, tenant: Option<&str>) -> Option<&str> {
        self.tenants.get(tenant?).map(|(_, contract)| &**contract)
    }

    /// The table for a line of the index: its tenant's; if it shows a pseudonym, that of the tenant `behind` it or of
    /// one with this `contract`. The flag says whether another might have been right, because nothing tells the tenant.
    pub fn table_of_line(&self, shown: &str, contract: Option<&str>, behind: Option<&str>) -> (&Arc<RateTable>, bool) {
        let named = behind.or((!is_pseudonym(shown)).then_some(shown));
        let tenant = named.or_else(|| self.tenants().find(|own| self.contract_digest(Some(own)) == contract));
        (self.table(tenant), tenant.is_none() && !self.tenants.is_empty())
    }

    pub fn table(&self, tenant: Option<&str>) -> &Arc<RateTable> {
        tenant.and_then(|tenant| self.tenants.get(tenant)).map_or(&self.common, |(table, _)| table)
    }

    /// The table for all tenants without one of their own.
    pub fn common(&self) -> &Arc<RateTable> {
        &self.common
    }

    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(|tenant| &**tenant)
    }
}

/// A digest of the overlays that apply to this tenant alone.
fn digest_contract(overlays: &[TableSource], tenant: &str) -> Box<str> {
    let own = overlays.iter().filter(|overlay| overlay.tenant() == Some(tenant));
    let digests: String = own.map(|overlay| overlay.digest.as_str()).collect();
    digest_text(&digests).get(..12).unwrap_or_default().into()
}

/// The base with all overlays that apply to one tenant, or to all.
pub struct EffectiveTable {
    pub table: RateTable,
    /// The written form; with the source of each price if requested.
    pub(super) source: TableSource,
    /// Name and version of the table below the overlays.
    pub(super) base_label: String,
    /// The changes of each overlay, in order; empty unless requested.
    pub changes: Vec<OverlayChange>,
    warnings: Vec<String>,
}

impl EffectiveTable {
    /// Applies the overlays for `tenant` and records the source of each price.
    ///
    /// # Errors
    /// As for [`RateTables::build`].
    pub fn build_explained(
        base: &TableSource,
        overlays: &[TableSource],
        tenant: Option<&str>,
    ) -> Result<Self, RatesError> {
        overlays.iter().try_for_each(|overlay| overlay.check_overlay(base))?;
        Self::build_for(base, overlays, tenant, true)
    }

    fn build_for(
        base: &TableSource,
        overlays: &[TableSource],
        tenant: Option<&str>,
        explain: bool,
    ) -> Result<Self, RatesError> {
        let (mut file, mut digests) = ((*base.file).clone(), base.digest.clone());
        let (mut name, base_label) = (base.name.clone(), base.label());
        let (mut changes, mut warnings) = (Vec::new(), Vec::new());
        let applies = |overlay: &&TableSource| overlay.tenant().is_none_or(|own| Some(own) == tenant);
        let overlays: Vec<&TableSource> = overlays.iter().filter(applies).collect();
        for overlay in &overlays {
            let (own_changes, own_warnings) = apply_overlay(&mut file, overlay, &base_label, explain)
                .map_err(|problems| overlay.locate_problems(&problems))?;
            changes.extend(own_changes);
            warnings.extend(overlay.locate_problems(&own_warnings).0.lines().map(str::to_owned));
            digests.push_str(&overlay.digest);
            name.push_str(" + ");
            name.push_str(&overlay.name);
            file.version.push('+');
            file.version.push_str(overlay.version().trim());
        }
        let digest = digest_text(&digests);
        let table = compile(&file, &digest).map_err(|problems| {
            let describe = |problem: TableProblem| {
                let alias = problem.path.strip_prefix("alias.");
                let has_alias =
                    |overlay: &&&TableSource| alias.is_some_and(|alias| overlay.file.alias.contains_key(alias));
                match overlays.iter().rev().find(has_alias) {
                    Some(overlay) => overlay.locate_problems(&[problem]).0,
                    None => format!("{name}: {}: {}", problem.path, problem.message),
                }
            };
            RatesError(problems.into_iter().map(describe).collect::<Vec<_>>().join("\n"))
        })?;
        let source = TableSource { name, file: file.into(), digest, text: None };
        Ok(Self { table, source, base_label, changes, warnings })
    }
}

impl TableSource {
    /// The tenant an overlay applies to; `None` = all.
    pub fn tenant(&self) -> Option<&str> {
        let applies = self.file.applies.as_ref()?;
        TENANT_KEYS.iter().find_map(|key| applies.resource.get(*key)).map(String::as_str)
    }

    /// File name and version, for messages.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.name, self.file.version)
    }

    /// The field that is older than in the table in use, as text; a version without numbers never is.
    pub(super) fn find_older_field(&self, in_use: &Self) -> Option<String> {
        let (own, others) = (version_numbers(&self.file.version), version_numbers(&in_use.file.version));
        if !own.is_empty() && own < others {
            return Some(format!("version {} is older than version {} in use", self.version(), in_use.version()));
        }
        let (own, others) = (self.file.generated.as_deref()?, in_use.file.generated.as_deref()?);
        (self.date()? < in_use.date()?).then(|| format!("generated {own} is before {others} of the table in use"))
    }

    /// When the table was made, Unix ns.
    pub(super) fn date(&self) -> Option<u64> {
        parse_time(&format!("{}T00:00:00Z", self.file.generated.as_deref()?.trim()))
    }

    /// Validates an overlay by itself.
    fn check_overlay(&self, base: &TableSource) -> Result<(), RatesError> {
        let mut problems = Vec::new();
        let mut report = |path: &str, message: String| problems.push(TableProblem { path: path.to_owned(), message });
        if !self.file.overlay {
            report("schema", "not an overlay: add `overlay: true`".to_owned());
        }
        if self.file.version.trim().is_empty() {
            report("version", "an overlay needs a version, because prices refer to it".to_owned());
        }
        if self.file.per_tokens != base.file.per_tokens {
            report("per_tokens", format!("must be {}, as in the base table", base.file.per_tokens));
        }
        if let Some(bound) = self.file.base.as_deref().filter(|bound| !is_version_allowed(bound, &base.file.version)) {
            report("base", format!("requires a base table {bound}, but its version is {}", base.file.version));
        }
        if let Some(applies) = &self.file.applies {
            for key in applies.resource.keys().filter(|key| !TENANT_KEYS.contains(&key.as_str())) {
                report(&format!("match.resource.{key}"), "only `tenant.id` can be matched".to_owned());
            }
            if self.tenant().is_none() {
                report("match.resource", "`tenant.id` is missing".to_owned());
            }
        }
        let providers = self.file.providers.iter();
        let discounts = providers.map(|(key, own)| (format!("providers.{key}.discount"), own.discount.as_deref()));
        for (path, text) in discounts.chain([("discount".to_owned(), self.file.discount.as_deref())]) {
            if text.is_some_and(|text| Decimal::parse(text).is_none_or(Decimal::is_negative)) {
                report(&path, "must be a factor such as \"0.85\"".to_owned());
            }
        }
        // The rest is validated like a table, without the parts that only overlays have.
        let mut standalone = (*self.file).clone();
        (standalone.overlay, standalone.base, standalone.applies, standalone.discount) = (false, None, None, None);
        standalone.alias.clear();
        for provider in standalone.providers.values_mut() {
            provider.fallback.clear();
            (provider.discount, provider.new) = (None, false);
            for model in &mut provider.models {
                (model.new, model.inherit) = (false, None);
            }
        }
        problems.extend(compile(&standalone, &self.digest).err().unwrap_or_default());
        if problems.is_empty() { Ok(()) } else { Err(self.locate_problems(&problems)) }
    }
}

fn version_numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Checks `>=2026-11-20.1`, or equality for any other bound. Numbers compare numerically.
fn is_version_allowed(bound: &str, version: &str) -> bool {
    match bound.trim().strip_prefix(">=") {
        Some(least) => version_numbers(version) >= version_numbers(least),
        None => bound.trim() == version,
    }
}
