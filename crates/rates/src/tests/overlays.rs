//! Overlays: rows that match nothing, inherited prices, and the source of each price.

use super::super::{CallCircumstances, EffectiveTable, RateQuery, RateTables, TableSource, Unit, Usd};
use super::NOW;

const BASE: &str = r#"schema: 1
version: "7"
currency: USD
per_tokens: 1000000
unit_parents: {cache_read: input}
providers:
  acme:
    names: [acme, acme.ai]
    models:
      - id: big
        ids: [big, big-1]
        rates:
          - {to: "2026-01-01T00:00:00Z", price: {input: "4", output: "20", cache_read: "0.4"}}
          - {from: "2026-01-01T00:00:00Z", price: {input: "2", output: "10", cache_read: "0.2"}, fees_per_1000: {web_search: "10"}}
      - {id: small-mini, rates: [{price: {input: "1", output: "2"}, tiers: [{over_input: 1000, price: {input: "2"}}]}]}
  shop:
    fallback: [acme]
    models: []
"#;

fn source(text: &str) -> TableSource {
    TableSource::parse("t.yaml", text).unwrap_or_else(|error| panic!("{}", error.0))
}

fn overlay(rest: &str) -> TableSource {
    source(&format!("schema: 1\noverlay: true\nversion: contract-2026\ncurrency: USD\nper_tokens: 1000000\n{rest}"))
}

fn built(rest: &str) -> RateTables {
    RateTables::build(&source(BASE), &[overlay(rest)]).unwrap_or_else(|error| panic!("{}", error.0))
}

fn refused(rest: &str) -> String {
    RateTables::build(&source(BASE), &[overlay(rest)]).err().map(|error| error.0).unwrap_or_default()
}

fn price(rates: &RateTables, provider: &str, model: &str, time: u64, unit: Unit) -> Option<String> {
    let query =
        RateQuery { provider: Some(provider), models: &[model], time, circumstances: CallCircumstances::default() };
    let (price, _) = rates.common().row(&query, 0).ok()?.price(unit)?;
    Some(Usd(price.0 * 1_000_000).to_string())
}

/// A row that matches nothing is refused with its line and the nearest name, for a single tenant too; rows with `new`,
/// and rows for entries that are listed, are accepted.
#[test]
fn rows_that_match_nothing_are_refused() {
    let rates = r#"rates: [{price: {input: "1", output: "2"}}]"#;
    for (rest, words) in [
        (format!("providers: {{acm: {{models: [{{id: big, {rates}}}]}}}}\n"), ["t.yaml:6:", "nearest is acme;"]),
        (
            format!("providers: {{acme.ai: {{models: [{{id: big, {rates}}}]}}}}\n"),
            ["no provider acme.ai", "calls it acme"],
        ),
        ("providers: {acm: {discount: \"0.5\"}}\n".to_owned(), ["no provider acm;", "new: true"]),
        (format!("providers: {{acme: {{models: [{{id: small-mni, {rates}}}]}}}}\n"), ["t.yaml:6:", "acme/small-mini;"]),
        (format!("providers: {{shop: {{models: [{{id: bog, {rates}}}]}}}}\n"), ["no model shop/bog", "new: true"]),
        ("alias: {mine: acme/small-mni}\n".to_owned(), ["t.yaml:6:", "the nearest is acme/small-mini"]),
        (
            format!("match: {{resource: {{tenant.id: a}}}}\nproviders: {{acme: {{models: [{{id: bg, {rates}}}]}}}}\n"),
            ["t.yaml:7:", "acme/big"],
        ),
        (
            "providers: {acme: {models: [{id: x, new: true, rates: []}]}}\n".to_owned(),
            ["t.yaml:6:", "at least one window is required"],
        ),
    ] {
        let error = refused(&rest);
        assert!(words.iter().all(|word| error.contains(word)), "{rest}: {error}");
    }
    for rest in [
        format!("providers: {{own: {{new: true, reseller: true, models: [{{id: llama, {rates}}}]}}}}\n"),
        format!(
            "providers: {{acme: {{models: [{{id: huge, new: true, {rates}}}, {{id: BIG-1, new: true, {rates}}}]}}}}\n"
        ),
    ] {
        assert_eq!(refused(&rest), "", "{rest}");
    }
    let unnamed = overlay("").version().to_owned();
    let blank = source("schema: 1\noverlay: true\nversion: \"\"\ncurrency: USD\nper_tokens: 1000000\n");
    assert!(unnamed == "contract-2026" && RateTables::build(&source(BASE), &[blank]).is_err());
    let table = BASE.replace("id: small-mini,", "id: small-mini, new: true,");
    assert!(source(&table).compile().is_err(), "`new` is allowed only in overlays");
}

