//! **What**: the `redact` processor: visits every text place of a batch and puts placeholders where the rules say.
//! **Why**: what goes on may be read by an on-call engineer with no reason to see customer data.
//! **Invariants**: every text place is visited (the completeness test of `otlp`); credentials are dropped, ids become
//! keyed pseudonyms, numbers are never touched; only this step raises the text clearance.
//! **Not here**: rules and matching (`redaction`), content (`processors/vault`).

mod config;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

pub use config::{Config, Settings};

use crate::genai::Vocabulary;
use crate::otlp::{AttrId, Node, NodeKind, Place, PlaceKind, Signal, TextEdit};
use crate::pipeline::{Batch, Content, Processor, Reason, Text};
use crate::pseudonym::Pseudonymizer;
use crate::redaction::{Hit, Scratch, replace};
use crate::telemetry::{Counter, Meter, names};
use policy::{Treatment, cap, hide_home, treatment};

/// See the module.
pub struct Redact {
    id: Arc<str>,
    settings: Settings,
    vocabulary: Arc<Vocabulary>,
    pseudonyms: Pseudonymizer,
    scratch: Mutex<Vec<Scratch>>,
    counters: Counters,
}

struct Counters {
    /// By signal, then by rule.
    redactions: HashMap<Signal, Vec<Counter>>,
    dropped: HashMap<Signal, Counter>,
    cut: HashMap<Signal, Counter>,
}

impl Counters {
    fn new(settings: &Settings, meter: &Meter) -> Self {
        let by_signal = |def| {
            let counter = |signal: Signal| (signal, meter.counter(def, &[("signal", signal.as_str())]));
            Signal::ALL.into_iter().map(counter).collect()
        };
        let by_rule = |signal: Signal| {
            let counter = |rule: &Arc<str>| {
                meter.counter(&names::REDACTIONS, &[("rule", &**rule), ("signal", signal.as_str())])
            };
            (signal, settings.detector.rule_names().map(counter).collect())
        };
        Self {
            redactions: Signal::ALL.into_iter().map(by_rule).collect(),
            dropped: by_signal(&names::REDACT_DROPPED_ATTRIBUTES),
            cut: by_signal(&names::REDACT_CUT_VALUES),
        }
    }
}

impl Redact {
    /// A processor with compiled rules.
    pub fn new(
        id: Arc<str>,
        settings: Settings,
        vocabulary: Arc<Vocabulary>,
        pseudonyms: Pseudonymizer,
        meter: &Meter,
    ) -> Self {
        let counters = Counters::new(&settings, meter);
        Self { id, settings, vocabulary, pseudonyms, scratch: Mutex::default(), counters }
    }

    /// Credentials go on every signal; content keys go from metrics, which have no vault step.
    fn drop_attributes(&self, batch: &mut Batch) {
        let signal = batch.payload.signal();
        let mut doomed: Vec<AttrId> = Vec::new();
        let nodes: Vec<Node> = batch.payload.nodes().collect();
        for node in nodes {
            for attribute in batch.payload.attributes(node) {
                let content = signal == Signal::Metrics && self.vocabulary.content_part(attribute.key).is_some();
                if content || treatment(&self.vocabulary, attribute.key) == Treatment::Drop {
                    doomed.push(attribute.id);
                }
            }
        }
        if let Some(counter) = self.counters.dropped.get(&signal) {
            counter.increment(doomed.len() as u64);
        }
        for id in doomed {
            batch.payload.remove_attribute(id);
        }
    }

    fn redact_texts(&self, batch: &mut Batch, scratch: &mut Scratch) {
        let signal = batch.payload.signal();
        let account = Arc::clone(&batch.origin.account);
        let points: std::collections::HashSet<Node> = batch
            .payload
            .nodes()
            .filter(|node| matches!(batch.payload.kind(*node), NodeKind::DataPoint | NodeKind::Exemplar))
            .collect();
        batch.payload.edit_text(|place, text| {
            let keyed = points.contains(&place.node);
            match self.redact_text(&account, signal, keyed, place, text, scratch) {
                Some(replacement) => TextEdit::Replace(replacement),
                None => TextEdit::Keep,
            }
        });
    }

    /// The text that takes the place of `text`, if any.
    fn redact_text(
        &self,
        account: &str,
        signal: Signal,
        keyed: bool,
        place: &Place<'_>,
        text: &str,
        scratch: &mut Scratch,
    ) -> Option<String> {
        let value = matches!(place.kind, PlaceKind::Value | PlaceKind::BytesValue | PlaceKind::Body);
        let treatment = if value { treatment(&self.vocabulary, place.path_key) } else { Treatment::Scan };
        let hits = self.settings.detector.find(text, scratch);
        if let Some(counters) = self.counters.redactions.get(&signal).filter(|_| !hits.is_empty()) {
            hits.iter().filter_map(|hit| counters.get(hit.rule())).for_each(|counter| counter.increment(1));
        }
        let mut changed = match (hits.is_empty(), treatment) {
            (true, _) => None,
            (false, Treatment::Identity) => return Some(self.pseudonyms.pseudonym(account, text)),
            (false, _) => Some(replace(text, hits, &mut |hit, found, out| self.place(account, keyed, hit, found, out))),
        };
        if treatment == Treatment::Path {
            changed = hide_home(changed.as_deref().unwrap_or(text)).or(changed);
        }
        if value {
            let limit =
                if treatment == Treatment::ErrorText { self.settings.max_error_text } else { self.settings.max_value };
            if let Some(cut) = cap(changed.as_deref().unwrap_or(text), limit) {
                self.counters.cut.get(&signal).into_iter().for_each(|counter| counter.increment(1));
                changed = Some(cut);
            }
        }
        changed
    }

    /// On data points a shared placeholder would merge series: there it carries a keyed pseudonym.
    fn place(&self, account: &str, keyed: bool, hit: &Hit, found: &str, out: &mut String) {
        let placeholder = self.settings.detector.placeholder(hit);
        if !keyed {
            out.push_str(placeholder);
            return;
        }
        let pseudonym = self.pseudonyms.pseudonym(account, found);
        out.push_str(placeholder.trim_end_matches(']'));
        out.push(':');
        // `h-` and 16 hex digits: the placeholder's grammar.
        out.push_str(pseudonym.get(..18).unwrap_or(&pseudonym));
        out.push(']');
    }
}

impl Processor for Redact {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        self.drop_attributes(batch);
        self.redact_texts(batch, &mut scratch);
        self.scratch.lock().push(scratch);
        batch.clearance.text = Text::Redacted;
        if batch.payload.signal() == Signal::Metrics {
            batch.clearance.content = Content::Stripped;
        }
        Ok(())
    }
}
