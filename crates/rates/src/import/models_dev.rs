//! Reads the list of models.dev: USD per million tokens, no history.

use crate::schema::{ModelSpec, PriceTexts, RateSpec, TierSpec};
use crate::unit::Unit;

use super::collector::{ModelCollector, PriceListError, put_price};
use super::raw::{RawObject, parse_decimal, parse_object};

/// Keys of models.dev's providers and ours.
const PROVIDERS: &[(&str, &str)] = &[
    ("amazon-bedrock", "aws"),
    ("xai", "x-ai"),
    ("togetherai", "together"),
    ("fireworks-ai", "fireworks"),
    ("google-vertex", "google-vertex"),
];

const UNITS: &[(&str, Unit)] = &[
    ("input", Unit::Input),
    ("output", Unit::Output),
    ("cache_read", Unit::CacheRead),
    ("cache_write", Unit::CacheWrite),
    ("reasoning", Unit::Reasoning),
    ("input_audio", Unit::InputAudio),
    ("output_audio", Unit::OutputAudio),
];

/// Reads the list.
pub(super) fn read(file: &str, out: &mut ModelCollector) -> Result<(), PriceListError> {
    let all: RawObject = serde_json::from_str(file)?;
    for (their_provider, raw) in &all {
        let provider = PROVIDERS
            .iter()
            .find(|(theirs, _)| theirs == their_provider)
            .map_or(their_provider.as_str(), |(_, ours)| ours);
        let models = parse_object(raw).and_then(|entry| parse_object(entry.get("models")?)).unwrap_or_default();
        for (id, raw) in &models {
            let Some(cost) = parse_object(raw).and_then(|entry| parse_object(entry.get("cost")?)) else {
                out.skip_model(&format!("{provider}/{id}"), "no cost");
                continue;
            };
            let long_prompt =
                cost.get("context_over_200k").and_then(|raw| parse_object(raw)).map(|long| read_prices(&long));
            let tiers = long_prompt.map(|price| TierSpec { over_input: Some(200_000), at_least_input: None, price });
            let rate =
                RateSpec { price: read_prices(&cost), tiers: tiers.into_iter().collect(), ..RateSpec::default() };
            let model = ModelSpec { id: id.clone(), rates: vec![rate], ..ModelSpec::default() };
            out.add_model(provider, model);
        }
    }
    Ok(())
}

fn read_prices(cost: &RawObject) -> PriceTexts {
    let mut price = PriceTexts::new();
    for (word, unit) in UNITS {
        if let Some(decimal) = cost.get(*word).and_then(|raw| parse_decimal(raw)) {
            put_price(&mut price, *unit, decimal.to_string());
        }
    }
    price
}
