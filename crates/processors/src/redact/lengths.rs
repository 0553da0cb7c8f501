//! **What**: says on an item what was found on it and how long it was (`record_lengths`). **Why**: "how large was what
//! we hide" is asked when a rule is judged, and the text is gone then. **Invariants**: rule types and numbers only; at
//! most [`MOST`] findings a node; never on data points (another attribute is another series), nor on resources and
//! scopes, which tell series and services apart. **Not here**: the shape of what the vault took
//! (`processors/vault/shape`), which stays: then the lengths stand beside it.

use std::fmt::Write as _;

use otlp::{Node, NodeKind, OwnedValue, Payload};
use redaction::{Detector, Hit};

/// Findings told of one node.
const MOST: usize = 64;
/// The attribute, and the one beside the vault's.
const SHAPE: &str = "tollgate.content.shape";
const BESIDE: &str = "tollgate.redaction.shape";

/// What was found in one batch, in the order of the visit.
#[derive(Default)]
pub(super) struct Lengths(Vec<(Node, usize, usize)>);

impl Lengths {
    /// Adds the findings in one text of a node.
    pub(super) fn add(&mut self, node: Node, hits: &[Hit]) {
        self.0.extend(hits.iter().map(|hit| (node, hit.rule(), hit.range.len())));
    }

    /// Adds a text that was not searched.
    pub(super) fn add_unscanned(&mut self, node: Node, bytes: usize) {
        self.0.push((node, Detector::UNSCANNED_RULE, bytes));
    }

    /// Writes them onto their nodes.
    pub(super) fn write(mut self, payload: &mut Payload, detector: &Detector) {
        let told =
            |kind: NodeKind| matches!(kind, NodeKind::Span | NodeKind::LogRecord | NodeKind::Event | NodeKind::Link);
        self.0.retain(|(node, ..)| told(payload.kind(*node)));
        self.0.sort_by_key(|(node, ..)| *node);
        let found = std::mem::take(&mut self.0);
        for of_node in found.chunk_by(|(a, ..), (b, ..)| a == b) {
            let Some((node, ..)) = of_node.first() else { continue };
            let mut text = String::from("{\"redacted\":[");
            for (index, (_, rule, bytes)) in of_node.iter().take(MOST).enumerate() {
                let comma = if index > 0 { "," } else { "" };
                // a String takes everything
                let _ = write!(text, "{comma}{{\"type\":\"{}\",\"bytes\":{bytes}}}", detector.type_of(*rule));
            }
            text.push(']');
            if of_node.len() > MOST {
                let _ = write!(text, ",\"more\":{}", of_node.len() - MOST);
            }
            text.push('}');
            let key = if payload.get(*node, SHAPE).is_some() { BESIDE } else { SHAPE };
            payload.set(*node, key, OwnedValue::Str(text));
        }
    }
}
