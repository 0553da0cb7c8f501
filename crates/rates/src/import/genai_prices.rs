//! Reads genai-prices' data: providers, models with match clauses, windows by date, prices by time of day and by
//! circumstances. An `equals` clause gives an id; a `starts_with` clause gives its text as an exact id, never as a
//! prefix. If several entries apply at a time, the last one wins, as in genai-prices.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::schema::{AdjustmentSpec, ModelSpec, PriceTexts, RateSpec, TierSpec};
use crate::unit::{Fee, Unit};

use super::collector::{ModelCollector, PriceListError, put_fee, put_price};
use super::raw::{RawObject, parse_count, parse_decimal, parse_list, parse_object, parse_text};

const UNITS: &[(&str, Unit)] = &[
    ("input_mtok", Unit::Input),
    ("output_mtok", Unit::Output),
    ("cache_read_mtok", Unit::CacheRead),
    ("cache_write_mtok", Unit::CacheWrite),
    ("cache_write_5m_mtok", Unit::CacheWrite5m),
    ("cache_write_1h_mtok", Unit::CacheWrite1h),
    ("input_audio_mtok", Unit::InputAudio),
    ("output_audio_mtok", Unit::OutputAudio),
    ("input_image_mtok", Unit::InputImage),
    ("output_image_mtok", Unit::OutputImage),
    ("input_video_mtok", Unit::InputVideo),
    ("output_video_mtok", Unit::OutputVideo),
    ("cache_audio_read_mtok", Unit::CacheReadAudio),
    ("cache_image_read_mtok", Unit::CacheReadImage),
    ("output_reasoning_mtok", Unit::Reasoning),
    ("output_citation_mtok", Unit::OutputCitation),
];

const FEES: &[(&str, Fee)] = &[
    ("web_searches_kcount", Fee::WebSearch),
    ("storage_searches_kcount", Fee::FileSearch),
    ("requests_kcount", Fee::Request),
];

/// Reads the data.
pub(super) fn read(file: &str, out: &mut ModelCollector) -> Result<(), PriceListError> {
    let raw: Box<RawValue> = serde_json::from_str(file)?;
    let providers = parse_object(&raw).and_then(|all| parse_list(all.get("providers")?)).or_else(|| parse_list(&raw));
    for provider in providers.ok_or(PriceListError::NoProviders)? {
        let Some(provider) = parse_object(&provider) else { continue };
        let Some(key) = provider.get("id").and_then(|raw| parse_text(raw)) else { continue };
        for raw in provider.get("models").and_then(|raw| parse_list(raw)).unwrap_or_default() {
            let Some(entry) = parse_object(&raw) else { continue };
            let Some(id) = entry.get("id").and_then(|raw| parse_text(raw)) else { continue };
            let mut ids = vec![id.clone()];
            if let Some(clause) = entry.get("match") {
                collect_clause_ids(clause, &mut ids, out);
            }
            count_unsupported(&raw, out);
            let deprecated = entry.get("deprecated").is_some_and(|raw| raw.get() == "true");
            let rates = read_rates(&entry);
            out.add_model(&key, ModelSpec { id, ids, deprecated, rates, ..ModelSpec::default() });
        }
    }
    Ok(())
}

/// Collects the ids of a clause; other conditions are only counted.
fn collect_clause_ids(raw: &RawValue, ids: &mut Vec<String>, out: &mut ModelCollector) {
    let Some(clause) = parse_object(raw) else { return };
    if let Some(id) = clause.get("equals").and_then(|raw| parse_text(raw)) {
        ids.push(id);
    }
    if let Some(start) = clause.get("starts_with").and_then(|raw| parse_text(raw)) {
        ids.push(start.trim_end_matches(['-', '@', ':', '.']).to_owned());
    }
    for inner in clause.get("or").and_then(|raw| parse_list(raw)).unwrap_or_default() {
        collect_clause_ids(&inner, ids, out);
    }
    for word in ["contains", "ends_with", "regex", "and"].into_iter().filter(|word| clause.contains_key(*word)) {
        out.count_unsupported(&format!("match: {word}"));
    }
}

/// Counts prices and circumstances that have no equivalent in our schema, anywhere in a model.
fn count_unsupported(model: &RawValue, out: &mut ModelCollector) {
    let Some(entry) = parse_object(model) else { return };
    for (word, raw) in &entry {
        let known = UNITS.iter().any(|(theirs, _)| theirs == word) || FEES.iter().any(|(theirs, _)| theirs == word);
        if ["_mtok", "_kcount", "_hours", "_mchar"].iter().any(|tail| word.ends_with(tail)) && !known {
            out.count_unsupported(word);
        }
        match word.as_str() {
            "when" => {
                let conditions = parse_object(raw).unwrap_or_default();
                let unknown = conditions.keys().filter(|word| crate::unit::Variable::parse(word).is_none());
                unknown.for_each(|word| out.count_unsupported(&format!("when: {word}")));
            }
            "prices" | "price_variants" => {
                parse_list(raw).unwrap_or_default().iter().for_each(|one| count_unsupported(one, out));
                count_unsupported(raw, out);
            }
            _ => {}
        }
    }
}

