//! Ids in another order and notation than the table's, and ids that must not match another model.

use super::super::model_parts::is_number;
use super::super::{RateTable, UnpricedReason};
use super::{builtin, find};

/// Suffixes that Cursor adds to a model's name, which do not change its price.
const EFFORTS: [&str; 7] = ["", "-low", "-medium", "-high", "-extra-high", "-xhigh-thinking", "-thinking-none"];

fn model_of(table: &RateTable, provider: Option<&str>, id: &str) -> Option<String> {
    find(table, provider, &[id]).ok().map(|(name, _)| name)
}

/// An id with its version at every place, in several notations.
fn orders(id: &str) -> Vec<String> {
    let parts = || id.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    let (numbers, words): (Vec<&str>, Vec<&str>) = parts().partition(|part| is_number(part));
    let with_version = |place: usize, version: &str| {
        let mut words = words.clone();
        words.insert(place, version);
        words.join("-")
    };
    let places = (0..=words.len()).filter(|_| !numbers.is_empty());
    let ids =
        places.flat_map(|place| [with_version(place, &numbers.join(".")), with_version(place, &numbers.join("-"))]);
    ids.flat_map(|id| [id.replace('-', "_"), id]).collect()
}

/// A vendor's model is found by its parts in any order, in three notations, with any effort, and from Cursor and without
/// a provider. No order of a listed id of any provider finds another model than the id itself.
#[test]
fn orders_of_an_id_are_one_model() {
    let table = builtin();
    let (mut found, mut wrong) = (0, Vec::new());
    for provider in &table.providers {
        for id in provider.catalog.ids.keys() {
            let is_cursors = ["anthropic", "openai"].contains(&&*provider.key) && !id.starts_with("ft:");
            let listed = model_of(&table, Some(&provider.key), id);
            for order in orders(id).into_iter().filter(|order| !provider.catalog.ids.contains_key(order.as_str())) {
                let got = model_of(&table, Some(&provider.key), &order);
                found += u32::from(is_cursors && got.is_some());
                // another listed id is itself, and a version after `@` may be left out
                let is_other = provider.catalog.ids.contains_key(&*order) || id.contains('@');
                if (is_cursors && got.is_none()) || (got.is_some() && got != listed && !is_other) {
                    wrong.push(format!("{}: {id} as {order}: {got:?}", provider.key));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    assert!(found > 1000, "{found}");
    for (vendor, names) in [
        ("anthropic", "claude-4.5-sonnet claude-4.6-opus claude-4.5-haiku"),
        ("openai", "gpt-5.5 gpt-5.2-codex gpt-5.1-codex-max gpt-5.4-mini"),
    ] {
        for name in names.split(' ') {
            let listed = model_of(&table, Some(vendor), name).unwrap_or_else(|| panic!("{name} is found"));
            for provider in [Some(vendor), Some("cursor"), None] {
                for id in EFFORTS.map(|effort| format!("{name}{effort}")) {
                    assert_eq!(model_of(&table, provider, &id).as_deref(), Some(&*listed), "{provider:?} {id}");
                }
            }
        }
    }
}

/// A word that may change the price is never dropped, and an effort word is not where it names a model of the family.
#[test]
fn other_words_are_not_dropped() {
    let table = builtin();
    for (provider, ids) in [
        (
            "anthropic",
            "claude-4.5-sonnet-fast claude-4.6-opus-high-thinking-fast claude-4.5-sonnet-priority sonnet-4.5",
        ),
        ("anthropic", "claude-5.4-sonnet claude-4.5-sonnet-mini"),
        ("openai", "gpt-5.2-codex-high-fast gpt-5.2-codex-max-high"),
        ("mistral", "devstral-medium-2512 mistral-2512-medium"),
        ("azure", "phi-4-medium"),
        ("google", "gemini-3-pro-thinking"),
        ("cursor", "default high"),
    ] {
        for id in ids.split(' ') {
            assert_eq!(find(&table, Some(provider), &[id]), Err(UnpricedReason::UnknownModel), "{provider} {id}");
        }
    }
    // Cursor lists its own fast models
    assert_eq!(model_of(&table, Some("cursor"), "grok-fast-4.6").as_deref(), Some("cursor/grok-4.6-fast"));
}

/// For a provider that the table does not have, the offered one gives the call a price: one of a similar name if it
/// lists the model, else the vendor, but no other reseller. For a local platform none is offered.
#[test]
fn a_seller_has_the_model() {
    let table = builtin();
    for (provider, model, seller) in [
        ("our-proxy", "gpt-5-mini", Some("openai/gpt-5-mini")),
        ("our-proxy", "claude-4.5-sonnet", Some("anthropic/claude-sonnet-4-5")),
        ("azure-eu", "gpt-5-mini", Some("azure/gpt-5-mini")),
        ("our-proxy", "house-model", None),
        ("groq-eu", "llama-3.3-70b-versatile", Some("groq/llama-3.3-70b-versatile")),
        ("our-proxy", "llama-3.3-70b-versatile", None),
        ("our-proxy", "gpt-oss-20b", Some("openai/gpt-oss-20b")),
        ("ollama", "gpt-oss-20b", None),
        ("vllm", "gpt-oss-20b", None),
    ] {
        assert_eq!(table.find_seller(provider, model).as_deref(), seller, "{provider} {model}");
    }
    assert_eq!((table.provider_key("openai"), table.provider_key("opnai")), (Some("openai"), None));
    assert_eq!(table.nearest_provider("opnai"), Some("openai"));
}
