//! **What**: what a client may not say: our reference attributes. **Why**: a forged reference would send an auditor to
//! the wrong place. **Invariants**: every node is looked at; a client's own `…_ref` moves aside and is redacted later.
//! **Not here**: `tollgate.*`, which normalize removes.

use genai::Part;
use otlp::{AttrId, Payload};

/// Start of our reference attributes.
pub(super) const REFERENCE: &str = "gen_ai.payload.";
/// Where a client's own references go.
pub(super) const REPORTED: &str = "tollgate.reported.";

/// The convention's name for a reference to a part of the conversation.
pub(super) fn ref_key(part: Part) -> Option<&'static str> {
    Some(match part {
        Part::Input => "gen_ai.input.messages_ref",
        Part::Output => "gen_ai.output.messages_ref",
        Part::System => "gen_ai.system_instructions_ref",
        Part::Tools => "gen_ai.tool.definitions_ref",
        Part::ToolArgs => "gen_ai.tool.call.arguments_ref",
        Part::ToolResult => "gen_ai.tool.call.result_ref",
        Part::Other => return None,
    })
}

const PARTS: [Part; 6] = [Part::Input, Part::Output, Part::System, Part::Tools, Part::ToolArgs, Part::ToolResult];

/// Removes references that came from a client; returns how many attributes were removed or moved.
pub(super) fn clean(payload: &mut Payload) -> u64 {
    let mut forged: Vec<AttrId> = Vec::new();
    let mut reported: Vec<(AttrId, String)> = Vec::new();
    for node in payload.nodes() {
        for attribute in payload.attributes(node) {
            if !attribute.key.starts_with("gen_ai.") {
                continue;
            }
            if attribute.key.starts_with(REFERENCE) {
                forged.push(attribute.id);
            } else if PARTS.iter().any(|part| ref_key(*part) == Some(attribute.key)) {
                reported.push((attribute.id, format!("{REPORTED}{}", attribute.key)));
            }
        }
    }
    for id in &forged {
        payload.remove_attribute(*id);
    }
    for (id, key) in &reported {
        payload.rename_attribute(*id, key);
    }
    (forged.len() + reported.len()) as u64
}
