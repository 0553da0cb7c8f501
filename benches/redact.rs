//! The redaction engine: its time as a multiple of one `memchr_iter('@')` pass over the same text in the same run,
//! because ratios carry over between machines while megabytes a second do not. `memchr` is limited by memory: a *warm*
//! text is in the caches, a *cold* one of 1 GiB is not, like text that just came from the network; the engine hardly
//! depends on it. `TOLLGATE_GATE=1` turns the cold ratios (the value measured on a quiet machine plus a quarter, with
//! the target beside it) and the other figures into limits: the run fails if one is exceeded. `count NAME PASSES` only
//! searches a corpus or a hostile text, so that `tests/nightly.sh instructions` can count instructions, which do not
//! depend on load.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use redaction::{CustomRule, Detector, RuleData, SearchScratch, builtin_rules};

/// Bytes of each corpus.
const SIZE: usize = 2 << 20;
/// Bytes that no cache holds: some processors have half a gigabyte of cache.
const COLD: usize = 1 << 30;
/// The part of these bytes that the engine reads; it was written long before, so it is cold too.
const COLD_READ: usize = 64 << 20;

/// A corpus of texts, and the limit and target of its cold ratio.
struct Corpus {
    name: &'static str,
    texts: Vec<String>,
    bound: Option<(f64, f64)>,
}

fn rules() -> Vec<RuleData> {
    builtin_rules().expect("the built-in rules")
}

fn detector(custom: &[CustomRule]) -> Detector {
    Detector::new(&rules(), custom).map_err(|errors| errors.len()).expect("the rules compile")
}

/// The shortest time of several rounds, in seconds.
fn best(rounds: usize, mut work: impl FnMut()) -> f64 {
    let mut round = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..rounds).map(|_| round()).fold(f64::MAX, f64::min)
}

fn memchr_pass(texts: &[String], rounds: usize) -> f64 {
    best(rounds, || {
        texts.iter().for_each(|text| {
            black_box(memchr::memchr_iter(b'@', text.as_bytes()).count());
        })
    })
}

/// The ratio over copies of the texts that together fit in no cache.
fn cold_ratio(detector: &Detector, texts: &[String]) -> f64 {
    let bytes: usize = texts.iter().map(String::len).sum();
    let copies: Vec<String> = std::iter::repeat_n(texts, COLD.div_ceil(bytes)).flatten().cloned().collect();
    let mut left = COLD_READ;
    let read = copies.iter().take_while(|text| {
        let more = left > 0;
        left = left.saturating_sub(text.len());
        more
    });
    let read = &copies[..read.count()];
    let of = |texts: &[String]| texts.iter().map(String::len).sum::<usize>() as f64;
    (engine_pass(detector, read, 2) / of(read)) / (memchr_pass(&copies, 5) / of(&copies))
}

fn engine_pass(detector: &Detector, texts: &[String], rounds: usize) -> f64 {
    let mut scratch = SearchScratch::new();
    best(rounds, || {
        texts.iter().for_each(|text| {
            black_box(detector.find(text, &mut scratch).len());
        })
    })
}

/// Files below a folder of the repository, in order.
fn files(folder: &Path, suffix: &str, out: &mut Vec<String>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, suffix, out);
        } else if path.extension().is_some_and(|extension| extension == suffix) {
            out.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

fn strings(value: &serde_json::Value, out: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => out.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        serde_json::Value::Object(entries) => entries.values().for_each(|value| strings(value, out)),
        _ => {}
    }
}

/// Deterministic numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

fn logs() -> String {
    let (mut out, mut numbers) = (String::new(), Numbers(12_345));
    while out.len() < SIZE {
        let r = numbers.next();
        let level = ["INFO", "WARN", "DEBUG", "ERROR"][(r % 4) as usize];
        writeln!(
            out,
            "2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z {level} svc-{} [{:016x}-{r:08x}] GET /api/v1/items/{}?page={} status={} \
             bytes={} dur={}.{:02}ms ip=10.{}.{}.{} port={} ver=1.{}.{} pid={}",
            r % 28 + 1, r % 24, r % 60, (r / 7) % 60, r % 1000, r % 17, numbers.0, r % 100_000, r % 50, 200 + r % 300,
            r % 90_000, r % 900, r % 100, r % 256, (r / 3) % 256, (r / 5) % 256, 1024 + r % 60_000, r % 40, r % 9, r % 40_000,
        )
        .unwrap();
    }
    out
}

fn dense() -> String {
    let (mut out, mut numbers) = (String::new(), Numbers(777));
    while out.len() < SIZE {
        let r = numbers.next();
        writeln!(
            out,
            "{{\"customer\":\"Anna Example{}\",\"email\":\"anna.ex{}@example.org\",\"phone\":\"+1 303 555 0{:03}\",\
             \"card\":\"4111 1111 1111 1111\",\"ssn\":\"219-09-{:04}\",\"ip\":\"203.0.113.{}\",\
             \"iban\":\"DE89370400440532013000\",\"note\":\"call (212) 555-0{:03} or mail bob{}@example.com about order {r}\"}}",
            r % 90, r % 1000, 100 + r % 100, 1 + r % 9000, r % 256, 100 + r % 100, r % 77,
        )
        .unwrap();
    }
    out
}

