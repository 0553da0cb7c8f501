//! Reads the attributes that runs need in addition to the facts of `genai`: commit, issue, incident, template,
//! attempts, source of a permission denial, outcomes, and the configured measures. One pass over the attributes of
//! each item and one over those of each resource; only label-shaped texts, numbers and booleans are read. `observe`
//! uses the result.

use otlp::{Attribute, NodeId, NodeKind, Payload, TextField, Value, VerdictBit};
use runs::{EvaluationScore, OutcomeVerdict, RunJudgement, RunOutcome};

use super::config::Settings;

/// Maximum size of a text that is read, bytes.
const MAX_LABEL_BYTES: usize = 128;
/// Larger numbers are not accepted as measures: added to a sum of doubles they would swallow all other values.
const MAX_MEASURE: f64 = 1e15;
/// The event of the semantic conventions that carries a score.
const EVALUATION_EVENT: &str = "gen_ai.evaluation.result";

#[derive(Clone, Copy, Default)]
pub(super) struct ResourceAttributes<'p> {
    pub(super) service: Option<&'p str>,
    pub(super) commit: Option<&'p str>,
    pub(super) issue: Option<&'p str>,
    incident: Option<&'p str>,
    feature: Option<(usize, &'p str)>,
}

#[derive(Default)]
pub(super) struct ItemAttributes<'p> {
    pub(super) template: Option<&'p str>,
    pub(super) incident: Option<&'p str>,
    pub(super) commit: Option<&'p str>,
    pub(super) issue: Option<&'p str>,
    pub(super) feature: Option<&'p str>,
    pub(super) denial_source: Option<&'p str>,
    pub(super) fallback_reason: Option<&'p str>,
    pub(super) denied: bool,
    pub(super) attempts: u16,
    /// With their positions in the settings.
    pub(super) measures: Vec<(usize, f64)>,
    /// Number of invalid measures: negative, not finite, or too large.
    pub(super) rejected_measures: u64,
    verdict: Option<OutcomeVerdict>,
    confidence: Option<f64>,
    resolution_seconds: Option<f64>,
    score: EvaluationScore,
}

fn as_label(value: Value<'_>) -> Option<&str> {
    let text = value.as_str()?;
    let is_label = !text.is_empty() && text.len() <= MAX_LABEL_BYTES && !text.chars().any(char::is_control);
    is_label.then_some(text)
}

fn as_number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(number) => Some(number as f64),
        Value::Double(number) => Some(number),
        _ => None,
    }
}

impl<'p> ResourceAttributes<'p> {
    pub(super) fn read(payload: &'p Payload, resource: NodeId, settings: &Settings) -> Self {
        let mut attributes = Self::default();
        for attribute in payload.attributes(resource) {
            let Some(text) = as_label(attribute.value) else { continue };
            match attribute.key {
                "service.name" => attributes.service = Some(text),
                "build.commit_sha" | "vcs.ref.head.revision" => attributes.commit = attributes.commit.or(Some(text)),
                "work_tracker.issue_id" => attributes.issue = Some(text),
                "incident.id" => attributes.incident = Some(text),
                _ => {}
            }
            attributes.feature = choose_feature(settings, attribute.key, text, attributes.feature);
        }
        attributes
    }
}

/// Keeps the feature whose attribute comes first in `feature_from`.
fn choose_feature<'p>(
    settings: &Settings,
    key: &str,
    text: &'p str,
    known: Option<(usize, &'p str)>,
) -> Option<(usize, &'p str)> {
    let rank = settings.feature_from.as_ref()?.iter().position(|name| name == key);
    known.into_iter().chain(rank.map(|rank| (rank, text))).min_by_key(|(rank, _)| *rank)
}

