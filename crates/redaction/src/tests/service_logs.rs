//! Measures what the rules find in 500 bodies and attributes of ordinary services' logs in twelve languages, all made
//! up (`tests/cases/service-logs.jsonl`). `TOLLGATE_UPDATE=1 cargo test -p redaction service_logs` writes the list of
//! misses and the table in docs/redaction.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use super::super::{SearchScratch, replace_hits};
use super::detector;

const ROWS: &str = "tests/cases/service-logs.jsonl";
const MISSES: &str = "tests/cases/service-logs-misses.txt";
const PAGE: &str = "docs/redaction.md";
const BEGIN: &str = "<!-- service-logs: begin -->\n";
const END: &str = "<!-- service-logs: end -->";

/// A log body, or the value of an attribute.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    kind: String,
    lang: String,
    #[serde(rename = "where")]
    place: String,
    #[serde(default)]
    key: String,
    /// Whether the attribute's value is a number.
    #[serde(default)]
    number: bool,
    text: String,
    /// Parts that must not remain; none in a control, which must stay unchanged.
    private: Vec<String>,
}

impl Row {
    fn redacted(&self, scratch: &mut SearchScratch) -> String {
        if self.number && !detector().may_be_private(&self.key, &self.text) {
            return self.text.clone();
        }
        let hits = detector().find_for_key(&self.key, &self.text, scratch).to_vec();
        replace_hits(&self.text, &hits, &mut |hit, _, out| out.push_str(detector().placeholder(hit)))
    }

    /// Whether the rules do the right thing.
    fn is_right(&self, scratch: &mut SearchScratch) -> bool {
        let redacted = self.redacted(scratch);
        match self.private.is_empty() {
            true => redacted == self.text,
            false => !self.private.iter().any(|part| redacted.contains(part)),
        }
    }

    /// The line of a miss.
    fn line(&self) -> String {
        let key = if self.key.is_empty() { "body" } else { self.key.as_str() };
        format!("{} {} {} {key}", self.id, self.kind, self.lang)
    }
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(fixtures::at(ROWS)).expect("the rows");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// With `TOLLGATE_UPDATE`, writes a generated file; returns whether it is up to date.
fn is_current(path: &str, text: &str) -> bool {
    let path = fixtures::at(path);
    if config::env::var("TOLLGATE_UPDATE").is_some() {
        fs::write(&path, text).expect("the file is written");
    }
    fs::read_to_string(&path).unwrap_or_default() == text
}

/// The page with its table of kinds: rows, and rows of which nothing private is left.
fn page(counts: &BTreeMap<&str, (usize, usize)>) -> String {
    let mut table = "\n| kind | rows | found | recall |\n|---|---|---|---|\n".to_owned();
    for (kind, (all, right)) in counts.iter().filter(|(kind, _)| **kind != "control") {
        let recall = *right as f64 / *all as f64;
        writeln!(table, "| {} | {all} | {right} | {recall:.2} |", kind.replace('_', " ")).expect("a row");
    }
    if let Some((all, right)) = counts.get("control") {
        writeln!(table, "| *without private data* | {all} | {right} unchanged | - |\n").expect("a row");
    }
    let mut page = fs::read_to_string(fixtures::at(PAGE)).expect("the page");
    let from = page.find(BEGIN).expect("the table's begin") + BEGIN.len();
    let to = page.find(END).expect("the table's end");
    page.replace_range(from..to, &table);
    page
}

/// Must not regress: a row whose private parts are found stays found, no control changes, and list and page say what
/// is missed. (Without a rule's keys, its rows are new misses.)
#[test]
fn service_logs() {
    let (rows, mut scratch) = (rows(), SearchScratch::new());
    assert_eq!(rows.len(), 500);
    assert_eq!(rows.iter().map(|row| &row.id).collect::<BTreeSet<_>>().len(), 500, "ids are distinct");
    assert_eq!(rows.iter().map(|row| &row.lang).collect::<BTreeSet<_>>().len(), 12);
    let (mut counts, mut wrong) = (BTreeMap::<&str, (usize, usize)>::new(), Vec::new());
    for row in &rows {
        assert_eq!(row.place == "attribute", !row.key.is_empty(), "{}", row.id);
        assert_eq!(row.kind == "control", row.private.is_empty(), "{}", row.id);
        assert!(row.private.iter().all(|part| row.text.contains(part)), "{}", row.id);
        let is_right = row.is_right(&mut scratch);
        let count = counts.entry(&row.kind).or_default();
        *count = (count.0 + 1, count.1 + usize::from(is_right));
        if !is_right {
            wrong.push(row);
        }
    }
    let changed = wrong.iter().filter(|row| row.kind == "control");
    let changed: Vec<String> =
        changed.map(|row| format!("{}: {}", row.line(), row.redacted(&mut SearchScratch::new()))).collect();
    assert!(changed.is_empty(), "controls changed:\n{}", changed.join("\n"));
    let misses: String = wrong.iter().map(|row| row.line() + "\n").collect();
    let known = fs::read_to_string(fixtures::at(MISSES)).unwrap_or_default();
    let lost: Vec<&str> = misses.lines().filter(|line| !known.lines().any(|other| other == *line)).collect();
    let is_listed = is_current(MISSES, &misses);
    assert!(is_listed, "{MISSES} is out of date: TOLLGATE_UPDATE=1. New: {lost:?}\n{counts:#?}");
    assert!(is_current(PAGE, &page(&counts)), "the table in {PAGE} is out of date: run with TOLLGATE_UPDATE=1");
}

/// What a person has, believes and earns is found under its keys in attributes too; states and types there stay.
#[test]
fn keys_of_traits_and_pay() {
    let mut scratch = SearchScratch::new();
    let mut is_found = |key: &str, text: &str| !detector().find_for_key(key, text, &mut scratch).is_empty();
    for (key, text) in [
        ("patient.diagnosis", "fracture of the left wrist"),
        ("patient.condition", "type 2 diabetes"),
        ("diagnosis", "E11.9"),
        ("employee.religion", "roman_catholic"),
        ("salary", "$96,500"),
        ("salary", "72.000,00 EUR"),
    ] {
        assert!(is_found(key, text), "{key}: {text}");
    }
    for (key, text) in [
        ("status.condition", "Ready"),
        ("pod.diagnosis", "upstream timeout"),
        ("diagnosis", "compute_diagnosis(row)"),
        ("religion", "user.religion"),
        ("religion", "true"),
        ("salary", "f64"),
        ("salary", "high"),
        ("salary", "0"),
    ] {
        assert!(!is_found(key, text), "{key}: {text}");
    }
    assert!(detector().may_be_private("employee.salary", "84500"));
    assert!(!detector().may_be_private("salary.rows_processed", "84500"));
}