fn cut(text: &str, size: usize) -> Vec<String> {
    text.as_bytes().chunks(size).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

fn corpora() -> Vec<Corpus> {
    let root = &fixtures::at("");
    let (mut recorded, mut code) = (Vec::new(), Vec::new());
    files(&root.join("tests/recordings"), "json", &mut recorded);
    files(&root.join("src"), "rs", &mut code);
    let mut texts = Vec::new();
    recorded.iter().filter_map(|text| serde_json::from_str(text).ok()).for_each(|value| strings(&value, &mut texts));
    let small: Vec<String> =
        texts.iter().filter(|text| (10..=60).contains(&text.len())).take(20_000).cloned().collect();
    let agent: Vec<String> = texts.into_iter().filter(|text| text.len() > 200).collect();
    vec![
        Corpus { name: "agent JSON", texts: agent, bound: Some((75.0, 60.0)) },
        Corpus { name: "code", texts: code, bound: Some((74.0, 60.0)) },
        Corpus { name: "logs", texts: cut(&logs(), 16 << 10), bound: Some((48.0, 150.0)) },
        Corpus { name: "dense", texts: cut(&dense(), 16 << 10), bound: Some((225.0, 150.0)) },
        Corpus { name: "values of 10 to 60 bytes", texts: small, bound: None },
    ]
}

/// Hostile texts: their name, and the part that is repeated to nearly match a rule again and again.
const HOSTILE: [(&str, &str); 17] = [
    ("at", "a@"),
    ("dashes", "1-"),
    ("jwt", "eyJ"),
    ("colons", "00:"),
    ("cards", "4111 "),
    ("phones", "+1 "),
    ("pem", "-----BEGIN PRIVATE KEY-----"),
    ("sk", "sk-"),
    ("passwords", "password="),
    ("escapes", "\\u0040"),
    ("percent", "%40"),
    ("greetings", "Dear "),
    ("headers", "Authorization: Basic "),
    ("labels", "ssn: "),
    ("fields", "phone="),
    ("Go fields", "Name:"),
    ("brackets", "auth=("),
];
/// Bytes of a hostile text.
const FOR_EVER: usize = 256 << 10;

/// The hostile texts by name, and one that starts the patterns of all rules in turn with too little behind each start.
fn hostile_texts() -> impl Iterator<Item = (&'static str, String)> {
    let begin = |part: &str| {
        let part = part.trim_start_matches("(?:").chars();
        part.take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect::<String>()
    };
    let begins = rules().into_iter().flat_map(|rule| rule.pattern.split('|').map(begin).collect::<Vec<_>>());
    let turn: String = begins.filter(|begin| begin.len() > 2).map(|begin| format!("{begin}x1 ")).collect();
    let texts = HOSTILE.iter().map(|(name, piece)| (*name, (*piece).to_owned()));
    texts.chain([("dfa cache thrash", turn)]).map(|(name, piece)| (name, piece.repeat(FOR_EVER / piece.len())))
}

/// Limits that were exceeded.
#[derive(Default)]
struct Gate(Vec<String>);

impl Gate {
    fn check(&mut self, name: &str, value: f64, bound: f64) -> &'static str {
        if value <= bound {
            return "";
        }
        self.0.push(format!("{name}: {value:.1}, bound {bound:.1}"));
        "  <- over its bound"
    }
}

fn by_corpus(detector: &Detector, corpora: &[Corpus], gate: &mut Gate) -> f64 {
    let mut logs = f64::MAX;
    for corpus in corpora {
        let bytes = corpus.texts.iter().map(String::len).sum::<usize>() as f64;
        let (base, ours) = (memchr_pass(&corpus.texts, 21), engine_pass(detector, &corpus.texts, 9));
        let cold = cold_ratio(detector, &corpus.texts);
        if corpus.name == "logs" {
            logs = ours / bytes;
        }
        let over = corpus.bound.map_or("", |(bound, _)| gate.check(corpus.name, cold, bound));
        let (speed, aim) = (bytes / ours / 1e6, corpus.bound.map_or(String::new(), |(_, aim)| format!(" (aim {aim})")));
        println!(
            "{:26} {:>6.1} x memchr warm, {cold:>6.1} cold{aim}  {speed:>7.1} MB/s{over}",
            corpus.name,
            ours / base
        );
    }
    logs
}

