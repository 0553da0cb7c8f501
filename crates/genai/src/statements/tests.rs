//! Tests of which parts of statements stay.

use std::collections::BTreeMap;

use kernel::rng::SeededRng;

use super::caches::is_cache_statement;
use super::{MAX_STATEMENT_BYTES, StatementSystem, shorten_statement};
use crate::Vocabulary;
use crate::testing::request::case_file;

fn system_named(vocabulary: &Vocabulary, name: &str) -> StatementSystem {
    vocabulary.statements.classify_system(Some(name).filter(|name| !name.is_empty()).into_iter())
}

/// The form of statements stays, and an unreadable one keeps its first word only; a second pass changes nothing.
#[test]
fn the_form_stays() {
    let vocabulary = Vocabulary::builtin().unwrap();
    let cases: BTreeMap<String, Vec<Vec<String>>> = case_file("tests/cases/statements.yaml");
    for (name, case) in cases.iter().flat_map(|(name, cases)| cases.iter().map(move |case| (name, case))) {
        let (text, left) = (case[0].as_str(), case[case.len() - 1].as_str());
        let shorten = |text: &str| shorten_statement(system_named(&vocabulary, name), text);
        assert_eq!(shorten(text).as_deref().unwrap_or(text), left, "{name}: {text}");
        assert_eq!(shorten(left), None, "{name}: a second pass changes {left}");
    }
}

/// No word of a sentence stays, wherever it is in a statement and however its words are joined.
#[test]
fn sentences_go() {
    const WORDS: [&str; 12] = [
        "amber", "birch", "cobble", "dapple", "ember", "fjord", "gravel", "hollow", "ivory", "juniper", "kettle",
        "lantern",
    ];
    let shapes = [
        ("postgresql", r"SELECT a FROM t WHERE b = '{}' AND c = E'it\'s {}'"),
        ("postgresql", "SELECT a /* {} */ FROM t -- {}"),
        ("postgresql", r#"SELECT $${}$$, $q${}$q$, "{}" FROM t"#),
        ("sqlite", "SELECT `{}`, 'it''s {}' FROM t"),
        ("mysql", r#"SELECT "{}", 'it\'s {}' FROM `{}` # {}"#),
        ("oracle", "SELECT q'[it's {}]', N'{}' FROM dual"),
        ("spanner", r#"SELECT """{}""", r'{}' FROM t"#),
        ("graphql", r#"query Q { a(b: "{}") { c } } # {}"#),
        ("neo4j", r#"MATCH (n {name: "{}"}) RETURN n // {}"#),
        ("mongodb", r#"{"find": "{}", "{}": ["{}"]}"#),
        ("loki", r#"{app="{}"} |= `{}`"#),
        ("", r#"SELECT a FROM t WHERE b = '{}' AND c = "{}""#),
        ("", "SELECT {} FROM t"),
        ("other_sql", "SELECT {}"),
        ("", "{}"),
        ("", "query { {} }"),
        ("mssql", "SELECT a FROM [{}]"),
        ("redis", "SET k {}"),
    ];
    let vocabulary = Vocabulary::builtin().unwrap();
    for seed in 0..2_000 {
        let rng = SeededRng::new(seed);
        let below = |end: usize| usize::try_from(rng.next() % end as u64).unwrap();
        let (first, count, mark) = (below(WORDS.len()), 6 + below(3), [" ", "/", "+", "-", "."][below(5)]);
        let words: Vec<&str> = WORDS.iter().cycle().skip(first).take(count).copied().collect();
        let (name, shape) = shapes[below(shapes.len())];
        let text = shape.replace("{}", &words.join(mark));
        let left = shorten_statement(system_named(&vocabulary, name), &text).expect(&text);
        assert!(!words.iter().any(|word| left.contains(word)), "seed {seed}, {name}: {text} leaves {left}");
        assert_eq!(shorten_statement(system_named(&vocabulary, name), &left), None, "{left}");
    }
}

/// Long hostile statements take linear time: in quadratic time this test would not end. Results are bounded.
#[test]
fn hostile_statements_are_read_in_linear_time() {
    let vocabulary = Vocabulary::builtin().unwrap();
    let pieces = [
        "'", "\"", "`", "\\'", "$", "$a", "$a$", "/*", "*/", "--", "//", "#", "(", "[", "{", "{\"a\":", "[1,", "? ",
        "a.", "a ", "_", "1e", "0x", "q'[", "E'\\", "\n", "…", "患", ";", "SELECT ",
    ];
    for piece in pieces {
        for start in ["SELECT ", "{", "SELECT $a", "SELECT '"] {
            let text = format!("{start}{}", piece.repeat(MAX_STATEMENT_BYTES / 4 / piece.len()));
            for name in ["postgresql", "mysql"] {
                let system = system_named(&vocabulary, name);
                let left = shorten_statement(system, &text).unwrap_or_default();
                assert!(left.len() <= text.len(), "{start}{piece}: {} bytes", left.len());
            }
        }
    }
    let long = format!("SELECT a FROM t WHERE b IN ({})", "?, ".repeat(MAX_STATEMENT_BYTES / 3));
    let left = shorten_statement(StatementSystem::DoubledQuotes, &long);
    assert_eq!(left.as_deref(), Some("SELECT […]"));
}

/// Cache commands stay, keys and values are removed; what the client masked itself stays, and a second pass changes
/// nothing.
#[test]
fn commands_stay() {
    let shorten = |text: &str| shorten_statement(StatementSystem::Cache, text);
    for (text, left) in [
        ("SET chat:1 hello", "SET […]"),
        ("GET chat:1", "GET […]"),
        ("SET ? ?", "SET ? ?"),
        ("set [2 other arguments]", "set [2 other arguments]"),
        ("set mine [1 other arguments]", "set […]"),
        ("JSON.GET k $.a", "JSON.GET […]"),
        ("MARIA.HUBER hat", "[…]"),
        ("JSON.MARIAHATHIV k", "[…]"),
        ("PING", "PING"),
        ("FT.SEARCH idx word", "FT.SEARCH […]"),
        ("GET a\nSET b c", "GET […]\nSET […]"),
        ("what is it", "[…]"),
        ("Maria", "[…]"),
        ("SET k hello\nMaria has it", "SET […]\n[…]"),
        ("SET ? [text other arguments]", "SET […]"),
        ("{\"role\": \"user\"}", "[…]"),
        ("", ""),
    ] {
        assert_eq!(shorten(text).as_deref().unwrap_or(text), left, "{text}");
        assert_eq!(shorten(left), None, "a second pass changes {left}");
    }
    let many = shorten(&"GET a\n".repeat(10_000)).expect("it is cut");
    assert!(many.lines().count() == 65 && shorten(&many).is_none_or(|again| again.len() <= many.len()));
}

/// Must not regress: if the system is not named, arguments of cache commands are removed, and SQL is read as SQL.
#[test]
fn statements_to_nobody() {
    for text in ["SET chat:1 hello", "hset s k v", "GET chat:1", "JSON.SET k $ {}", "SETEX k 1 v"] {
        assert!(is_cache_statement(text), "{text}");
    }
    for text in
        ["SELECT a FROM b", "DELETE FROM b", "SET search_path TO x", "set @a = 1", "INSERT INTO a VALUES (?)", ""]
    {
        assert!(!is_cache_statement(text), "{text}");
    }
}
