//! Validates index lines from recordings of real clients against the published schema.

use std::collections::BTreeSet;

use super::process::Bench;
use crate::testing::{recorded_clients, session_files};
use genai::testing::request;
use vault::testing::schema::broken;

/// Every line of every recording is valid, and each action in the schema occurs.
#[test]
fn recorded_lines_hold_against_the_schema() {
    let (mut wrong, mut seen, mut lines) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (_, client, manifest) in recorded_clients() {
        for session in manifest["sessions"].as_object().expect("sessions").keys() {
            let mut bench = Bench::new();
            for file in session_files(&client.join(session)) {
                for row in bench.rows(request::recorded(&file)) {
                    let line = serde_json::to_value(&row).expect("json");
                    seen.extend(line["action_type"].as_str().map(str::to_owned));
                    seen.insert(line["call"].as_str().expect("a call").to_owned());
                    lines += 1;
                    let at = file.display();
                    wrong.extend(broken(&line).into_iter().map(|what| format!("{at} {}: {what}", line["action_type"])));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().take(20).collect::<Vec<_>>().join("\n"));
    assert!(lines > 1000, "{lines}");
    for action in
        ["chat", "text_completion", "generate_content", "embeddings", "execute_tool", "invoke_agent", "permission"]
    {
        assert!(seen.contains(action), "{action} is not among {seen:?}");
    }
}
