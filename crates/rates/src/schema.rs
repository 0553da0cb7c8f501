//! The written form of a rate table or overlay (schema 1), in YAML or JSON. Unknown keys are refused; prices are text,
//! so they never pass through floats. `table` and `overlay` hold the compiled forms.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The supported schema version.
pub(super) const SCHEMA: u32 = 1;

/// Decimal text by unit.
pub(super) type PriceTexts = BTreeMap<String, String>;

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableFile {
    pub(super) schema: u32,
    pub(super) version: String,
    pub(super) currency: String,
    /// All prices are per this many tokens.
    pub(super) per_tokens: u64,
    /// The day on which the table was made, `YYYY-MM-DD`.
    pub(super) generated: Option<String>,
    /// The file is an overlay; it is never used alone.
    #[serde(default)]
    pub(super) overlay: bool,
    /// Required version of the table below: `>=2026-11-20.1`, or exactly that version. Overlays only.
    pub(super) base: Option<String>,
    /// The calls that the overlay applies to; missing = all. Overlays only.
    #[serde(rename = "match")]
    pub(super) applies: Option<OverlayMatch>,
    /// Multiplies every price in the table below. Overlays only.
    pub(super) discount: Option<String>,
    /// Origin of the numbers; informational.
    #[serde(default, rename = "imports")]
    pub(super) _imports: Vec<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) unit_parents: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) bedrock_scopes: BTreeMap<String, String>,
    /// Ids (a deployment, an inference profile) and the `provider/model` each stands for.
    #[serde(default)]
    pub(super) alias: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) providers: BTreeMap<String, ProviderSpec>,
}

/// Selects the calls an overlay applies to.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OverlayMatch {
    /// `tenant.id` and its value.
    pub(super) resource: BTreeMap<String, String>,
}

/// A seller of models.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProviderSpec {
    /// Names in telemetry, in lower case, unique in the file.
    pub(super) names: Vec<String>,
    /// Providers whose list prices apply to models that this one does not list; not transitive.
    pub(super) fallback: Vec<String>,
    /// Sells the models of others, so it is never inferred for a call that names no provider.
    pub(super) reseller: bool,
    /// The table below lists neither this provider nor its models. Overlays only.
    pub(super) new: bool,
    /// Multiplies every price of this provider in the table below. Overlays only.
    pub(super) discount: Option<String>,
    pub(super) models: Vec<ModelSpec>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSpec {
    pub(super) id: String,
    /// All exact ids, in lower case, unique in the provider; missing (and no `patterns`) = `id` alone.
    #[serde(default)]
    pub(super) ids: Vec<String>,
    /// Anchored regular expressions, tried last.
    #[serde(default)]
    pub(super) patterns: Vec<String>,
    /// Informational: retired models keep their prices for replays.
    #[serde(default, rename = "deprecated")]
    pub(super) _deprecated: bool,
    /// The table below does not list this model. Overlays only.
    #[serde(default)]
    pub(super) new: bool,
    /// Whether units and fees without a price here keep the price of the table below; missing = they do, with a
    /// warning. Overlays only.
    pub(super) inherit: Option<bool>,
    pub(super) rates: Vec<RateSpec>,
}

/// Prices of a model in one window of time.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RateSpec {
    /// Inclusive, RFC 3339; missing = no start.
    pub(super) from: Option<String>,
    /// Exclusive; missing = open.
    pub(super) to: Option<String>,
    pub(super) price: PriceTexts,
    pub(super) tiers: Vec<TierSpec>,
    /// Fees per 1,000 uses.
    pub(super) fees_per_1000: PriceTexts,
    /// Items that are not sold by tokens: read, but not charged.
    #[serde(rename = "other")]
    pub(super) _other: PriceTexts,
    /// Why this window is incomplete.
    pub(super) incomplete: Option<String>,
    pub(super) adjust: Vec<AdjustmentSpec>,
    /// The overlay of each price, by its name in [`RateSpec::flatten_prices`]; filled only on request.
    #[serde(skip)]
    pub(super) sources: BTreeMap<String, String>,
}

/// Prices of long prompts; they apply to the whole prompt.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierSpec {
    pub(super) over_input: Option<u64>,
    pub(super) at_least_input: Option<u64>,
    pub(super) price: PriceTexts,
}

/// A change of prices under certain circumstances.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdjustmentSpec {
    /// Conditions, which must all match; a list matches any of its values.
    pub(super) when: BTreeMap<String, Vec<String>>,
    pub(super) from: Option<String>,
    #[serde(default)]
    pub(super) price: PriceTexts,
    #[serde(default)]
    pub(super) tiers: Vec<TierSpec>,
    #[serde(default)]
    pub(super) fees_per_1000: PriceTexts,
    #[serde(default, rename = "other")]
    pub(super) _other: PriceTexts,
    pub(super) multiply: Option<String>,
    /// Later entries are ignored.
    #[serde(default, rename = "final")]
    pub(super) last: bool,
}

impl ProviderSpec {
    /// The model with the id of `model`: as its canonical id, otherwise among its exact ids.
    pub(super) fn find_model(&self, model: &ModelSpec) -> Option<&ModelSpec> {
        let by_id = || self.models.iter().find(|known| known.exact_ids().contains(&model.id));
        self.models.iter().find(|known| known.id == model.id).or_else(by_id)
    }

    /// Patterns in the order in which they are tried, with their models.
    pub(super) fn patterns(&self) -> Vec<(&str, &str)> {
        let models = self.models.iter();
        models.flat_map(|model| model.patterns.iter().map(|pattern| (pattern.as_str(), model.id.as_str()))).collect()
    }
}

impl ModelSpec {
    /// The model's exact ids: `id` alone if neither ids nor patterns are written.
    pub(super) fn exact_ids(&self) -> &[String] {
        if self.ids.is_empty() && self.patterns.is_empty() { std::slice::from_ref(&self.id) } else { &self.ids }
    }
}

impl RateSpec {
    /// Every price of a window under a unique name.
    pub(super) fn flatten_prices(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let mut add_list = |prefix: &str, list: &PriceTexts| {
            out.extend(list.iter().map(|(unit, text)| (format!("{prefix}{unit}"), text.clone())));
        };
        add_list("", &self.price);
        add_list("fee ", &self.fees_per_1000);
        let tier_start =
            |tier: &TierSpec| tier.at_least_input.or(tier.over_input.map(|over| over.saturating_add(1))).unwrap_or(0);
        for tier in &self.tiers {
            add_list(&format!("from {} tokens ", tier_start(tier)), &tier.price);
        }
        for adjust in &self.adjust {
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

    pub(super) fn price_lists_mut(&mut self) -> impl Iterator<Item = &mut PriceTexts> {
        let tiers = self.tiers.iter_mut().map(|tier| &mut tier.price);
        let adjusts = self.adjust.iter_mut().flat_map(|adjust| {
            let own = [&mut adjust.price, &mut adjust.fees_per_1000];
            own.into_iter().chain(adjust.tiers.iter_mut().map(|tier| &mut tier.price))
        });
        [&mut self.price, &mut self.fees_per_1000].into_iter().chain(tiers).chain(adjusts)
    }
}
