//! Names of providers: the vocabulary's and the table's agree, and a name that neither knows can be configured.

use super::super::UnpricedCall;
use super::*;
use genai::Vocabulary;
use telemetry::unpriced_calls::UnpricedCalls;

/// Every name of the table is priced by its own provider after the vocabulary has read it. (A name that the vocabulary
/// changes to one that the table lacks would lose its prices.)
#[test]
fn the_vocabulary_keeps_the_tables_names() {
    let head = std::fs::read_to_string(request::at("config/rates/builtin.json")).unwrap();
    let head: Json = serde_json::from_str(&head).unwrap();
    let (vocabulary, mut read) = (vocabulary(), 0);
    let providers = head["table"]["providers"].as_object().unwrap();
    let owner = |name: &str| {
        let has_name = |provider: &&Json| provider["names"].as_array().unwrap().iter().any(|known| known == name);
        providers.iter().find(|(_, provider)| has_name(provider)).map(|(key, _)| key.as_str())
    };
    for name in providers.values().flat_map(|provider| provider["names"].as_array().unwrap()) {
        let name = name.as_str().unwrap();
        let current = vocabulary.current_provider_name(name).unwrap_or_else(|| panic!("{name} is a provider"));
        assert_eq!(owner(&current), owner(name), "{name} as {current}");
        read += 1;
    }
    assert!(read > 100, "{read}");
}

/// A call of an unknown provider, and the processor's metrics.
fn unknown_provider(settings: &CostSettings, provider: &str) -> (Map<String, Json>, Meter) {
    let meter = Meter::new();
    let mut call = chat("r1", 50);
    call["attributes"]["gen_ai.provider.name"] = json!(provider);
    let batch = run(&build_with(settings, &meter), one(call), 1);
    (attributes(&batch, 0), meter)
}

/// The line that the page prints for an unknown provider loads, and gives its calls a price. Redacted names, those that
/// stand for several, and local platforms get none.
#[test]
fn the_printed_line_prices_the_call() {
    for provider in ["our-proxy", "OpenAI-Compatible", "api.house.example/v1", "42", "no"] {
        let (stamped, meter) = unknown_provider(&defaults(), provider);
        assert_eq!(stamped["tollgate.cost.reason"], "unknown_provider", "{provider}");
        let calls = UnpricedCalls::from_meter(&meter);
        let line = calls[0].config_line.clone().unwrap_or_else(|| panic!("{provider}: {calls:?}"));
        let pasted: BTreeMap<String, CostConfig> =
            config::load::parse_data("pasted", &line).unwrap_or_else(|problem| panic!("{line}: {problem}"));
        let (stamped, _) = unknown_provider(&pasted["cost"].settings().unwrap(), provider);
        assert_eq!(stamped["tollgate.cost.usd"], "0.00035", "{line}");
    }
    let local = ["ChatOllama", "vLLM", "llama.cpp", "llamafile", "LM Studio", "Xinference"];
    for provider in ["other", "a proxy", "someone@example.com"].into_iter().chain(local) {
        let (_, meter) = unknown_provider(&defaults(), provider);
        assert_eq!(UnpricedCalls::from_meter(&meter)[0].config_line, None, "{provider}");
    }
}

