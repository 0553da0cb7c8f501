//! Tables that must be refused although every text in them looks plausible: prices and meanings are compared, not
//! texts.

use super::super::{FindingSeverity, TableSource};

const OLD: &str = r#"schema: 1
version: "7"
currency: USD
per_tokens: 1000000
unit_parents: {cache_read: input, reasoning: output}
bedrock_scopes: {us: geo}
alias: {my-deployment: openai/gpt-4o}
providers:
  anthropic:
    names: [anthropic]
    models:
      - {id: claude, rates: [{price: {input: "3", output: "15"}}]}
  azure:
    names: [azure]
    fallback: [openai]
    models: []
  openai:
    names: [openai, oai]
    models:
      - {id: ft, patterns: ["^ft:gpt-4o:.*$"], rates: [{price: {input: "3", output: "12"}}]}
      - {id: gpt-4o, ids: [gpt-4o, gpt-4o-2024-08-06], rates: [{price: {input: "2.5", output: "10"}}]}
      - {id: gpt-5-pro, ids: [gpt-5-pro], rates: [{price: {input: "15", output: "120"}}]}
"#;

const GPT_4O: &str = r#"{price: {input: "2.5", output: "10"}}"#;

/// The worst finding for `new`, and the text of all findings.
fn judged(old: &str, new: &str, accept: &[&str]) -> (Option<FindingSeverity>, String) {
    let source = |text: &str| TableSource::parse("t.yaml", text).unwrap_or_else(|error| panic!("{}", error.0));
    let new = source(&new.replace("version: \"7\"", "version: \"8\""));
    new.compile().unwrap_or_else(|error| panic!("{}", error.0));
    let accept: Vec<String> = accept.iter().map(|word| (*word).to_owned()).collect();
    let findings = source(old).diff(&new, &accept);
    let said: Vec<String> =
        findings.iter().map(|finding| format!("{}: {}", finding.place, finding.description)).collect();
    (findings.iter().map(|finding| finding.severity).max(), said.join("\n"))
}

