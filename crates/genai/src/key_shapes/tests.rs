//! Tests of what stays by its shape: `tests/cases/value-shapes.yaml`.

use std::collections::BTreeMap;

use otlp::{AttrId, Payload, Value};
use serde_json::{Value as Json, json};

use super::{KeyShape, is_identity_value, is_person_or_machine, is_unlisted_value};
use crate::Vocabulary;
use crate::address::is_plain_name;
use crate::testing::request;
use crate::tests::data;

/// Texts or lists of them, each with the reason.
type Rows = BTreeMap<String, Vec<(Json, String)>>;

/// Calls `judge` with the OTLP value of a case.
fn judge_value(value: &Json, judge: impl Fn(Value<'_>) -> bool) -> bool {
    let payload: Payload =
        request::payload(&json!({"items": [{"name": "a", "trace": 1, "span": 1, "attributes": {"k": value}}]}));
    let node = payload.items().next().unwrap();
    let id: AttrId = payload.attributes(node).next().unwrap().id;
    judge(payload.attribute(id).unwrap().value)
}

fn stays(vocabulary: &Vocabulary, shape: &str, value: &Json) -> bool {
    let members = || KeyShape::Members(["chat".into(), "needs-improvement".into()].into());
    match shape {
        "span" => is_plain_name(value.as_str().unwrap()),
        "private_key" => !vocabulary.keys.classify(value.as_str().unwrap()).is_private,
        "identity" => judge_value(value, is_identity_value),
        "person" => judge_value(value, is_person_or_machine),
        "unlisted" => judge_value(value, |value| is_unlisted_value(value, true)),
        "name" => judge_value(value, |value| KeyShape::Name.accepts(value)),
        "host" => judge_value(value, |value| KeyShape::Host.accepts(value)),
        "path" => judge_value(value, |value| KeyShape::Path.accepts(value)),
        "enum" => judge_value(value, |value| members().accepts(value)),
        _ => panic!("no shape {shape}"),
    }
}

/// Must not regress: names, ids, hosts, paths and members of enumerations stay, and no shape carries a sentence, in any
/// spelling.
#[test]
fn values_by_shape() {
    let cases: BTreeMap<String, Rows> = request::case_file("tests/cases/value-shapes.yaml");
    let vocabulary = Vocabulary::parse(data().to_string().leak()).unwrap();
    let (mut failed, mut count) = (Vec::new(), 0);
    for (shape, rows) in &cases {
        for (expected, (value, why)) in rows.iter().flat_map(|(part, rows)| rows.iter().map(move |row| (part, row))) {
            count += 1;
            if stays(&vocabulary, shape, value) != (expected == "stays") {
                failed.push(format!("{shape} {expected} {value}: {why}"));
            }
        }
    }
    assert!(failed.is_empty() && count > 200, "{count} rows\n{}", failed.join("\n"));
}

/// Must not regress: counting is linear, so a long text takes no time, and is refused.
#[test]
fn long_texts() {
    for text in ["Ab".repeat(1 << 20), "a1".repeat(1 << 20), "/".repeat(1 << 20), "é".repeat(1 << 20)] {
        assert!(!judge_value(&json!(text), |value| KeyShape::Path.accepts(value)));
    }
}
