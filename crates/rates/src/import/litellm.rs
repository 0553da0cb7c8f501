//! Reads LiteLLM's map: one object per id, prices in USD per token. Ids are exact, including rows of single regions
//! (`eu/gpt-4o`, `us-east-1/…`). `deprecation_date` is ignored: it does not end a price.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::decimal::Decimal;
use crate::schema::{AdjustmentSpec, ModelSpec, PriceTexts, RateSpec, TierSpec};
use crate::unit::Unit;

use super::collector::{ModelCollector, PriceListError, put_price};
use super::raw::{RawObject, parse_count, parse_decimal, parse_list, parse_object, parse_text};

/// LiteLLM's provider keys and ours.
const PROVIDERS: &[(&str, &str)] = &[
    ("text-completion-openai", "openai"),
    ("azure_ai", "azure"),
    ("azure_text", "azure"),
    ("bedrock", "aws"),
    ("bedrock_converse", "aws"),
    ("gemini", "google"),
    ("xai", "x-ai"),
    ("cohere_chat", "cohere"),
    ("together_ai", "together"),
    ("fireworks_ai", "fireworks"),
    ("fireworks_ai-embedding-models", "fireworks"),
    ("moonshot", "moonshotai"),
    ("bedrock_mantle", "aws"),
    ("github_copilot", "github-copilot"),
    ("voyage", "voyageai"),
];

/// LiteLLM's keys for prices per token.
const UNITS: &[(&str, Unit)] = &[
    ("input_cost_per_token", Unit::Input),
    ("output_cost_per_token", Unit::Output),
    ("cache_read_input_token_cost", Unit::CacheRead),
    ("cache_creation_input_token_cost", Unit::CacheWrite),
    ("cache_creation_input_token_cost_above_1hr", Unit::CacheWrite1h),
    ("input_cost_per_audio_token", Unit::InputAudio),
    ("output_cost_per_audio_token", Unit::OutputAudio),
    ("input_cost_per_image_token", Unit::InputImage),
    ("output_cost_per_image_token", Unit::OutputImage),
    ("cache_read_input_audio_token_cost", Unit::CacheReadAudio),
    ("output_cost_per_reasoning_token", Unit::Reasoning),
    ("input_cost_per_video_token", Unit::InputVideo),
    ("output_cost_per_video_token", Unit::OutputVideo),
];

/// Suffixes of LiteLLM's keys that set circumstances: suffix, variable, value.
const CIRCUMSTANCES: &[(&str, &str, &str)] = &[
    ("_flex", "service_tier", "flex"),
    ("_priority", "service_tier", "priority"),
    ("_ultrafast", "service_tier", "ultrafast"),
    ("_batches", "processing", "batch"),
];

/// Reads the map.
pub(super) fn read(file: &str, out: &mut ModelCollector) -> Result<(), PriceListError> {
    let all: RawObject = serde_json::from_str(file)?;
    for (id, raw) in &all {
        let Some(entry) = parse_object(raw).filter(|_| id != "sample_spec") else { continue };
        let Some(their_provider) = entry.get("litellm_provider").and_then(|raw| parse_text(raw)) else {
            out.skip_model(id, "no provider");
            continue;
        };
        let is_vertex = their_provider.starts_with("vertex_ai");
        let key = PROVIDERS
            .iter()
            .find(|(theirs, _)| *theirs == their_provider)
            .map_or(their_provider.as_str(), |(_, ours)| ours);
        let provider = if is_vertex { "google" } else { key };
        let bare = bare_id(id, &their_provider);
        // commitments are sold by the hour or month, regardless of calls
        if bare.contains("commitment/") {
            out.skip_model(id, "price of a commitment, not of a call");
            continue;
        }
        for word in entry.keys().filter(|word| word.contains("cost_per") && !is_known_key(word)) {
            out.count_unsupported(word);
        }
        let rate = read_rate(&entry);
        if is_vertex && out.providers.get("google").is_some_and(|known| known.contains_key(bare)) {
            out.skip_model(id, "Vertex row of a model that the list also has for the Gemini API");
            continue;
        }
        let model = ModelSpec { id: bare.to_owned(), rates: vec![rate], ..ModelSpec::default() };
        out.add_model(provider, model);
    }
    Ok(())
}

/// Whether a key has an equivalent here, suffixes included.
fn is_known_key(word: &str) -> bool {
    let tail = CIRCUMSTANCES.iter().find_map(|(tail, _, _)| word.strip_suffix(tail));
    let (word, _) = split_token_limit(tail.unwrap_or(word));
    UNITS.iter().any(|(theirs, _)| *theirs == word)
}