/// `providers` overrides a known name in any spelling; a target that no table has and a framework are errors with the
/// name.
#[test]
fn configured_providers() {
    let mapped = |sent: &str, provider: &str| {
        configured(|config| config.providers = BTreeMap::from([(sent.to_owned(), provider.to_owned())]))
    };
    let (stamped, _) = unknown_provider(&mapped("GitHub", "openai"), "github_copilot");
    assert_eq!(stamped["tollgate.cost.rate"], "openai/gpt-5-mini");
    let misspelled = "our-proxy: `cost.providers` must name a provider of the rate table; did you mean `openai`?";
    for (sent, provider, expected) in
        [("our-proxy", "opnai", misspelled), ("litellm", "openai", "litellm: names a framework")]
    {
        let unusable = CostProcessor::new("cost".into(), &mapped(sent, provider), vocabulary(), &Meter::new());
        let error = unusable.err().map(|error| error.0).unwrap_or_default();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// A configured provider's calls cost what its target's do, whatever decides what the counts include: the vendor, the
/// conventions, or the provider's total.
#[test]
fn configured_providers_are_counted_like_their_targets() {
    let providers = [("bedrock-eu", "aws"), ("house-claude", "anthropic"), ("house-gemini", "google")];
    let providers: BTreeMap<_, _> = providers.map(|(sent, target)| (sent.to_owned(), target.to_owned())).into();
    let settings = configured(|config| config.providers.clone_from(&providers));
    let vocabulary = Vocabulary::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    let vocabulary = Arc::new(vocabulary.with_sellers(providers.iter()));
    let usd = |provider: &str, model: &str, counts: &Json| {
        let mut call = chat("r1", 50);
        let attributes = call["attributes"].as_object_mut().unwrap();
        attributes.extend(counts.as_object().unwrap().clone());
        attributes.insert("gen_ai.provider.name".to_owned(), json!(provider));
        attributes.insert("gen_ai.request.model".to_owned(), json!(model));
        let cost = CostProcessor::new("cost".into(), &settings, Arc::clone(&vocabulary), &Meter::new());
        let cost = cost.unwrap_or_else(|error| panic!("{}", error.0));
        let stamped = super::attributes(&run(&cost, one(call), 1), 0);
        stamped.get("tollgate.cost.usd").unwrap_or_else(|| panic!("{provider}: {stamped:?}")).clone()
    };
    let (bedrock, claude) = ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5");
    for (sent, target, model, counts) in [
        ("bedrock-eu", "aws.bedrock", bedrock, json!({"gen_ai.usage.cache_read_input_tokens": 800})),
        ("bedrock-eu", "aws.bedrock", bedrock, json!({"gen_ai.usage.cache_read.input_tokens": 800})),
        ("house-claude", "anthropic", claude, json!({"gen_ai.usage.cache_read_input_tokens": 800})),
        ("house-claude", "anthropic", claude, json!({"gen_ai.usage.cache_read.input_tokens": 800})),
        (
            "house-gemini",
            "google",
            "gemini-2.5-flash",
            json!({"llm.request.type": "chat", "llm.usage.total_tokens": 1200}),
        ),
    ] {
        assert_eq!(usd(sent, model, &counts), usd(target, model, &counts), "{sent} {counts}");
    }
}

/// Spellings of one provider cost the same: those of Copilot, and of clouds that sell another vendor's models.
#[test]
fn spellings_cost_the_same() {
    let table = RateTable::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    let usd = |provider: &str, model: &str| {
        let provider = vocabulary().current_provider_name(provider);
        let call = json!({"provider": provider, "model": model, "includes_cached": true,
            "usage": {"input": 35925, "cache_read": 35067, "cache_write_5m": 857, "output": 370}});
        let item = item(&call);
        let priced = CallPriceInput::from_item(&item, 1_795_600_000_000_000_000)
            .and_then(|call| price_call(&table, &call, false).map(|priced| priced.total.to_string()));
        priced.unwrap_or_else(|UnpricedCall { reason, .. }| reason.as_str().to_owned())
    };
    let bedrock = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    for (name, model, spellings) in [
        ("github", "claude-sonnet-4.6", "github-copilot GitHubCopilot copilot anthropic ChatAnthropic litellm_proxy"),
        ("google", "claude-sonnet-4-5", "vertex_ai vertex.anthropic.messages ChatAnthropicVertex vertex_ai_beta"),
        ("aws", bedrock, "bedrock.anthropic.messages ChatBedrockConverse amazon-bedrock"),
    ] {
        for provider in spellings.split(' ') {
            assert_eq!(usd(provider, model), usd(name, model), "{provider}");
        }
    }
    assert_eq!(usd("github", "claude-sonnet-4.6"), "0.01928685");
    assert_eq!(usd("ChatOllama", "gpt-oss-20b"), "unknown_provider");
}
