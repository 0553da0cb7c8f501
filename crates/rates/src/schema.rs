//! The written form of a rate table or overlay (schema 1), in YAML or JSON. Unknown keys are refused; prices are text,
//! so they never pass through floats. `table` and `overlay` hold the compiled forms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The supported schema version.
pub(super) const SCHEMA: u32 = 1;

/// Decimal text by unit.
pub(super) type PriceTexts = BTreeMap<String, String>;

fn is_false(value: &bool) -> bool {
    !*value
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "P: Deserialize<'de>"))]
pub(super) struct TableFile<P = ProviderSpec> {
    pub(super) schema: u32,
    pub(super) version: String,
    pub(super) currency: String,
    /// All prices are per this many tokens.
    pub(super) per_tokens: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generated: Option<String>,
    /// The file is an overlay; it is never used alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) overlay: bool,
    /// Required version of the table below: `>=2026-11-20.1`, or exactly that version. Overlays only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<String>,
    /// The calls that the overlay applies to; missing = all. Overlays only.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub(super) applies: Option<OverlayMatch>,
    /// Multiplies every price in the table below. Overlays only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) discount: Option<String>,
    /// Origin of the numbers; informational.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) imports: Vec<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) unit_parents: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) bedrock_scopes: BTreeMap<String, String>,
    /// Ids (a deployment, an inference profile) and the `provider/model` each stands for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) alias: BTreeMap<String, String>,
    #[serde(default = "BTreeMap::new")]
    pub(super) providers: BTreeMap<String, P>,
}

/// Selects the calls an overlay applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OverlayMatch {
    /// `tenant.id` and its value.
    pub(super) resource: BTreeMap<String, String>,
}

/// A seller of models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de> + Default"))]
pub(super) struct ProviderSpec<M = Vec<ModelSpec>> {
    /// Names in telemetry, in lower case, unique in the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) names: Vec<String>,
    /// Providers whose list prices apply to models that this one does not list; not transitive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) fallback: Vec<String>,
    /// Sells the models of others, so it is never inferred for a call that names no provider.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) reseller: bool,
    /// The table below lists neither this provider nor its models. Overlays only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) new: bool,
    /// Multiplies every price of this provider in the table below. Overlays only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) discount: Option<String>,
    #[serde(default)]
    pub(super) models: M,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSpec {
    pub(super) id: String,
    /// All exact ids, in lower case, unique in the provider; missing (and no `patterns`) = `id` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ids: Vec<String>,
    /// Anchored regular expressions, tried last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) patterns: Vec<String>,
    /// Informational: retired models keep their prices for replays.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) deprecated: bool,
    /// The table below does not list this model. Overlays only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) new: bool,
    /// Whether units and fees without a price here keep the price of the table below; missing = they do, with a
    /// warning. Overlays only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) inherit: Option<bool>,
    pub(super) rates: Vec<RateSpec>,
}

/// Prices of a model in one window of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateSpec {
    /// Inclusive, RFC 3339; missing = no start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    /// Exclusive; missing = open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    #[serde(default)]
    pub(super) price: PriceTexts,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tiers: Vec<TierSpec>,
    /// Fees per 1,000 uses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) fees_per_1000: PriceTexts,
    /// Items that are not sold by tokens. Parsed, but not charged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) other: PriceTexts,
    /// Why this window is incomplete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) incomplete: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) adjust: Vec<AdjustmentSpec>,
    /// The overlay of each price, by its name in `diff::flatten_prices`; filled only on request.
    #[serde(skip)]
    pub(super) sources: BTreeMap<String, String>,
}

/// Prices of long prompts; they apply to the whole prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) over_input: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at_least_input: Option<u64>,
    pub(super) price: PriceTexts,
}

/// A change of prices under certain circumstances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdjustmentSpec {
    /// Conditions, which must all match; a list matches any of its values.
    pub(super) when: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) price: PriceTexts,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tiers: Vec<TierSpec>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) fees_per_1000: PriceTexts,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) other: PriceTexts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) multiply: Option<String>,
    /// Later entries are ignored.
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub(super) last: bool,
}

impl<M> TableFile<ProviderSpec<M>> {
    /// The same table with other models.
    pub(super) fn map_models<N>(self, mut models: impl FnMut(M) -> N) -> TableFile<ProviderSpec<N>> {
        let Self {
            schema, version, currency, per_tokens, generated, overlay, base, applies, discount, imports, ..
        } = self;
        let (unit_parents, bedrock_scopes, alias) = (self.unit_parents, self.bedrock_scopes, self.alias);
        let providers = self.providers.into_iter().map(|(key, provider)| (key, provider.map(&mut models))).collect();
        TableFile {
            schema,
            version,
            currency,
            per_tokens,
            generated,
            overlay,
            base,
            applies,
            discount,
            imports,
            unit_parents,
            bedrock_scopes,
            alias,
            providers,
        }
    }
}

impl<M> ProviderSpec<M> {
    fn map<N>(self, models: impl FnOnce(M) -> N) -> ProviderSpec<N> {
        let Self { names, fallback, reseller, new, discount, models: own } = self;
        ProviderSpec { names, fallback, reseller, new, discount, models: models(own) }
    }
}

impl ModelSpec {
    /// The model's exact ids: `id` alone if neither ids nor patterns are written.
    pub(super) fn exact_ids(&self) -> &[String] {
        if self.ids.is_empty() && self.patterns.is_empty() { std::slice::from_ref(&self.id) } else { &self.ids }
    }
}

impl RateSpec {
    /// All price lists of the window.
    pub(super) fn price_lists_mut(&mut self) -> impl Iterator<Item = &mut PriceTexts> {
        let tiers = self.tiers.iter_mut().map(|tier| &mut tier.price);
        let adjusts = self.adjust.iter_mut().flat_map(|adjust| {
            let own = [&mut adjust.price, &mut adjust.fees_per_1000];
            own.into_iter().chain(adjust.tiers.iter_mut().map(|tier| &mut tier.price))
        });
        [&mut self.price, &mut self.fees_per_1000].into_iter().chain(tiers).chain(adjusts)
    }
}
