//! Evaluations of runs: from OTLP and from the API, repeated, late, of unknown runs, with text in them; their figures.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::extras::root;
use super::support::*;
use genai::testing::request;
use runs::{AnnotatorKind, EvaluationScore, MAX_SCORES, RunJudgement};
use telemetry::Meter;

fn run_id(n: u64) -> String {
    format!("{n:032}")
}

/// The event of the conventions, about the run of trace 1.
fn event(attributes: Json) -> Json {
    json!({"signal": "logs", "items": [{"event_name": "gen_ai.evaluation.result", "trace": 1, "span": 1,
        "attributes": attributes}]})
}

fn scored(name: &str, value: impl Into<Json>, label: &str) -> Json {
    let (value, label): (Json, _) = (value.into(), Some(label).filter(|label| !label.is_empty()));
    let all = json!({"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value,
        "gen_ai.evaluation.score.label": label});
    Json::Object(all.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null()).collect())
}

fn score(name: &str, value: Option<f64>, label: &str, kind: Option<AnnotatorKind>) -> EvaluationScore {
    EvaluationScore { name: name.into(), label: label.into(), value, kind }
}

/// `name value label kind` of each score of a run.
fn scores(line: &Line, run: &str) -> Vec<String> {
    let view = line.runs.find_run_of_account("default", run).unwrap().view;
    let text = |score: &EvaluationScore| {
        let value = score.value.map_or("-".into(), |value| value.to_string());
        let kind = score.kind.map_or("-", AnnotatorKind::as_str);
        format!("{} {value} {} {kind}", score.name, if score.label.is_empty() { "-" } else { &score.label })
    };
    view.judgement.scores.iter().map(text).collect()
}

fn line(meter: &Meter) -> Line {
    let line = Line::new(runs_with(settings(), meter));
    line.runs.tick_now(NOW);
    line.play(request::payload(&json!({"items": [root(json!({"tenant.id": "acme", "agent.type": "sre"}))]})));
    line
}

/// The event as the conventions define it, without an operation; annotations and evaluations of OpenInference, of the
/// span, its trace and its session, in any number.
#[test]
fn evaluations_of_all_forms() {
    let line = line(&Meter::new());
    line.play(request::payload(&event(scored("relevance", 0.5, "relevant"))));
    assert_eq!(scores(&line, &run_id(1)), ["relevance 0.5 relevant -"]);
    let judge = span(
        "judge",
        [1, 9, 1],
        [2, 3],
        &json!({"openinference.span.kind": "EVALUATOR",
        "annotations.0.annotation.name": "user feedback", "annotations.0.annotation.label": "thumbs_up",
        "annotations.0.annotation.annotator_kind": "HUMAN", "annotations.0.annotation.identifier": "x",
        "annotations.1.annotation.name": "toxicity", "annotations.1.annotation.score": 0,
        "trace.evaluations.0.evaluation.name": "hallucination", "trace.evaluations.0.evaluation.score": "0.25",
        "trace.evaluations.0.evaluation.annotator_kind": "LLM",
        "session.evaluations.12.evaluation.name": "goal", "session.evaluations.12.evaluation.label": "reached",
        "session.evaluations.12.evaluation.annotator_kind": "somebody",
        // say nothing
        "evaluations.0.evaluation.name": "empty", "evaluations.1.evaluation.score": 1.0,
        "evaluations.x.evaluation.name": "indexless", "evaluations.x.evaluation.score": 1.0,
        "evaluations.2.annotation.name": "mixed", "evaluations.2.annotation.score": 1.0}),
    );
    line.play(request::payload(&json!({"items": [judge]})));
    let mut all = scores(&line, &run_id(1));
    all.sort();
    assert_eq!(
        all,
        [
            "goal - reached -",
            "hallucination 0.25 - LLM",
            "relevance 0.5 relevant -",
            "toxicity 0 - -",
            "user feedback - thumbs_up HUMAN"
        ]
    );
}

/// Only numbers and names are read: text, wherever it is, reaches neither effects nor metrics.
#[test]
fn text_is_no_label() {
    let meter = Meter::new();
    let line = line(&meter);
    let secret = "the answer invents CANARY patients of ours";
    let long = "CANARY".repeat(30);
    for (at, text) in [secret, "CANARY\nnext", &long, "{\"a\": \"CANARY\"}"].into_iter().enumerate() {
        let judge = span(
            "judge",
            [1, 20 + at as u64, 1],
            [2, 3],
            &json!({"openinference.span.kind": "EVALUATOR",
            "annotations.0.annotation.name": text, "annotations.0.annotation.score": 1.0,
            "annotations.1.annotation.name": "kept", "annotations.1.annotation.label": text,
            "annotations.1.annotation.explanation": text, "annotations.1.annotation.annotator_kind": text,
            "annotations.1.annotation.score": 1.0}),
        );
        for payload in [event(scored("kept", 1.0, text)), event(scored(text, 1.0, "")), json!({"items": [judge]})] {
            let batch = line.play(request::payload(&payload));
            let has_text = |body: &[u8]| body.windows(6).any(|part| part == b"CANARY");
            assert!(!batch.effects.iter().any(|effect| has_text(&effect.body)), "{payload}");
        }
    }
    assert_eq!(scores(&line, &run_id(1)), ["kept 1 - -"]);
    assert!(!meter.render().contains("CANARY"));
    // nor are numbers that are none
    for value in [json!(1e300), json!("NaN"), json!("inf"), json!("much"), json!(true)] {
        line.play(request::payload(&event(scored("kept", value, "late"))));
        assert_eq!(scores(&line, &run_id(1)), ["kept - late -"]);
    }
}

