//! Tests of paths through `forward` connectors and the pipelines made of them.

use std::collections::HashSet;

use super::join_pipelines;
use config::file::{self, PipelineConfig};
use config::{
    ComponentId,
    env::{SubstitutionFileError, SubstitutionLookup},
};

struct Nothing;

impl SubstitutionLookup for Nothing {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn read_file(&self, _: &str) -> Result<String, SubstitutionFileError> {
        Err(SubstitutionFileError::Missing)
    }
}

fn pipelines(text: &str) -> Vec<PipelineConfig> {
    file::read("test", &format!("service: {{ pipelines: {{ {text} }} }}"), &Nothing).content.unwrap().pipelines
}

fn forwards() -> HashSet<ComponentId> {
    ["forward", "forward/b"].map(|id| ComponentId::parse(id).unwrap()).into()
}

/// Formats the resulting pipelines: `traces/in>out: otlp → a b → x`.
fn shown(text: &str) -> Vec<String> {
    let list = |ids: &[(ComponentId, config::SourcePosition)]| {
        ids.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let all = join_pipelines(&pipelines(text), &forwards()).unwrap_or_else(|_| panic!("too many"));
    let line = |p: &PipelineConfig| {
        format!("{}: {} → {} → {}", p.id, list(&p.receivers), list(&p.processors), list(&p.exporters))
    };
    all.iter().map(line).collect()
}

/// A path through a connector becomes one pipeline, whether it merges, splits or both; other pipelines stay unchanged.
#[test]
fn ways_are_pipelines() {
    assert_eq!(
        shown(
            "traces: { receivers: [otlp], processors: [a], exporters: [x] }, logs: { receivers: [otlp], exporters: [x] }"
        ),
        ["traces: otlp → a → x", "logs: otlp →  → x"],
        "none"
    );
    assert_eq!(
        shown(
            "traces/one: { receivers: [otlp/1], processors: [a], exporters: [forward, y] }, \
             traces/two: { receivers: [otlp/2], processors: [b], exporters: [forward] }, \
             traces: { receivers: [forward, otlp/3], processors: [c], exporters: [x] }, \
             traces/raw: { receivers: [forward], exporters: [z] }"
        ),
        [
            "traces/one: otlp/1 → a → y",
            "traces/one>traces: otlp/1 → a c → x",
            "traces/one>raw: otlp/1 → a → z",
            "traces/two>traces: otlp/2 → b c → x",
            "traces/two>raw: otlp/2 → b → z",
            "traces: otlp/3 → c → x",
        ],
        "merged and parted"
    );
    assert_eq!(
        shown(
            "logs/1: { receivers: [otlp], processors: [a], exporters: [forward] }, \
             logs/2: { receivers: [forward], processors: [b], exporters: [forward/b] }, \
             logs/3: { receivers: [forward/b], exporters: [x] }, \
             metrics/3: { receivers: [forward/b], exporters: [x] }"
        ),
        ["logs/1>2>3: otlp → a b → x"],
        "one behind the other, by signal"
    );
}

/// Rings are reported elsewhere; here following one must end. A file can't produce more paths than the limit.
#[test]
fn rings_and_floods_end() {
    let ring = "traces/1: { receivers: [otlp, forward/b], exporters: [forward] }, \
                traces/2: { receivers: [forward], exporters: [forward/b, x] }";
    assert_eq!(shown(ring), ["traces/1>2: otlp →  → x"]);
    let mut text = String::new();
    for stage in 0..12 {
        let from = if stage == 0 { "otlp".to_owned() } else { format!("forward/s{stage}") };
        let to = if stage == 11 { "x".to_owned() } else { format!("forward/s{}", stage + 1) };
        for twin in ["a", "b"] {
            text.push_str(&format!("traces/{stage}{twin}: {{ receivers: [{from}], exporters: [{to}] }}, "));
        }
    }
    let stages = (0..12).map(|stage| ComponentId::parse(&format!("forward/s{stage}")).unwrap()).collect();
    assert!(join_pipelines(&pipelines(text.trim_end_matches(", ")), &stages).is_err(), "4096 ways");
}