impl<'p> ItemAttributes<'p> {
    /// `unread`: the verdict that nothing of an attribute is read here.
    pub(super) fn read(
        payload: &'p Payload,
        node: NodeId,
        resource: &ResourceAttributes<'p>,
        settings: &Settings,
        unread: Option<VerdictBit>,
    ) -> Self {
        let mut attributes =
            Self { incident: resource.incident, commit: resource.commit, issue: resource.issue, ..Self::default() };
        let mut feature = None;
        let mut is_evaluation =
            payload.kind(node) == NodeKind::LogRecord && payload.text(node, TextField::EventName) == EVALUATION_EVENT;
        for attribute in payload.encoded_attributes(node) {
            if unread.is_some_and(|verdict| payload.has_verdict(attribute.id, verdict)) {
                continue;
            }
            let Attribute { id, key, value } = attribute.decode();
            if let Some(index) = settings.measures.iter().position(|name| name == key) {
                attributes.add_measure(index, value);
            }
            if settings.feature_from.is_some()
                && let Some(text) = as_label(value)
            {
                feature = choose_feature(settings, key, text, feature);
            }
            is_evaluation |= key == "event.name" && value.as_str() == Some(EVALUATION_EVENT);
            let is_read = attributes.read_value(key, value)
                || key == "event.name"
                || settings.feature_from.as_ref().is_some_and(|names| names.iter().any(|name| name == key));
            unread.filter(|_| !is_read).into_iter().for_each(|verdict| payload.give_verdict(id, verdict));
        }
        if !is_evaluation {
            attributes.score = EvaluationScore::default();
        }
        attributes.feature = feature.or(resource.feature).map(|(_, text)| text);
        attributes
    }

    /// Keys are compared first: few attributes are of interest, and the others may be long texts. Returns false if key
    /// and value mean nothing to a run.
    fn read_value(&mut self, key: &str, value: Value<'p>) -> bool {
        let label = || as_label(value);
        let is_no_label = || label().is_none();
        let within = |low: f64, high: f64| as_number(value).filter(|number| (low..=high).contains(number));
        match key {
            "prompt.template"
            | "prompt_template"
            | "prompt.template.name"
            | "prompt.name"
            | "langfuse.prompt.name"
            | "langfuse.observation.prompt.name" => self.template = self.template.or_else(label),
            "incident.id" => self.incident = label().or(self.incident),
            "build.commit_sha" => self.commit = label().or(self.commit),
            "work_tracker.issue_id" => self.issue = label().or(self.issue),
            "source" | "permission.source" | "decision.source" => self.denial_source = label().or(self.denial_source),
            "fallback.reason" | "fallback_reason" | "agent.fallback.reason" | "gen_ai.fallback.reason" => {
                self.fallback_reason = label().or(self.fallback_reason);
            }
            "agent.outcome" => self.verdict = label().map_or(self.verdict, OutcomeVerdict::parse),
            "gen_ai.evaluation.name" => label().into_iter().for_each(|text| text.clone_into(&mut self.score.name)),
            "gen_ai.evaluation.score.label" => {
                label().into_iter().for_each(|text| text.clone_into(&mut self.score.label));
            }
            "attempt" | "gen_ai.request.attempt" | "llm.request.attempt" if is_no_label() => {
                self.attempts = within(0.0, 255.0).map_or(0, |number| number as u16);
            }
            "permission.denied" if is_no_label() => self.denied = value.as_bool() == Some(true),
            "agent.confidence" | "agent.outcome.confidence" if is_no_label() => self.confidence = within(0.0, 1.0),
            "agent.resolution_seconds" | "agent.outcome.resolution_seconds" if is_no_label() => {
                self.resolution_seconds = within(0.0, MAX_MEASURE);
            }
            "gen_ai.evaluation.score.value" if is_no_label() => self.score.value = within(-MAX_MEASURE, MAX_MEASURE),
            _ => return false,
        }
        true
    }

    fn add_measure(&mut self, index: usize, value: Value<'p>) {
        match as_number(value) {
            Some(number) if (0.0..=MAX_MEASURE).contains(&number) => self.measures.push((index, number)),
            Some(_) => self.rejected_measures += 1,
            None => {}
        }
    }

    /// The outcome and scores of the run that the item reports, if any.
    pub(super) fn judgement(&self) -> Option<RunJudgement> {
        let verdict = self.verdict.or_else(|| OutcomeVerdict::parse(&self.score.label));
        let (confidence, resolution_seconds) = (self.confidence, self.resolution_seconds);
        let outcome = verdict.map(|verdict| RunOutcome { verdict, confidence, resolution_seconds });
        let scored = !self.score.name.is_empty() && (self.score.value.is_some() || !self.score.label.is_empty());
        let scores: Vec<EvaluationScore> = scored.then(|| self.score.clone()).into_iter().collect();
        (outcome.is_some() || !scores.is_empty()).then_some(RunJudgement { outcome, scores })
    }
}
