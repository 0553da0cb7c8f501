//! Replaces what the built-in rules find in the text of standard input:
//! `echo 'call jane@example.com' | cargo run -p redaction --example find`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints")]

use std::io::Read;

use redaction::{Detector, SearchScratch, builtin_rules, replace_hits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rules: Vec<_> = builtin_rules()?.into_iter().filter(|rule| rule.on).collect();
    let detector = Detector::new(&rules, &[]).map_err(|errors| format!("{errors:?}"))?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let mut scratch = SearchScratch::new();
    let hits = detector.find(&text, &mut scratch);
    for hit in hits {
        eprintln!("{:?}: {} ({})", hit.range, detector.rule_name(hit), detector.class(hit).explanation());
    }
    print!("{}", replace_hits(&text, hits, &mut |hit, _, out| out.push_str(detector.placeholder(hit))));
    Ok(())
}