/// Units and fees without a price in an overlay keep the price below, window by window; a warning gives the line,
/// unless `inherit` is set.
#[test]
fn missing_prices_are_inherited_and_told() {
    let (past, now) = (1_750_000_000_000_000_000, NOW);
    let text = |more: &str| {
        format!(
            "providers: {{acme: {{models: [{{id: big, {more}rates: [{{price: {{input: \"1.5\", output: \"9\"}}}}]}}]}}}}\n"
        )
    };
    let rates = built(&text(""));
    for (time, unit, expected) in [
        (now, Unit::Input, "1.5"),
        (now, Unit::CacheRead, "0.2"),
        (past, Unit::Output, "9"),
        (past, Unit::CacheRead, "0.4"),
    ] {
        assert_eq!(price(&rates, "acme", "big", time, unit).as_deref(), Some(expected), "{time} {unit:?}");
    }
    let [warning] = rates.warnings() else { panic!("{:?}", rates.warnings()) };
    assert!(warning.starts_with("t.yaml:6:") && warning.contains("cache_read, fee web_search,"), "{warning}");
    let meant = built(&text("inherit: true, "));
    assert!(meant.warnings().is_empty());
    assert_eq!(price(&meant, "acme", "big", now, Unit::CacheRead).as_deref(), Some("0.2"));
    let alone = built(&text("inherit: false, "));
    assert!(alone.warnings().is_empty());
    assert_eq!(price(&alone, "acme", "big", now, Unit::CacheRead).as_deref(), Some("1.5"));
    let tiers =
        built("providers: {acme: {models: [{id: small-mini, rates: [{price: {input: \"1\", output: \"2\"}}]}]}}\n");
    assert!(tiers.warnings().iter().any(|warning| warning.contains("`tiers`")), "{:?}", tiers.warnings());
}

/// A provider that uses another's list prices can have its own for one model and a limited time; afterwards the
/// other's apply again.
#[test]
fn a_model_sold_by_another_provider_is_known() {
    let rates = built(
        "providers: {shop: {models: [{id: big, inherit: true, rates: [{from: \"2026-02-01T00:00:00Z\", to: \"2026-03-01T00:00:00Z\", price: {input: \"1\"}}]}]}}\n",
    );
    let within = 1_770_500_000_000_000_000;
    assert_eq!(price(&rates, "shop", "big", within, Unit::Input).as_deref(), Some("1"));
    assert_eq!(price(&rates, "shop", "big", within, Unit::CacheRead).as_deref(), Some("0.2"));
    assert_eq!(price(&rates, "shop", "big", NOW, Unit::Input).as_deref(), Some("2"));
    assert_eq!(price(&rates, "acme", "big", within, Unit::Input).as_deref(), Some("2"));
}

/// Stamps name the overlays' versions; each price names its source file, discounts included, and its previous value.
#[test]
fn prices_say_where_they_are_from() {
    let contract = "discount: \"0.5\"\nalias: {mine: acme/big}\nproviders: {acme: {models: [{id: big, rates: [{price: {input: \"1.5\", output: \"9\"}}]}]}}\n";
    let overlays = [overlay(contract)];
    let effective =
        EffectiveTable::build_explained(&source(BASE), &overlays, None).unwrap_or_else(|error| panic!("{}", error.0));
    let built = RateTables::build(&source(BASE), &overlays).unwrap_or_else(|error| panic!("{}", error.0));
    assert!(effective.table.stamp().starts_with("7+contract-2026+"), "{}", effective.table.stamp());
    assert_eq!(effective.table.stamp(), built.common().stamp());
    let listed = effective.find_models("acme/big");
    let window = listed.first().and_then(|model| model.windows.last()).unwrap();
    let sold = |what: &str| {
        let one = window.prices.iter().find(|sold| sold.unit == what).unwrap();
        (one.price.clone(), one.source.clone().unwrap())
    };
    assert_eq!(sold("input"), ("1.5".to_owned(), "t.yaml contract-2026".to_owned()));
    let discounted = "t.yaml 7, times 0.5 of t.yaml contract-2026".to_owned();
    assert_eq!(sold("cache_read"), ("0.1".to_owned(), discounted));
    let told: Vec<(&str, &str, Option<&str>, &str, bool)> = (effective.changes.iter())
        .map(|change| (&*change.place, &*change.unit, change.before.as_deref(), &*change.after, change.inherited))
        .collect();
    for expected in [
        ("*", "discount", None, "0.5", false),
        ("mine", "alias", None, "acme/big", false),
        ("acme/big", "input", Some("1"), "1.5", false),
        ("acme/big", "cache_read", Some("0.1"), "0.1", true),
    ] {
        assert!(told.contains(&expected), "{expected:?}: {told:?}");
    }
    assert!(
        TableSource::builtin()
            .unwrap()
            .find_models("claude-sonnet-4-5")
            .iter()
            .all(|model| { model.windows.iter().flat_map(|window| &window.prices).all(|sold| sold.source.is_none()) })
    );
}