/// Replaces each pair of texts in turn.
fn with(pairs: &[(&str, &str)]) -> String {
    let mut text = OLD.to_owned();
    for (from, to) in pairs {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

/// Asserts that `new` is refused with these words, and accepted when `place` is.
fn refused(old: &str, new: &str, place: &str, words: &str) {
    let (found, said) = judged(old, new, &[]);
    assert!(found == Some(FindingSeverity::Refusal) && said.contains(words), "{words}: {found:?}\n{said}");
    let (found, said) = judged(old, new, &[place]);
    assert!(found < Some(FindingSeverity::Refusal), "{place}: {said}");
}

/// Another `per_tokens` changes every price; it is reported once, not for each model.
#[test]
fn another_measure_is_refused() {
    let (found, said) = judged(OLD, &with(&[("per_tokens: 1000000", "per_tokens: 1000")]), &[]);
    assert_eq!(
        (found, &*said),
        (Some(FindingSeverity::Refusal), "*: prices are per 1000 tokens; in the table in use, per 1000000")
    );
    let (found, said) = judged(OLD, &with(&[("per_tokens: 1000000", "per_tokens: 1000")]), &["*"]);
    assert!(
        found == Some(FindingSeverity::Refusal) && said.contains("openai/gpt-4o: from the beginning: input"),
        "{said}"
    );
}

/// A price in the middle of the windows is compared, and a window that ends counts as gone.
#[test]
fn windows_in_the_middle_are_compared() {
    let windows = |middle: &str| {
        let price = |input: &str| format!(r#"price: {{input: "{input}", output: "10"}}"#);
        format!(
            r#"{{to: "2026-11-20T00:00:00Z", {0}}}, {{from: "2026-11-20T00:00:00Z", to: "2026-12-20T00:00:00Z", {1}}}, {{from: "2026-12-20T00:00:00Z", {0}}}"#,
            price("2.5"),
            price(middle)
        )
    };
    let words = "openai/gpt-4o: from 2026-11-20T00:00:00Z: input would cost 5 instead of 2.5";
    let new = with(&[(GPT_4O, &windows("2500"))]);
    refused(OLD, &new, "openai/gpt-4o", &words.replace("cost 5 ", "cost 2500 "));
    assert_eq!(judged(OLD, &with(&[(GPT_4O, &windows("5"))]), &[]).0, None);
    let ends = GPT_4O.replace("{price", r#"{to: "2027-01-01T00:00:00Z", price"#);
    refused(OLD, &with(&[(GPT_4O, &ends)]), "openai/gpt-4o", "no longer has a price from 2027-01-01T00:00:00Z");
}

/// A new circumstance, factor, tier, unit or parent may make a price jump just as a changed number does.
#[test]
fn circumstances_and_tiers_are_compared() {
    let week = "[mon, tue, wed, thu, fri, sat, sun]";
    for (rest, words) in [
        (format!(r#"adjust: [{{when: {{utc_weekday: {week}}}, multiply: "1000"}}]"#), "with utc_weekday=fri: input"),
        (r#"adjust: [{when: {utc_time: ["23:00-01:00"]}, price: {output: "99"}}]"#.to_owned(), "23:00 UTC: output"),
        (r#"tiers: [{over_input: 0, price: {input: "9999"}}]"#.to_owned(), "from 1 tokens: input"),
        (r#"tiers: [{at_least_input: 0, price: {input: "9999"}}]"#.to_owned(), "input would cost 9999"),
        (
            r#"adjust: [{when: {processing: [batch]}, price: {input: "2"}, tiers: [{over_input: 9, price: {input: "0.1"}}]}]"#.to_owned(),
            "with processing=batch from 10 tokens: input would cost 0.1",
        ),
        (
            r#"adjust: [{when: {speed: [fast]}, multiply: "2"}, {when: {inference_geo: [us, eu]}, multiply: "2"}]"#
                .to_owned(),
            "with speed=fast+inference_geo=us: input would cost 10 ",
        ),
        (r#"adjust: [{when: {speed: [fast]}, multiply: "0"}]"#.to_owned(), "a price must not drop to zero"),
        (
            r#"adjust: [{when: {speed: [fast]}, from: "2027-01-01T00:00:00Z", multiply: "4"}]"#.to_owned(),
            "from 2027-01-01T00:00:00Z with speed=fast",
        ),
    ] {
        let new = GPT_4O.replace("}}", &format!("}}, {rest}}}"));
        refused(OLD, &with(&[(GPT_4O, &new)]), "openai/gpt-4o", words);
    }
    let new = GPT_4O.replace("}}", r#"}, adjust: [{when: {speed: [fast]}, multiply: "3"}]}"#);
    assert!(judged(OLD, &with(&[(GPT_4O, &new)]), &[]).0 < Some(FindingSeverity::Refusal), "three times are taken");
    let own = GPT_4O.replace("}}", r#", reasoning: "31"}}"#);
    refused(OLD, &with(&[(GPT_4O, &own)]), "openai/gpt-4o", "reasoning would cost 31 instead of 10");
    let (found, said) = judged(OLD, &with(&[("reasoning: output", "reasoning: input")]), &[]);
    assert!(
        found == Some(FindingSeverity::Refusal) && said.contains("anthropic/claude: from the beginning: reasoning")
    );
    let fee = |price: &str| GPT_4O.replace("}}", &format!("}}, fees_per_1000: {{web_search: \"{price}\"}}}}"));
    let (old, new) = (with(&[(GPT_4O, &fee("10"))]), with(&[(GPT_4O, &fee("31"))]));
    refused(&old, &new, "openai/gpt-4o", "web_search would cost 31 instead of 10");
}

/// Ids that the old table lists mean the same model in the new one, whatever the price.
#[test]
fn meanings_are_compared() {
    let alias = "alias: {my-deployment: openai/gpt-4o";
    for (pairs, place, words) in [
        (
            &[("gpt-4o, gpt-4o-2024-08-06]", "gpt-4o]"), ("[gpt-5-pro]", "[gpt-5-pro, gpt-4o-2024-08-06]")][..],
            "openai/gpt-4o",
            "id gpt-4o-2024-08-06 now means openai/gpt-5-pro",
        ),
        (
            &[(alias, "alias: {gpt-4o: openai/gpt-5-pro, my-deployment: openai/gpt-4o-2024-08-06")],
            "openai/gpt-4o",
            "id gpt-4o now means openai/gpt-5-pro",
        ),
        (
            &[(alias, "alias: {gpt-4o-2031-01-01: openai/gpt-5-pro, my-deployment: openai/gpt-4o")],
            "openai/gpt-4o",
            "(by openai/gpt-5-pro)",
        ),
        (&[(alias, "alias: {my-deployment: openai/gpt-5-pro")], "openai/gpt-4o", "alias my-deployment now means"),
        (&[(alias, "alias: {other: openai/gpt-4o")], "openai/gpt-4o", "alias my-deployment no longer has a price"),
        (
            &[("[openai, oai]", "[openai]"), ("[anthropic]", "[anthropic, oai]")],
            "openai/*",
            "provider name oai now means anthropic",
        ),
        (&[("[openai, oai]", "[openai]")], "openai/*", "provider name oai is missing"),
        (&[("[anthropic]", "[anthropic, openai.chat]")], "openai/*", "provider name openai.chat now means anthropic"),
        (&[("fallback: [openai]", "fallback: [anthropic, openai]")], "azure/*", "falls back to [anthropic, openai]"),
        (&[("us: geo", "us: global")], "aws/*", "Bedrock scope \"us\""),
        (&[("^ft:gpt-4o:.*$", "^ft:.*$")], "openai/*", "id patterns were changed, reordered or removed"),
        (
            &[(
                "fallback: [openai]\n    models: []",
                "fallback: [openai]\n    models: [{id: any, patterns: [\"^.*$\"], rates: [{price: {input: \"900\"}}]}]",
            )],
            "azure/any",
            "pattern ^.*$ takes precedence",
        ),
        (
            &[(
                "fallback: [openai]\n    models: []",
                "fallback: [openai]\n    models: [{id: gpt-4o, rates: [{price: {input: \"900\", output: \"901\"}}]}]",
            )],
            "openai/gpt-4o",
            "input would cost 900 instead of 2.5: changed by more than a factor of three (by azure/gpt-4o)",
        ),
    ] {
        refused(OLD, &with(pairs), place, words);
    }
}

/// A table is accepted if it only adds entries, or makes a guess exact at a plausible price.
#[test]
fn additions_are_taken() {
    let own = |price: &str| format!("fallback: [openai]\n    models: [{{id: gpt-4o, rates: [{{price: {price}}}]}}]");
    let (azure, snapshot) = (own(r#"{input: "2.75", output: "11"}"#), "- {id: gpt-5-pro, ids: [gpt-5-pro]");
    for pairs in [
        &[("[openai, oai]", "[openai, oai, openai.azure]")][..],
        &[("alias: {", "alias: {deployment-2: openai/gpt-5-pro, ")],
        &[("fallback: [openai]", "fallback: [openai, anthropic]")],
        &[("fallback: [openai]\n    models: []", &azure)],
        &[(
            snapshot,
            "- {id: gpt-4o-2031-01-01, rates: [{price: {input: \"2\", output: \"8\"}}]}\n      - {id: gpt-5-pro, ids: [gpt-5-pro]",
        )],
        &[("us: geo", "us: geo, eu: geo")],
        // the vanished model is kept
        &[(
            "      - {id: claude, rates: [{price: {input: \"3\", output: \"15\"}}]}",
            "      - {id: claude-2, rates: [{price: {input: \"3\", output: \"15\"}}]}",
        )],
    ] {
        let (found, said) = judged(OLD, &with(pairs), &[]);
        assert!(found < Some(FindingSeverity::Refusal), "{pairs:?}\n{said}");
    }
    // a second vendor for an id: calls without a provider become ambiguous, which is a warning
    let (found, said) = judged(OLD, &with(&[("{id: claude,", "{id: claude, ids: [claude, gpt-4o],")]), &[]);
    assert!(
        found == Some(FindingSeverity::Warning) && said.contains("id gpt-4o without a provider is now ambiguous"),
        "{said}"
    );
}

/// A comparison has a limited budget; a table that exceeds it is refused.
#[test]
fn work_is_bounded() {
    let values = |n: usize| (0..n).map(|at| format!("v{at}")).collect::<Vec<_>>().join(", ");
    let tiers: Vec<String> = (1..2_001).map(|at| format!("{{over_input: {at}, price: {{input: \"2.5\"}}}}")).collect();
    let huge = GPT_4O.replace(
        "}}",
        &format!(
            "}}, tiers: [{}], adjust: [{{when: {{speed: [{}]}}, multiply: \"1\"}}]}}",
            tiers.join(", "),
            values(2_001)
        ),
    );
    refused(OLD, &with(&[(GPT_4O, &huge)]), "openai/gpt-4o", "too many windows, circumstances and tiers to compare");
}

/// Comparing the built-in table with itself finds nothing.
#[test]
fn nothing_is_found_where_nothing_changed() {
    let builtin = TableSource::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    assert_eq!(builtin.diff(&builtin, &[]), []);
}
