//! Reads the list of models.dev: USD per million tokens, no history.

use crate::schema::{Model, Price, Rate, Tier};
use crate::unit::Unit;

use super::gathered::{Gathered, NotAList, put};
use super::raw::{Object, decimal, object};

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
pub(super) fn read(file: &str, out: &mut Gathered) -> Result<(), NotAList> {
    let all: Object = serde_json::from_str(file)?;
    for (named, raw) in &all {
        let provider = PROVIDERS.iter().find(|(theirs, _)| theirs == named).map_or(named.as_str(), |(_, ours)| ours);
        let models = object(raw).and_then(|entry| object(entry.get("models")?)).unwrap_or_default();
        for (id, raw) in &models {
            let Some(cost) = object(raw).and_then(|entry| object(entry.get("cost")?)) else {
                out.skip(&format!("{provider}/{id}"), "no cost");
                continue;
            };
            let long = cost.get("context_over_200k").and_then(|raw| object(raw)).map(|long| prices(&long));
            let tiers = long.map(|price| Tier { over_input: Some(200_000), at_least_input: None, price });
            let rate = Rate { price: prices(&cost), tiers: tiers.into_iter().collect(), ..Rate::default() };
            let model = Model { id: id.clone(), rates: vec![rate], ..Model::default() };
            out.add(provider, model);
        }
    }
    Ok(())
}

fn prices(cost: &Object) -> Price {
    let mut price = Price::new();
    for (word, unit) in UNITS {
        if let Some(found) = cost.get(*word).and_then(|raw| decimal(raw)) {
            put(&mut price, *unit, found.to_string());
        }
    }
    price
}
