//! The page that shows which values are words. `TOLLGATE_UPDATE=1 cargo test -p redaction word_score` writes its table.

use std::fmt::Write as _;
use std::fs;

use super::super::secrets::word_score::WordScore;

const PAGE: &str = "docs/reference/words-or-secrets.md";
const BEGIN: &str = "<!-- scores: begin -->\n";
const END: &str = "<!-- scores: end -->";

/// Names, passwords that are words, and random values: made up, or published as examples.
const WORDS: &[&str] = &[
    "userAccessToken",
    "initialAdminPassword",
    "service_account_name",
    "kubernetes.io/tls",
    "correct-horse-battery",
    "hunter22",
    "walnut_velvet555",
    "sunshine",
    "Kettledolphin43",
    "Sommer24",
    "sha256",
    "aes-256-cbc",
    "AWS4-HMAC-SHA256",
    "AccessKeyTypes",
    "tlsInsecureSkipVerify",
    "varchar",
    "postgresql",
    "feature/login-page",
    "contraseña",
    "gpt-5.1-mini",
    "1.2.3-rc.1",
];
const RANDOM: &[&str] = &[
    "q8W7e6R5t4Y3",
    "XvhaYFkA5nHhf",
    "Tr0ub4dor&3",
    "wJalrXUtnFEMIK7MDENGbPxRfiCY",
    "3fxl7hUebRsHiAVA",
    "0f1e2d3c4b5a6978",
    "9f8e7d6c-5b4a-3928-1706-f5e4d3c2b1a0",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "xkcdjfwqz",
    "zq9x-kv7t-mw3p",
    "AIzaSyA1b2C3d4E5f6G7h8",
    "bG9uZ2VyLWVuY29kZWQ",
    "A:J$NL9~6:u:L$_:VO4tf",
    "m{{z}u)k${w]q-m(fold",
    "eyJhbGciOiJIUzI1NiJ9",
    "5up3r53cr3t",
    "k3yb04rdc4t",
    "pa55w0rd",
    "Zx9kP2mQ",
];

/// Words stay words and random values random when the lists of words or the score change.
#[test]
fn words_are_told_from_random_values() {
    let mut table = "\n| value | trigrams | unusual | words? |\n|---|---|---|---|\n".to_owned();
    for (value, is_words) in WORDS.iter().map(|value| (value, true)).chain(RANDOM.iter().map(|value| (value, false))) {
        let score = WordScore::of(value.as_bytes());
        assert_eq!(score.is_words(), is_words, "{value}: {score:?}");
        let kind = if is_words { "yes" } else { "no" };
        writeln!(table, "| `{value}` | {} | {} | {kind} |", score.trigrams(), score.unusual()).expect("a row");
    }
    let page = fixtures::at(PAGE);
    let before = fs::read_to_string(&page).expect("the page");
    let (head, rest) = before.split_once(BEGIN).expect("the table's begin");
    let (_, tail) = rest.split_once(END).expect("the table's end");
    let after = format!("{head}{BEGIN}{table}\n{END}{tail}");
    if config::env::var("TOLLGATE_UPDATE").is_some() {
        fs::write(&page, &after).expect("the page is written");
    }
    assert!(fs::read_to_string(&page).is_ok_and(|text| text == after), "run with TOLLGATE_UPDATE=1");
}
