//! Tests of the attributes stamped before content is removed, for one conversation as written by the major dialects.

use serde_json::Value as Json;

use super::process::{Bench, Out};
use genai::testing::request;

/// The stamps of an item: roles in order, the five token shares, the requesting call.
fn told(out: &Out, at: usize) -> (String, Option<[i64; 5]>, Option<String>) {
    let attributes = out.attributes(at);
    let shape: Json =
        attributes.get("tollgate.content.shape").map_or(Json::Null, |text| serde_json::from_str(text).expect("JSON"));
    let roles = |part: &str| -> Vec<String> {
        let messages = shape[part].as_array().cloned().unwrap_or_default();
        messages.iter().map(|message| message["role"].as_str().unwrap_or("-").to_owned()).collect()
    };
    let roles = ["input", "output", "system", "tools", "tool_args", "tool_result", "other"]
        .iter()
        .filter(|part| shape[**part].is_array())
        .map(|part| format!("{part}:{}", roles(part).join(",")))
        .collect::<Vec<_>>()
        .join(" ");
    let token =
        |name: &str| attributes.get(&format!("tollgate.input.{name}_tokens")).and_then(|text| text.parse().ok());
    let shares = ["system", "tools", "tool_results", "history", "user"].map(token);
    let shares = shares.iter().all(Option::is_some).then(|| shares.map(Option::unwrap_or_default));
    (roles, shares, attributes.get("tollgate.tool.requested_by").cloned())
}

/// Roles, shares of the billed input and the requesting call are stamped in every dialect: messages as JSON, as indexed
/// attributes, as events, with LangChain's types, and with Google's parts. The shares add up to the billed input; a
/// tool has none.
#[test]
fn conversations_are_told_in_every_dialect() {
    for (name, case) in request::cases("tests/cases/conversations") {
        let (out, expect) = (Bench::new().pass(&case), &case["expect"]);
        let (first, second) = (told(&out, 0), told(&out, 1));
        assert_eq!(expect["roles"], first.0, "{name}");
        assert_eq!(second.2.as_deref(), (expect["asked"] == true).then_some("0000000000000001"), "{name}");
        assert_eq!(expect["shares"], first.1.is_some(), "{name}");
        let Some([system, _, results, history, user]) = first.1 else { continue };
        assert!([system, results, history, user].into_iter().all(|tokens| tokens > 0), "{name}: {:?}", first.1);
        assert_eq!((first.1.iter().flatten().sum::<i64>(), second.1), (100, None), "{name}");
    }
}