/// Windows by their first day; prices by time of day become adjustments of every window.
fn read_rates(entry: &RawObject) -> Vec<RateSpec> {
    let Some(raw) = entry.get("prices") else { return Vec::new() };
    let mut windows: BTreeMap<Option<String>, RateSpec> = BTreeMap::new();
    let mut by_clock: Vec<AdjustmentSpec> = Vec::new();
    match parse_list(raw) {
        None => drop(windows.insert(None, parse_object(raw).map(|prices| read_rate(&prices)).unwrap_or_default())),
        Some(entries) => {
            for entry in entries.iter().filter_map(|raw| parse_object(raw)) {
                let Some(prices) =
                    entry.get("prices").and_then(|raw| parse_object(raw)).map(|prices| read_rate(&prices))
                else {
                    continue;
                };
                let constraint = entry.get("constraint").and_then(|raw| parse_object(raw)).unwrap_or_default();
                let constraint_text = |word: &str| constraint.get(word).and_then(|raw| parse_text(raw));
                match (constraint_text("start_date"), constraint_text("start_time"), constraint_text("end_time")) {
                    (date, None, None) => drop(windows.insert(date.map(|date| midnight_of_date(&date)), prices)),
                    (_, Some(from), Some(to)) => by_clock.push(time_of_day_adjustment(&from, &to, prices)),
                    _ => {}
                }
            }
        }
    }
    // with us the first entry that names a unit wins, in genai-prices the last
    by_clock.reverse();
    let variants = read_variants(entry);
    let starts: Vec<Option<String>> = windows.keys().cloned().collect();
    let mut out = Vec::new();
    for (index, (from, mut rate)) in windows.into_iter().enumerate() {
        rate.from = from;
        rate.to = starts.get(index + 1).cloned().flatten();
        rate.adjust.clone_from(&variants);
        rate.adjust.extend(by_clock.iter().cloned());
        out.push(rate);
    }
    out
}

fn midnight_of_date(date: &str) -> String {
    format!("{date}T00:00:00Z")
}

fn time_of_day_adjustment(from: &str, to: &str, rate: RateSpec) -> AdjustmentSpec {
    let minutes = |text: &str| text.get(..5).unwrap_or("00:00").to_owned();
    let when = BTreeMap::from([("utc_time".to_owned(), vec![format!("{}-{}", minutes(from), minutes(to))])]);
    AdjustmentSpec { when, price: rate.price, tiers: rate.tiers, ..AdjustmentSpec::default() }
}

fn read_variants(entry: &RawObject) -> Vec<AdjustmentSpec> {
    let raw = entry.get("price_variants").and_then(|raw| parse_list(raw)).unwrap_or_default();
    let is_known = |word: &str| crate::unit::Variable::parse(word).is_some();
    let read_variant = |raw: &RawValue| {
        let variant = parse_object(raw)?;
        let rate = read_rate(&parse_object(variant.get("prices")?)?);
        let when = parse_object(variant.get("when")?)?
            .iter()
            .filter_map(|(word, raw)| Some((word.clone(), vec![parse_text(raw)?])))
            .collect::<BTreeMap<_, _>>();
        let from = variant
            .get("constraint")
            .and_then(|raw| parse_object(raw))
            .and_then(|one| parse_text(one.get("start_date")?));
        when.keys().all(|word| is_known(word)).then(|| AdjustmentSpec {
            when,
            from: from.map(|date| midnight_of_date(&date)),
            price: rate.price,
            tiers: rate.tiers,
            fees_per_1000: rate.fees_per_1000,
            ..AdjustmentSpec::default()
        })
    };
    raw.iter().filter_map(|raw| read_variant(raw)).collect()
}

fn read_rate(prices: &RawObject) -> RateSpec {
    let mut rate = RateSpec::default();
    let mut tiers: BTreeMap<u64, PriceTexts> = BTreeMap::new();
    for (word, unit) in UNITS {
        let Some(raw) = prices.get(*word) else { continue };
        if let Some(price) = parse_decimal(raw) {
            put_price(&mut rate.price, *unit, price.to_string());
            continue;
        }
        let Some(tiered) = parse_object(raw) else { continue };
        if let Some(base) = tiered.get("base").and_then(|raw| parse_decimal(raw)) {
            put_price(&mut rate.price, *unit, base.to_string());
        }
        for tier in tiered.get("tiers").and_then(|raw| parse_list(raw)).unwrap_or_default() {
            let Some(tier) = parse_object(&tier) else { continue };
            let (start, price) = (
                tier.get("start").and_then(|raw| parse_count(raw)),
                tier.get("price").and_then(|raw| parse_decimal(raw)),
            );
            if let (Some(start), Some(price)) = (start, price) {
                put_price(tiers.entry(start).or_default(), *unit, price.to_string());
            }
        }
    }
    for (word, fee) in FEES {
        if let Some(price) = prices.get(*word).and_then(|raw| parse_decimal(raw)) {
            put_fee(&mut rate.fees_per_1000, *fee, price.to_string());
        }
    }
    rate.tiers = tiers
        .into_iter()
        .map(|(start, price)| match start {
            // an inclusive limit, written there as an exclusive one
            199_999 => TierSpec { over_input: None, at_least_input: Some(200_000), price },
            _ => TierSpec { over_input: Some(start), at_least_input: None, price },
        })
        .collect();
    rate
}
