//! Temporary.
use super::*;

#[test]
#[ignore]
fn probe() {
    let rules: Vec<RuleData> = ["pii", "keys", "names", "secrets"]
        .iter()
        .flat_map(|name| {
            let text = std::fs::read_to_string(format!("../../config/rules/{name}.yaml")).unwrap();
            match load::data::<Vec<RuleData>>(name, &text) { Ok(v) => v, Err(_) => { load::data::<Vec<RuleData>>(name, &text).map(|_| ()).map_err(|e| panic!("{name}: {:?}", e.to_string())).unwrap(); vec![] } }
        })
        .collect();
    let detector = Detector::new(&rules, &[]).map_err(|errors| errors.iter().map(|e| format!("{} {}", e.rule, e.what)).collect::<Vec<_>>()).unwrap();
    for line in std::fs::read_to_string(std::env::var("PROBE").unwrap()).unwrap().lines() {
        if line.is_empty() || line.starts_with("##") { println!("{line}"); continue; }
        let text = line.replace("\\n", "\n");
        let (text, wanted, mark) = if text.contains('«') {
            let (t, w) = marked(&text, "?");
            (t, w, true)
        } else { (text.clone(), text, false) };
        let got = redact(&detector, &text);
        let re = |s: &str| { let mut o = String::new(); let mut depth = 0; for c in s.chars() { if c == '[' { depth = 1; o.push_str("[?]"); } else if c == ']' && depth == 1 { depth = 0; } else if depth == 0 { o.push(c) } } o };
        let ok = if mark { re(&got).replace("\"[?]\"", "[?]") == re(&wanted).replace("\"[?]\"", "[?]") } else { got == wanted };
        println!("{} {text}\n        -> {got}", if ok { "ok  " } else { "FAIL" });
    }
    let mut failures = 0;
    for rule in &rules {
        for hit in &rule.hits {
            let (text, wanted) = marked(hit, &rule.placeholder);
            let got = redact(&detector, &text);
            let quoted = format!("\"[{0}]\"", rule.placeholder);
            let got = if wanted.contains(&quoted) { got } else { got.replace(&quoted, &format!("[{}]", rule.placeholder)) };
            if got != wanted { failures += 1; println!("RULE {}: wanted {wanted:?}, got {got:?}", rule.name); }
        }
        for miss in &rule.misses {
            let got = redact(&detector, miss);
            if got != *miss { failures += 1; println!("RULE {}: near-miss became {got:?}", rule.name); }
        }
    }
    println!("rule example failures: {failures}");
}
