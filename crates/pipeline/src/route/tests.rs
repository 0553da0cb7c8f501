use super::*;
use crate::testing::engine::{Drafter, Sink, Step, attributes, names, origin, spans, with_unknown_field};
use crate::{Clearance, EngineLimits, Exporter};
use otlp::Payload;

fn pipeline(id: &str, processors: Vec<Arc<dyn Processor>>, exporters: &[(&str, Trust)]) -> PipelinePlan {
    let exporters = exporters.iter().map(|(id, trust)| Sink::open(id, *trust) as Arc<dyn Exporter>).collect();
    PipelinePlan { id: id.into(), signal: Signal::Traces, receivers: vec!["otlp".into()], processors, exporters }
}

fn plan(pipelines: Vec<PipelinePlan>) -> EnginePlan {
    EnginePlan {
        pipelines,
        limits: EngineLimits::default(),
        other_state: Vec::new(),
        effects_consumers: Vec::new(),
        sample_states: None,
    }
}

fn run(pipelines: Vec<PipelinePlan>, wire: bytes::Bytes) -> Result<BatchProduct, RouteFailure> {
    let routes = PipelineRoutes::new(&plan(pipelines), &[], &Meter::new());
    let route = routes.find("otlp", Signal::Traces).unwrap();
    RouteExecution::begin(route, Batch::new(origin(), Payload::parse(Signal::Traces, wire).unwrap())).run_to_end()
}

fn read(copy: &ForwardCopy) -> (ForwardLabel, bytes::Bytes) {
    ForwardLabel::split(&bytes::Bytes::copy_from_slice(&copy.body)).unwrap()
}

/// Common steps of several pipelines must run once, and draft once; differing steps must not affect another's copy.
#[test]
fn a_shared_prefix_runs_once() {
    let (vault, shared) = (Drafter::new("vault"), Step::mark("shared"));
    let pipelines = ["a", "b", "c"].map(|name| {
        let mut steps: Vec<Arc<dyn Processor>> = vec![vault.clone(), shared.clone()];
        if name != "c" {
            steps.push(Step::mark(name));
        }
        pipeline(&format!("traces/{name}"), steps, &[(name, Trust::Internal)])
    });
    let product = run(pipelines.to_vec(), spans(&["a"])).ok().unwrap();
    assert_eq!((shared.runs(), product.drafts.len(), product.copies.len()), (1, 1, 3));
    for copy in &product.copies {
        assert_eq!((copy.holders.len(), copy.slots.len()), (1, 1), "each copy has the reference");
        let (name, (label, otlp)) = (&*copy.holders[0], read(copy));
        let own = if name == "c" { String::new() } else { format!("mark.{name} ") };
        let marks = attributes(&otlp).into_keys().collect::<Vec<_>>().join(" ");
        assert_eq!((label.pipeline, marks), (format!("traces/{name}"), format!("{own}mark.shared reference")));
    }
}

/// A field that is not in the schema must not reach a third party, and must reach an internal exporter.
#[test]
fn unknown_fields_are_dropped_for_third_parties_only() {
    let both = [("outside", Trust::ThirdParty), ("inside", Trust::Internal)];
    let product = run(vec![pipeline("traces", vec![], &both)], with_unknown_field("a")).ok().unwrap();
    assert_eq!((product.copies.len(), product.unknown_dropped), (2, 1));
    for copy in &product.copies {
        let (label, otlp) = read(copy);
        let kept = otlp.contains(&b'?');
        match &*copy.holders[0] {
            "outside" => assert!(!kept && label.unknown == UnknownFields::Drop),
            _ => assert!(kept && label.unknown == UnknownFields::Keep),
        }
        assert_eq!((copy.holders.len(), label.items), (1, 1));
    }
    let product = run(vec![pipeline("traces", vec![], &both)], spans(&["a"])).ok().unwrap();
    assert_eq!(product.copies.len(), 1, "with nothing unknown one copy serves both");
    assert_eq!(product.copies[0].holders.len(), 2);
}

/// The copy's label must state exactly the clearance that it has.
#[test]
fn a_copy_carries_its_clearance() {
    for (processors, wanted) in [
        (vec![], Clearance::RECEIVED),
        (
            vec![Step::clear("clear") as Arc<dyn Processor>],
            Clearance { content: crate::ContentState::Stripped, text: crate::TextState::Redacted },
        ),
    ] {
        let product =
            run(vec![pipeline("traces", processors, &[("x", Trust::ThirdParty)])], spans(&["a", "b"])).ok().unwrap();
        let (label, otlp) = read(&product.copies[0]);
        assert_eq!((label.clearance, label.items), (wanted, 2));
        assert_eq!(names(&otlp), ["a", "b"]);
    }
}

/// A ticket's text must be patched into the copy, and one that does not fit must be counted.
#[test]
fn slots_are_patched_in_place() {
    let mut product =
        run(vec![pipeline("traces", vec![Drafter::new("vault")], &[("x", Trust::Internal)])], spans(&["a"]))
            .ok()
            .unwrap();
    let copy = &mut product.copies[0];
    let slot = copy.slots[0].slot;
    assert_eq!(copy.fill_slots(&HashMap::new()), 1);
    assert_eq!(copy.fill_slots(&HashMap::from([(slot, "short".to_owned())])), 1);
    assert_eq!(copy.fill_slots(&HashMap::from([(slot, "0123456789".to_owned())])), 0);
    assert_eq!(attributes(&read(copy).1)["reference"], "0123456789");
}