/// Of repeated evaluations the last counts in the run; in the metrics each new or changed one counts once. A run has a
/// bounded number, and so has an item.
#[test]
fn repeats_and_bounds() {
    let meter = Meter::new();
    let line = line(&meter);
    let count = |name: &str, label: &str| {
        let labels = format!("{{name=\"{name}\",label=\"{label}\",tenant=\"acme\",feature=\"sre\"}}");
        let text = meter.render();
        let metric = text.lines().find_map(|line| line.strip_prefix(&format!("agent_evaluations_total{labels} ")));
        metric.map_or(0, |count| count.parse().unwrap())
    };
    let own = |name: &str, value: f64, label: &str| {
        let whose = json!({"tenant.id": "acme", "agent.type": "sre"});
        event(merged(scored(name, value, label), &whose))
    };
    for _ in 0..3 {
        line.play(request::payload(&own("Answer Relevance", 0.5, "good")));
    }
    assert_eq!(count("Answer_Relevance", "good"), 1, "{}", meter.render());
    line.play(request::payload(&own("Answer Relevance", 0.25, "good")));
    line.play(request::payload(&own("Answer Relevance", 0.25, "")));
    assert_eq!((count("Answer_Relevance", "good"), count("Answer_Relevance", "none")), (2, 1));
    assert_eq!(scores(&line, &run_id(1)), ["Answer Relevance 0.25 - -"]);
    let labels = "{name=\"Answer_Relevance\",tenant=\"acme\",feature=\"sre\"}";
    let text = meter.render();
    for end in [format!("_sum{labels} 1\n"), format!("_count{labels} 3\n")] {
        assert!(text.contains(&format!("agent_evaluation_score{end}")), "{text}");
    }
    let many: serde_json::Map<String, Json> = (0..1000)
        .flat_map(|n| {
            let key = |field: &str| format!("annotations.{n}.annotation.{field}");
            [(key("name"), json!(format!("m{n}"))), (key("score"), json!(n))]
        })
        .chain([("openinference.span.kind".to_owned(), json!("EVALUATOR"))])
        .collect();
    line.play(request::payload(&json!({"items": [span("judge", [1, 9, 1], [2, 3], &Json::Object(many))]})));
    assert_eq!(scores(&line, &run_id(1)).len(), MAX_SCORES);
    assert_eq!(meter.render().matches("agent_evaluations_total{name=\"m").count(), MAX_SCORES);
}

/// The API's evaluations join those of telemetry; late ones, of a run that is only in history, count; those of unknown
/// runs and other accounts are refused, over OTLP they wait for their run. A crash loses none.
#[test]
fn reported_late_and_restored() {
    let meter = Meter::new();
    let line = line(&meter);
    line.play(request::payload(&event(scored("relevance", 0.5, "relevant"))));
    line.play(request::payload(&json!({"signal": "logs", "items": [{"event_name": "gen_ai.evaluation.result",
        "trace": 2, "span": 1, "attributes": scored("early", 1.0, "")}]})));
    let now = wait(&line.runs, NOW, Duration::from_secs(40 * 60));
    let reported = |name: &str, kind| RunJudgement {
        outcome: None,
        scores: vec![score(name, Some(0.75), "good", kind), score("relevance", Some(1.0), "", None)],
    };
    let judgement = reported("correctness", Some(AnnotatorKind::Human));
    for (account, id) in [("default", "nobody"), ("another", &*run_id(1))] {
        assert!(line.runs.reported(account, id, judgement.clone()).is_none());
    }
    let effect = line.runs.reported("default", &run_id(1), judgement).unwrap();
    line.apply(&effect);
    line.apply(&effect);
    let all = ["correctness 0.75 good HUMAN", "relevance 1 - -"];
    assert_eq!(scores(&line, &run_id(1)), all);
    let text = meter.render();
    let counted = "agent_evaluations_total{name=\"correctness\",label=\"good\",tenant=\"acme\",feature=\"sre\"} 1\n";
    assert!(text.contains(counted), "{text}");
    let restored = Line::new(runs_with(settings(), &Meter::new()));
    restored.restore(&line.checkpoints());
    restored.runs.tick_now(now);
    restored.play(request::payload(&json!({"items": [{"trace": 2, "span": 1, "name": "invoke_agent",
        "attributes": {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai"}}]})));
    assert_eq!(scores(&restored, &run_id(2)), ["early 1 - -"]);
    use runs::RunSource as _;
    let key = runs::run_key("default", &run_id(1));
    let known = restored.runs.judgement(key).unwrap();
    assert_eq!(known.scores[0].kind, Some(AnnotatorKind::Human));
}

/// The stored form of earlier versions is read, and a score without a kind is stored as they did.
#[test]
fn former_scores_are_read() {
    let former = postcard::to_allocvec(&("relevance", "good", Some(0.5))).unwrap();
    let read: EvaluationScore = postcard::from_bytes(&former).unwrap();
    assert!(read == score("relevance", Some(0.5), "good", None));
    assert_eq!(postcard::to_allocvec(&read).unwrap(), former);
    let whole = score("relevance", None, "", Some(AnnotatorKind::Code));
    let stored = postcard::to_allocvec(&whole).unwrap();
    assert!(postcard::from_bytes::<EvaluationScore>(&stored).unwrap() == whole);
}
