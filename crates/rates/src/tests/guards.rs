//! Tables that a refresh must refuse although every text in them looks plausible. Each question of the guard was taken
//! out once (factor, zero, shares, dates, names, aliases, scopes, patterns, clock, tiers, budget): a test here failed.

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
  aws:
    names: [aws.bedrock]
    models:
      - {id: anthropic.claude, rates: [{price: {input: "3"}, adjust: [{when: {bedrock_scope: [geo]}, multiply: "4"}]}]}
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

const CLAUDE: &str = "      - {id: claude, rates: [{price: {input: \"3\", output: \"15\"}}]}\n";
const ALIAS: &str = "my-deployment: openai/gpt-4o";
const GPT_4O: &str = r#"{price: {input: "2.5", output: "10"}}"#;
const NO_MODELS: &str = "fallback: [openai]\n    models: []";

/// The worst finding for `new`, and the text of all findings.
fn judged(old: &str, new: &str, accept: &[&str]) -> (Option<FindingSeverity>, String) {
    let source = |text: &str| TableSource::parse("t.yaml", text).unwrap_or_else(|error| panic!("{}", error.0));
    let accept: Vec<String> = accept.iter().map(|word| (*word).to_owned()).collect();
    let findings = source(old).diff(&source(new), &accept).unwrap_or_else(|error| panic!("{}", error.0));
    let lines: Vec<String> =
        findings.iter().map(|finding| format!("{}: {}", finding.place, finding.description)).collect();
    (findings.iter().map(|finding| finding.severity).max(), lines.join("\n"))
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

/// Asserts that `new` is refused with these words, and accepted when all of `places`, and no fewer, are.
fn refused(old: &str, new: &str, places: &[&str], words: &str) {
    for left_out in places {
        let accept: Vec<&str> = places.iter().copied().filter(|place| place != left_out).collect();
        let (found, text) = judged(old, new, &accept);
        assert!(found == Some(FindingSeverity::Refusal) && text.contains(words), "{words}: {found:?}\n{text}");
    }
    let (found, text) = judged(old, new, places);
    assert!(found < Some(FindingSeverity::Refusal), "{places:?}: {text}");
}

/// A shifted decimal point, a free model and a price that vanished are refused; three times the price is not.
#[test]
fn jumps_of_prices_are_refused() {
    let factor = "changed by more than a factor of three";
    for (price, words) in [
        (r#"input: "25", output: "10""#, format!("openai/gpt-4o: input would cost 25 instead of 2.5: {factor}")),
        (r#"input: "0.25", output: "10""#, format!("input would cost 0.25 instead of 2.5: {factor}")),
        (r#"input: "2.5", output: "30.01""#, format!("output would cost 30.01 instead of 10: {factor}")),
        (r#"input: "2.5", output: "0""#, "output would cost 0 instead of 10: a price must not drop to zero".to_owned()),
        (r#"input: "2.5""#, "output would have no price instead of 10".to_owned()),
        (r#"input: "2.5", output: "10", reasoning: "31""#, format!("reasoning would cost 31 instead of 10: {factor}")),
    ] {
        let new = with(&[(GPT_4O, &format!("{{price: {{{price}}}}}"))]);
        refused(OLD, &new, &["openai/gpt-4o"], &words);
    }
    let (found, text) = judged(OLD, &with(&[("\"10\"", "\"30\"")]), &[]);
    assert!(found == Some(FindingSeverity::Warning) && text.contains("output would cost 30 instead of 10"), "{text}");
    let fee = |price: &str| GPT_4O.replace("}}", &format!("}}, fees_per_1000: {{web_search: \"{price}\"}}}}"));
    let (old, new) = (with(&[(GPT_4O, &fee("10"))]), with(&[(GPT_4O, &fee("31"))]));
    refused(&old, &new, &["openai/gpt-4o"], "web_search would cost 31 instead of 10");
    let thousandth = with(&[("per_tokens: 1000000", "per_tokens: 1000000000")]);
    assert!(judged(OLD, &thousandth, &["*"]).1.contains("input would cost 0.0025 instead of 2.5"));
}

/// A table whose prices are all halved stays below the limit of each model; the share of changed models shows it.
#[test]
fn a_halved_table_is_refused() {
    let halves = [("3", "1.5"), ("15", "7.5"), ("2.5", "1.25"), ("10", "5"), ("120", "60"), ("12", "6")];
    let halved = halves.map(|(from, to)| (format!("\"{from}\""), format!("\"{to}*\"")));
    let pairs: Vec<(&str, &str)> = halved.iter().map(|(from, to)| (&**from, &**to)).collect();
    refused(OLD, &with(&pairs).replace('*', "").replace("gpt-4o:.$", "gpt-4o:.*$"), &["*"], "models change at once");
}

/// Names that lost their price are refused, each at its model. A model that vanished keeps its entry, but a table
/// without several models is refused.
#[test]
fn missing_models_are_refused() {
    let (found, text) = judged(OLD, &with(&[(CLAUDE, "      []\n")]), &[]);
    let words = "anthropic/claude: the new table lacks this model; its entry is kept";
    assert!(found == Some(FindingSeverity::Warning) && text == words, "{text}");
    let pro = "      - {id: gpt-5-pro, ids: [gpt-5-pro], rates: [{price: {input: \"15\", output: \"120\"}}]}\n";
    refused(OLD, &with(&[(CLAUDE, "      []\n"), (pro, "")]), &["*"], "2 of 5 models are missing");

    let both = &["openai/gpt-4o", "openai/gpt-5-pro"][..];
    let ends = GPT_4O.replace("{price", r#"{to: "2027-01-01T00:00:00Z", price"#);
    for (pairs, places, words) in [
        (&[(GPT_4O, &*ends)][..], &["openai/gpt-4o"][..], "openai/gpt-4o: input would have no price instead of 2.5"),
        (
            &[("gpt-4o, gpt-4o-2024-08-06]", "gpt-4o-2024-08-06]"), (ALIAS, "my-deployment: openai/gpt-4o-2024-08-06")],
            &["openai/gpt-4o"],
            "id gpt-4o no longer has a price",
        ),
        (&[("alias: {my-deployment", "alias: {other")], &["openai/gpt-4o"], "id my-deployment no longer has a price"),
        (&[("fallback: [openai]", "fallback: []")], both, "id gpt-5-pro no longer has a price"),
        (&[("[openai, oai]", "[openai]")], &["openai/*"], "provider name oai is missing"),
        (&[("[openai, oai]", "[openai]"), ("[anthropic]", "[anthropic, oai]")], both, "no longer has a price"),
        (&[("[anthropic]", "[anthropic, openai.chat]")], both, "no longer has a price"),
        (&[("us: geo", "eu: geo")], &["aws/anthropic.claude"], "id us.anthropic.claude no longer has a price"),
        (&[("^ft:gpt-4o:.*$", "^ft:.*$")], &["openai/*"], "id patterns were changed, reordered or removed"),
    ] {
        refused(OLD, &with(pairs), places, words);
    }
}

/// An id that means another model than before is refused if calls would pay another price.
#[test]
fn moved_ids_are_refused() {
    let alias = "alias: {my-deployment: openai/gpt-4o";
    let azure = |model: &str| NO_MODELS.replace("[]", &format!("[{{{model}}}]"));
    let own = azure(r#"id: gpt-4o, rates: [{price: {input: "900", output: "10"}}]"#);
    let any = azure(r#"id: any, patterns: ["^gpt-4.*$"], rates: [{price: {input: "900", output: "10"}}]"#);
    for (pairs, place, words) in [
        (
            &[("gpt-4o, gpt-4o-2024-08-06]", "gpt-4o]"), ("[gpt-5-pro]", "[gpt-5-pro, gpt-4o-2024-08-06]")][..],
            "openai/gpt-4o",
            "openai/gpt-5-pro: input would cost 15 instead of 2.5",
        ),
        (&[(alias, "alias: {my-deployment: openai/gpt-5-pro")], "openai/gpt-4o", "openai/gpt-5-pro: output would cost"),
        (
            &[(alias, "alias: {gpt-4o: openai/gpt-5-pro, my-deployment: openai/gpt-4o-2024-08-06")],
            "openai/gpt-4o",
            "openai/gpt-5-pro: input would cost 15",
        ),
        (
            &[(alias, "alias: {gpt-4o-2031-01-01: openai/gpt-5-pro, my-deployment: openai/gpt-4o")],
            "openai/gpt-4o",
            "openai/gpt-5-pro: input would cost 15",
        ),
        (&[(NO_MODELS, &*own)], "openai/gpt-4o", "azure/gpt-4o: input would cost 900 instead of 2.5"),
        (&[(NO_MODELS, &*any)], "openai/gpt-4o", "azure/any: input would cost 900 instead of 2.5"),
        (&[("us: geo", "us: global")], "aws/anthropic.claude", "input would cost 3 instead of 12"),
    ] {
        refused(OLD, &with(pairs), &[place], words);
    }
    let (_, text) = judged(OLD, &with(&[("reasoning: output", "reasoning: input")]), &[]);
    assert!(text.contains("anthropic/claude: reasoning would cost 3 instead of 15: changed by more"), "{text}");
}

/// An older table is refused, whatever is accepted, and so are changes of what past calls cost.
#[test]
fn older_dates_are_refused() {
    let made = |day: &str| with(&[("currency", &format!("generated: {day:?}\ncurrency"))]);
    let new_windows = |start: &str, price: &str| {
        let later = format!("{{from: {start:?}, {price}}}");
        format!("{}, {later}", GPT_4O.replace("{price", &format!("{{to: {start:?}, price")))
    };
    let dearer = r#"price: {input: "5", output: "10"}"#;
    for (old, new, why) in [
        (OLD.to_owned(), with(&[("version: \"7\"", "version: \"6\"")]), "version 6 is older than version 7 in use"),
        (made("2026-11-20"), made("2026-11-19"), "generated 2026-11-19 is before 2026-11-20 of the table in use"),
    ] {
        for accept in [&[][..], &["*"]] {
            let (found, text) = judged(&old, &new, accept);
            assert!(found == Some(FindingSeverity::Refusal) && text.contains(why), "{text}");
        }
    }
    let old = made("2026-11-20").replace(GPT_4O, &new_windows("2026-06-01T00:00:00Z", dearer));
    for (start, price) in [("2026-03-01T00:00:00Z", dearer), ("2026-06-01T00:00:00Z", &GPT_4O[1..GPT_4O.len() - 1])] {
        let new = made("2026-11-21").replace(GPT_4O, &new_windows(start, price));
        let (found, text) = judged(&old, &new, &[]);
        let expected = if start.contains("03") { FindingSeverity::Refusal } else { FindingSeverity::Warning };
        assert!(found == Some(expected) && text.contains(" instead of "), "{start}: {found:?} {text}");
    }
    let only_new = made("2026-11-21").replace(GPT_4O, &format!("{{from: \"2026-06-01T00:00:00Z\", {dearer}}}"));
    refused(&old, &only_new, &["openai/gpt-4o"], "input would have no price instead of 2.5");
    for (start, expected) in [
        ("2026-11-19T00:00:00Z", FindingSeverity::Warning),
        ("2026-11-20T00:00:00Z", FindingSeverity::Change),
        ("2027-01-01T00:00:00Z", FindingSeverity::Change),
    ] {
        let new = made("2026-11-21").replace(GPT_4O, &new_windows(start, dearer));
        let (found, text) = judged(&made("2026-11-20"), &new, &[]);
        assert!(found == Some(expected) && text.contains("input would cost 5 instead of 2.5"), "{start} {text}");
    }
}

/// A new circumstance, factor, tier or window may make a price jump just as a changed number does.
#[test]
fn circumstances_windows_and_tiers_are_compared() {
    let week = "[mon, tue, wed, thu, fri, sat, sun]";
    for (rest, words) in [
        (format!(r#"adjust: [{{when: {{utc_weekday: {week}}}, multiply: "1000"}}]"#), "gpt-4o;mon|tue"),
        (r#"adjust: [{when: {utc_time: ["22:00-23:00"]}, price: {output: "99"}}]"#.to_owned(), ";22:00-23:00: output"),
        (
            r#"adjust: [{when: {utc_time: ["12:00-12:01"], utc_weekday: [mon]}, price: {output: "99"}}]"#.to_owned(),
            "output would cost 99",
        ),
        (r#"tiers: [{over_input: 0, price: {input: "9999"}}]"#.to_owned(), "gpt-4o from 1 tokens: input would cost 9999"),
        (r#"tiers: [{at_least_input: 0, price: {input: "9999"}}]"#.to_owned(), "gpt-4o: input would cost 9999"),
        (
            r#"adjust: [{when: {processing: [batch]}, price: {input: "2"}, tiers: [{over_input: 9, price: {input: "0.1"}}]}]"#.to_owned(),
            "gpt-4o;batch from 10 tokens: input would cost 0.1",
        ),
        (
            r#"adjust: [{when: {speed: [fast]}, multiply: "2"}, {when: {inference_geo: [us, eu]}, multiply: "2"}]"#
                .to_owned(),
            "gpt-4o;fast;us|eu: input would cost 10 ",
        ),
        (r#"adjust: [{when: {google_platform: [vertex]}, multiply: "4"}]"#.to_owned(), "gpt-4o;vertex: input would cost 10"),
        (r#"adjust: [{when: {speed: [fast]}, multiply: "0"}]"#.to_owned(), "a price must not drop to zero"),
        (
            r#"adjust: [{when: {speed: [fast]}, from: "2027-01-01T00:00:00Z", multiply: "4"}]"#.to_owned(),
            "gpt-4o;fast: input would cost 10 ",
        ),
    ] {
        let new = GPT_4O.replace("}}", &format!("}}, {rest}}}"));
        refused(OLD, &with(&[(GPT_4O, &new)]), &["openai/gpt-4o"], words);
    }
    let middle = r#"{to: "2026-11-20T00:00:00Z", price: {input: "2.5", output: "10"}}, {from: "2026-11-20T00:00:00Z", to: "2026-12-20T00:00:00Z", price: {input: "2500", output: "10"}}, {from: "2026-12-20T00:00:00Z", price: {input: "2.5", output: "10"}}"#;
    let words = "openai/gpt-4o@2026-11-20T00:00:00Z: input would cost 2500 instead of 2.5";
    refused(OLD, &with(&[(GPT_4O, middle)]), &["openai/gpt-4o"], words);
}

/// A table is accepted if it only adds entries, or makes a guess exact at a plausible price.
#[test]
fn additions_are_taken() {
    let own = r#"id: gpt-4o, rates: [{price: {input: "2.75", output: "11"}}]"#;
    let (azure, snapshot) = (NO_MODELS.replace("[]", &format!("[{{{own}}}]")), "- {id: gpt-5-pro, ids: [gpt-5-pro]");
    for pairs in [
        &[("[openai, oai]", "[openai, oai, openai.azure]")][..],
        &[("alias: {", "alias: {deployment-2: openai/gpt-5-pro, ")],
        &[("fallback: [openai]", "fallback: [openai, anthropic]")],
        &[(NO_MODELS, &azure)],
        &[(
            snapshot,
            "- {id: gpt-4o-2031-01-01, rates: [{price: {input: \"2\", output: \"8\"}}]}\n      - {id: gpt-5-pro, ids: [gpt-5-pro]",
        )],
        &[("us: geo", "us: geo, eu: geo")],
        &[("per_tokens: 1000000", "per_tokens: 1000000 # the same prices")],
    ] {
        let (found, text) = judged(OLD, &with(pairs), &[]);
        assert!(found < Some(FindingSeverity::Refusal), "{pairs:?}\n{text}");
    }
    let (found, text) = judged(OLD, &with(&[("{id: claude,", "{id: claude, ids: [claude, gpt-4o],")]), &[]);
    let words = "openai/gpt-4o: id gpt-4o is now ambiguous for calls that name no provider";
    assert!(found == Some(FindingSeverity::Warning) && text == words, "{text}");
}

/// A table that would need too many look-ups is refused, whatever is accepted.
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
    let (found, text) = judged(OLD, &with(&[(GPT_4O, &huge)]), &["*", "openai/gpt-4o"]);
    assert!(found == Some(FindingSeverity::Refusal) && text.contains("too many names, windows"), "{text}");
}

/// Comparing the built-in table with itself finds nothing.
#[test]
fn nothing_is_found_where_nothing_changed() {
    let builtin = TableSource::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    assert_eq!(builtin.diff(&builtin, &[]).unwrap_or_else(|error| panic!("{}", error.0)), []);
}