fn by_size(detector: &Detector, agent: &[String], gate: &mut Gate) {
    let whole = agent.concat();
    let whole = whole.repeat((10 << 20) / whole.len() + 1);
    let per_byte = |size: usize| {
        let texts: Vec<String> = cut(whole.get(..(10 << 20).min(whole.len())).unwrap_or(&whole), size);
        engine_pass(detector, &texts, 5) / texts.iter().map(String::len).sum::<usize>() as f64
    };
    let base = per_byte(1 << 10);
    for (size, bound) in
        [(100, 3.0), (1 << 10, 1.3), (16 << 10, 1.3), (256 << 10, 1.3), (1 << 20, 1.3), (10 << 20, 1.3)]
    {
        let ratio = per_byte(size) / base;
        let over = gate.check(&format!("texts of {size} bytes, per byte"), ratio, bound);
        println!("texts of {size:>8} bytes: {ratio:>5.2} of the time per byte at 1 KiB{over}");
    }
}

fn hostile(detector: &Detector, logs: f64, gate: &mut Gate) {
    for (name, text) in hostile_texts() {
        let ratio = engine_pass(detector, std::slice::from_ref(&text), 3) / text.len() as f64 / logs;
        let over = gate.check(&format!("{name} for ever, over logs"), ratio, 3.0);
        println!("{name:20} for ever: {ratio:>5.2} of the time per byte of logs{over}");
    }
}

/// The built-in rules and a hundred custom ones, each for a text that occurs nowhere.
fn with_users() -> Detector {
    let rule = |i: usize| CustomRule {
        name: format!("USER_{i}"),
        pattern: format!("{:06X}-{i:04}", i * 2_654_435),
        ..CustomRule::default()
    };
    detector(&(0..100).map(rule).collect::<Vec<_>>())
}

fn users(plain: &Detector, corpora: &[Corpus], gate: &mut Gate) {
    let more = with_users();
    for corpus in corpora.iter().filter(|corpus| corpus.bound.is_some()) {
        let ratio = engine_pass(&more, &corpus.texts, 9) / engine_pass(plain, &corpus.texts, 9);
        let over = gate.check(&format!("100 users' rules on {}", corpus.name), ratio, 1.2);
        println!("100 users' rules on {:14} {ratio:>5.2} of the time without{over}", corpus.name);
    }
}

/// Prints the 20 most expensive rules: the time of all rules compared with the time without the rule.
fn by_rule(corpora: &[Corpus]) {
    let all = rules();
    let texts: Vec<String> = corpora.iter().flat_map(|corpus| corpus.texts.iter().take(40).cloned()).collect();
    let time = |rules: &[RuleData]| {
        let detector = Detector::new(rules, &[]).map_err(|errors| errors.len()).expect("the rules compile");
        engine_pass(&detector, &texts, 5)
    };
    let whole = time(&all);
    let mut costs: Vec<(f64, &str)> = Vec::new();
    for (index, rule) in all.iter().enumerate() {
        let others: Vec<RuleData> =
            all.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, rule)| rule.clone()).collect();
        costs.push(((whole - time(&others)) / whole * 100.0, &rule.name));
    }
    costs.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    for (cost, name) in costs.iter().take(20) {
        println!("{name:36} {cost:>6.2} % of the time");
    }
}

/// Bytes of a corpus whose instructions are counted; counting is fifty times slower.
const COUNTED: usize = 256 << 10;

/// Searches one corpus or hostile text `passes` times and prints its size; nothing is timed. `users: NAME` adds the
/// custom rules.
fn count(name: &str, passes: usize) {
    let users = name.strip_prefix("users: ");
    let (detector, name) = users.map_or_else(|| (detector(&[]), name), |name| (with_users(), name));
    let mut scratch = SearchScratch::new();
    let corpus = corpora().into_iter().find(|corpus| corpus.name == name).map(|corpus| corpus.texts);
    let hostile = || hostile_texts().find(|(hostile, _)| *hostile == name).map(|(_, text)| vec![text]);
    let Some(texts) = corpus.or_else(hostile) else {
        println!("no corpus {name}");
        std::process::exit(2);
    };
    let mut left = COUNTED;
    let texts: Vec<String> = texts
        .into_iter()
        .take_while(|text| {
            left.checked_sub(text.len()).is_some_and(|less| {
                left = less;
                true
            })
        })
        .collect();
    for _ in 0..passes {
        texts.iter().for_each(|text| {
            black_box(detector.find(text, &mut scratch).len());
        });
    }
    println!("{}", texts.iter().map(String::len).sum::<usize>());
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [what, name, passes] = arguments.as_slice()
        && what == "count"
    {
        return count(name, passes.parse().unwrap_or(1));
    }
    let start = Instant::now();
    let detector = detector(&[]);
    println!("{} rules, compiled in {:.1} ms", rules().len(), start.elapsed().as_secs_f64() * 1e3);
    let (corpora, mut gate) = (corpora(), Gate::default());
    let logs = by_corpus(&detector, &corpora, &mut gate);
    by_size(&detector, &corpora[0].texts, &mut gate);
    hostile(&detector, logs, &mut gate);
    users(&detector, &corpora, &mut gate);
    if std::env::args().any(|argument| argument == "rules") {
        by_rule(&corpora);
    }
    if !gate.0.is_empty() {
        println!("\nover their bounds:\n{}", gate.0.join("\n"));
        if std::env::var_os("TOLLGATE_GATE").is_some() {
            std::process::exit(1);
        }
    }
}
