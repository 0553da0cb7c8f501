//! Reads the attributes that runs need in addition to the facts of `genai`: commit, issue, incident, template,
//! attempts, source of a permission denial, outcomes, evaluations, and the configured measures. One pass over the
//! attributes of each item and one over those of each resource; only label-shaped texts, numbers and booleans are
//! read. `observe` uses the result.

use otlp::{Attribute, NodeId, NodeKind, Payload, TextField, Value, VerdictBit};
use runs::{AnnotatorKind, EvaluationScore, MAX_SCORES, OutcomeVerdict, RunJudgement, RunOutcome};

use super::config::Settings;
use super::observation::ItemWork;

/// Maximum size of a text that is read, bytes.
const MAX_LABEL_BYTES: usize = 128;
/// Larger numbers are not accepted as measures: added to a sum of doubles they would swallow all other values.
const MAX_MEASURE: f64 = 1e15;
/// Larger counts of lines, characters or words are not read.
const MAX_WORK: u32 = 10_000_000;
/// The event of the semantic conventions that carries a score.
const EVALUATION_EVENT: &str = "gen_ai.evaluation.result";
/// The keys of that event begin with this.
const EVENT_KEYS: &str = "gen_ai.evaluation.";

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
    pub(super) work: ItemWork,
    /// With their positions in the settings.
    pub(super) measures: Vec<(usize, f64)>,
    /// Number of invalid measures: negative, not finite, or too large.
    pub(super) rejected_measures: u64,
    verdict: Option<OutcomeVerdict>,
    confidence: Option<f64>,
    resolution_seconds: Option<f64>,
    /// With what their keys begin with.
    scores: Vec<(&'p str, EvaluationScore)>,
}

/// Splits the key of an evaluation: what the keys of one evaluation begin with, and what the value is.
fn split_evaluation_key(key: &str) -> Option<(&str, &str)> {
    if let Some(field) = key.strip_prefix(EVENT_KEYS) {
        return Some((EVENT_KEYS, field.strip_prefix("score.").unwrap_or(field)));
    }
    let (list, rest) =
        key.strip_prefix("trace.").or_else(|| key.strip_prefix("session.")).unwrap_or(key).split_once('.')?;
    let one = match list {
        "annotations" => "annotation",
        "evaluations" => "evaluation",
        _ => return None,
    };
    let (index, rest) = rest.split_once('.')?;
    let field = rest.strip_prefix(one)?.strip_prefix('.')?;
    let is_index = !index.is_empty() && index.bytes().all(|digit| digit.is_ascii_digit());
    Some((key.strip_suffix(field)?, field)).filter(|_| is_index)
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

fn as_work(value: Value<'_>) -> u32 {
    let Value::Int(count) = value else { return 0 };
    u32::try_from(count).ok().filter(|count| *count <= MAX_WORK).unwrap_or(0)
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
            attributes.scores.retain(|(keys, _)| *keys != EVENT_KEYS);
        }
        attributes.feature = feature.or(resource.feature).map(|(_, text)| text);
        attributes
    }

    /// Keys are compared first: few attributes are of interest, and the others may be long texts. Returns false if key
    /// and value mean nothing to a run.
    fn read_value(&mut self, key: &'p str, value: Value<'p>) -> bool {
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
            "attempt" | "gen_ai.request.attempt" | "llm.request.attempt" if is_no_label() => {
                self.attempts = within(0.0, 255.0).map_or(0, |number| number as u16);
            }
            "edit.lines_added" if is_no_label() => self.work.lines_added = as_work(value),
            "edit.lines_removed" if is_no_label() => self.work.lines_removed = as_work(value),
            "response.char_length" if is_no_label() => self.work.characters = as_work(value),
            "response.word_count" if is_no_label() => self.work.words = as_work(value),
            "permission.denied" if is_no_label() => self.denied = value.as_bool() == Some(true),
            "agent.confidence" | "agent.outcome.confidence" if is_no_label() => self.confidence = within(0.0, 1.0),
            "agent.resolution_seconds" | "agent.outcome.resolution_seconds" if is_no_label() => {
                self.resolution_seconds = within(0.0, MAX_MEASURE);
            }
            _ => return self.read_evaluation(key, value),
        }
        true
    }

    /// Reads a part of an evaluation. Text that is no name is content, and not read.
    fn read_evaluation(&mut self, key: &'p str, value: Value<'p>) -> bool {
        let Some((keys, field)) = split_evaluation_key(key) else { return false };
        let at = self.scores.iter().position(|(known, _)| *known == keys).unwrap_or(self.scores.len());
        if at == self.scores.len() && at < MAX_SCORES {
            self.scores.push((keys, EvaluationScore::default()));
        }
        let Some((_, score)) = self.scores.get_mut(at) else { return true };
        let name = || value.as_str().filter(|text| EvaluationScore::is_name(text)).unwrap_or_default().to_owned();
        let is_value = |number: &f64| number.abs() <= EvaluationScore::MAX_VALUE;
        match field {
            "name" => score.name = name(),
            "label" => score.label = name(),
            "score" | "value" => {
                let number = as_number(value).or_else(|| value.as_str()?.parse().ok());
                score.value = number.filter(is_value);
            }
            "annotator_kind" => score.kind = value.as_str().and_then(AnnotatorKind::parse),
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
        let event = self.scores.iter().find(|(keys, _)| *keys == EVENT_KEYS);
        let verdict = self.verdict.or_else(|| OutcomeVerdict::parse(&event?.1.label));
        let (confidence, resolution_seconds) = (self.confidence, self.resolution_seconds);
        let outcome = verdict.map(|verdict| RunOutcome { verdict, confidence, resolution_seconds });
        let scores = self.scores.iter().map(|(_, score)| score).filter(|score| score.is_complete());
        let scores: Vec<EvaluationScore> = scores.cloned().collect();
        (outcome.is_some() || !scores.is_empty()).then_some(RunJudgement { outcome, scores })
    }
}
