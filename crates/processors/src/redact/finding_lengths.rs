//! Records on an item what was found on it and how long the findings were (`record_lengths`), for judging rules after
//! the text is gone.
//!
//! Only rule types and numbers are recorded, at most [`MAX_FINDINGS`] per node. Data points are excluded, because a new
//! attribute would make a new series, and so are resources and scopes, which identify series and services. If the vault
//! recorded a shape (`processors/vault/shape`), that stays and the lengths go into a separate attribute.

use otlp::{NodeId, NodeKind, OwnedValue, Payload};
use redaction::{Detector, RedactionHit};

/// Maximum number of findings recorded on one node.
const MAX_FINDINGS: usize = 64;
/// The attribute for the lengths, and the one to use if the vault already set the first.
const SHAPE_ATTRIBUTE: &str = "tollgate.content.shape";
const REDACTION_SHAPE_ATTRIBUTE: &str = "tollgate.redaction.shape";

/// Findings of one batch in visiting order: node, rule, length in bytes.
#[derive(Default)]
pub(super) struct FindingLengths(Vec<(NodeId, usize, usize)>);

impl FindingLengths {
    /// Adds the findings in one text of a node.
    pub(super) fn add(&mut self, node: NodeId, hits: &[RedactionHit]) {
        self.0.extend(hits.iter().map(|hit| (node, hit.rule(), hit.range.len())));
    }

    /// Adds a text that was not searched.
    pub(super) fn add_unscanned(&mut self, node: NodeId, bytes: usize) {
        self.0.push((node, Detector::UNSCANNED_RULE, bytes));
    }

    /// Writes the findings onto their nodes.
    pub(super) fn write(mut self, payload: &mut Payload, detector: &Detector) {
        let is_recorded =
            |kind: NodeKind| matches!(kind, NodeKind::Span | NodeKind::LogRecord | NodeKind::Event | NodeKind::Link);
        self.0.retain(|(node, ..)| is_recorded(payload.kind(*node)));
        self.0.sort_by_key(|(node, ..)| *node);
        for findings in self.0.chunk_by(|(a, ..), (b, ..)| a == b) {
            let Some((node, ..)) = findings.first() else { continue };
            let json = |(_, rule, bytes): &(NodeId, usize, usize)| {
                format!("{{\"type\":\"{}\",\"bytes\":{bytes}}}", detector.placeholder_name(*rule))
            };
            let listed = findings.iter().take(MAX_FINDINGS).map(json).collect::<Vec<_>>().join(",");
            let more = findings.len().saturating_sub(MAX_FINDINGS);
            let more = if more > 0 { format!(",\"more\":{more}") } else { String::new() };
            let text = format!("{{\"redacted\":[{listed}]{more}}}");
            let key =
                if payload.get(*node, SHAPE_ATTRIBUTE).is_some() { REDACTION_SHAPE_ATTRIBUTE } else { SHAPE_ATTRIBUTE };
            payload.set(*node, key, OwnedValue::Str(text));
        }
    }
}