/// The id without the route to the provider.
fn bare_id<'i>(id: &'i str, their_provider: &str) -> &'i str {
    match id.split_once('/') {
        Some((first, rest)) if first == their_provider || their_provider.starts_with(first) => rest,
        _ => id,
    }
}

/// Prices by the prompt size above which they apply.
type TierPrices = BTreeMap<u64, PriceTexts>;

fn read_rate(entry: &RawObject) -> RateSpec {
    let mut rate = RateSpec::default();
    let mut tiers = TierPrices::new();
    let mut adjusts: BTreeMap<(&str, &str), (PriceTexts, TierPrices)> = BTreeMap::new();
    for (word, raw) in entry {
        let circumstance =
            CIRCUMSTANCES.iter().find_map(|(tail, name, value)| Some((word.strip_suffix(tail)?, (*name, *value))));
        let (word, condition) = circumstance.map_or((word.as_str(), None), |(word, condition)| (word, Some(condition)));
        let (word, over) = split_token_limit(word);
        let Some((_, unit)) = UNITS.iter().find(|(theirs, _)| *theirs == word) else { continue };
        let Some(price) = parse_decimal(raw).and_then(to_per_million) else { continue };
        let (own, own_tiers) = match condition {
            None => (&mut rate.price, &mut tiers),
            Some(condition) => {
                let (price, tiers) = adjusts.entry(condition).or_default();
                (price, tiers)
            }
        };
        put_price(over.map_or(own, |over| own_tiers.entry(over).or_default()), *unit, price);
    }
    if let Some(ranges) = entry.get("tiered_pricing").and_then(|raw| parse_list(raw)) {
        read_ranges(&ranges, &mut rate.price, &mut tiers);
    }
    rate.tiers = to_tiers(tiers);
    rate.adjust =
        adjusts.into_iter().map(|((name, value), (price, tiers))| make_adjustment(name, value, price, tiers)).collect();
    rate.adjust.extend(read_multipliers(entry));
    rate
}

/// `[{range: [0, 32000], input_cost_per_token: …}, …]`: the range from 0 is the list price; the others apply above
/// their lower bound.
fn read_ranges(ranges: &[Box<RawValue>], base: &mut PriceTexts, tiers: &mut TierPrices) {
    for range in ranges.iter().filter_map(|raw| parse_object(raw)) {
        let ends = range.get("range").and_then(|raw| parse_list(raw)).unwrap_or_default();
        let Some(from) = ends.first().and_then(|raw| parse_count(raw)) else { continue };
        let own = if from == 0 { &mut *base } else { tiers.entry(from).or_default() };
        for (word, unit) in UNITS {
            if let Some(price) = range.get(*word).and_then(|raw| parse_decimal(raw)).and_then(to_per_million) {
                put_price(own, *unit, price);
            }
        }
    }
}

fn make_adjustment(name: &str, value: &str, price: PriceTexts, tiers: TierPrices) -> AdjustmentSpec {
    AdjustmentSpec {
        when: BTreeMap::from([(name.to_owned(), vec![value.to_owned()])]),
        price,
        tiers: to_tiers(tiers),
        ..AdjustmentSpec::default()
    }
}

fn to_tiers(tiers: TierPrices) -> Vec<TierSpec> {
    tiers.into_iter().map(|(over, price)| TierSpec { over_input: Some(over), at_least_input: None, price }).collect()
}

/// Splits `…_above_200k_tokens` into the key and the limit.
fn split_token_limit(word: &str) -> (&str, Option<u64>) {
    let found = word.strip_suffix("k_tokens").and_then(|rest| rest.rsplit_once("_above_"));
    match found.and_then(|(word, limit)| Some((word, limit.parse::<u64>().ok()?))) {
        Some((word, limit)) => (word, Some(limit * 1_000)),
        None => (word, None),
    }
}

/// `provider_specific_entry: {us: 1.1}`
fn read_multipliers(entry: &RawObject) -> Vec<AdjustmentSpec> {
    let own = entry.get("provider_specific_entry").and_then(|raw| parse_object(raw)).unwrap_or_default();
    let factor = |name: &str| Some(parse_decimal(own.get(name)?)?.to_string());
    let multiplier = |name: &str, value: &str, factor: String| AdjustmentSpec {
        multiply: Some(factor),
        ..make_adjustment(name, value, PriceTexts::new(), BTreeMap::new())
    };
    let us = factor("us").map(|factor| multiplier("inference_geo", "us", factor));
    us.into_iter().chain(factor("fast").map(|factor| multiplier("speed", "fast", factor))).collect()
}

fn to_per_million(price: Decimal) -> Option<String> {
    Some(price.times(Decimal::parse("1000000")?)?.to_string())
}
