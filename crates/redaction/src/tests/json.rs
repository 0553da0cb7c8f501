//! Tests of hits in JSON documents.

use super::super::json_repair::split_breaking_hits;
use super::super::{RedactionHit, SearchScratch, replace_hits};
use super::detector;

/// A hit over several strings must replace each of them except existing placeholders; `[x]` and `[OTHER_X]2` are not
/// placeholders.
#[test]
fn only_placeholders_stay_of_what_a_hit_covers() {
    let text = r#"["a b","[x]","[EMAIL]","[OTHER_X]2","[S3]",true,7]"#;
    let mut hits = vec![RedactionHit { range: 1..text.len() - 1, rule: 0, added_quotes: None }];
    split_breaking_hits(text, &mut hits, &|name| name == "EMAIL");
    let new = replace_hits(text, &hits, &mut |_, _, out| out.push('X'));
    assert_eq!(new, r#"["X","X","[EMAIL]","X","X",true,"X"]"#);
}

/// Both values of a duplicate key must be checked, and a quote in one value must not affect another one's key.
#[test]
fn keys_that_stand_twice_are_both_read() {
    let (detector, mut scratch) = (detector(), SearchScratch::new());
    for first in ["Jane Roe", "it's", r#"say \"hi"#, r"back\\", "'", r#"\""#, "{", "]", "a\\\\\\\"b"] {
        for key in ["password", "first_name"] {
            let value = if key == "password" { "hunter2!x9" } else { "Zebulon" };
            for text in [
                format!(r#"{{"{key}":"{first}","{key}":"{value}"}}"#),
                format!(r#"{{"note":"{first}","{key}":"{value}","{key}":"{value}"}}"#),
                format!(r#"{{"{key}":"{value}","note":"{first}","{key}":"{value}"}}"#),
            ] {
                let hits = detector.find(&text, &mut scratch).to_vec();
                let new = replace_hits(&text, &hits, &mut |_, _, out| out.push('X'));
                assert!(!new.contains(value), "{text} became {new}");
            }
        }
    }
}

/// A key that a hit ran into stays, also in a document within a string; the covered values are replaced.
#[test]
fn keys_behind_a_hit_stay() {
    for (text, wanted) in [
        (r#"{"a":"x y","b":"z","c":["w",true,7]}"#, r#"{"a":"x X","b":"X","c":["X",true,"X"]}"#),
        (r#"{"s":"{\"a\":\"x y\",\"b\":7}"}"#, r#"{"s":"{\"a\":\"x X\",\"b\":\"X\"}"}"#),
    ] {
        let from = text.find('y').unwrap_or(0);
        let mut hits = vec![RedactionHit {
            range: from..text.trim_end_matches(['}', '"', ']']).len(),
            rule: 0,
            added_quotes: None,
        }];
        split_breaking_hits(text, &mut hits, &|_| false);
        let new = replace_hits(text, &hits, &mut |_, _, out| out.push('X'));
        assert_eq!(new, wanted);
    }
}
