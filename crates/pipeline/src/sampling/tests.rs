use super::*;
use crate::outcome::{PendingFullText, Reason};
use crate::plan::{OnFullAction, OutletSettings};
use crate::testing::engine::{Sink, Step, padded, sorted, spans};
use crate::testing::rig::{Parts, Rig};
use crate::{Exporter, Outcome, Trust};
use rules::{KeepRule, RunSampleState};
use undecided::MAX_UNITS;

/// Knows no run: everything is decided by its trace once it is settled.
struct NoRuns;

impl RunSampleStates for NoRuns {
    fn find_states(&self, units: &[Arc<SampleUnit>], _: &[KeepRule], _: UnixNanos) -> Vec<RunSampleState> {
        units.iter().map(|_| RunSampleState::default()).collect()
    }

    fn settle(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// An engine whose exporter samples: every trace is in the share.
fn sampled_rig(sink: &Arc<Sink>, outlet: OutletSettings) -> (Rig, tempfile::TempDir) {
    let rules = SampleRules { keep: Vec::new(), others: 2, wait: Duration::from_secs(600) };
    rig_with(OutletSettings { sample: Some(Arc::new(rules)), ..outlet }, sink)
}

fn sampled_by(rules: SampleRules, sink: &Arc<Sink>) -> (Rig, tempfile::TempDir) {
    rig_with(OutletSettings { sample: Some(Arc::new(rules)), ..OutletSettings::default() }, sink)
}

fn rig_with(outlet: OutletSettings, sink: &Arc<Sink>) -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(vec![Step::clear("clear")], vec![Arc::<Sink>::clone(sink) as Arc<dyn Exporter>]);
    parts.outlets = outlet;
    parts.sample_states = Some(Arc::new(NoRuns));
    (parts.open(folder.path()), folder)
}

fn run(rig: &mut Rig, seconds: u64) {
    let stop = watch::Sender::new(false);
    let outlet = Arc::clone(&rig.engine.outlets[0]).run(stop.subscribe());
    let sampler = Arc::clone(&rig.engine.samplers[0]).run(stop.subscribe());
    rig.run(Duration::from_secs(seconds), async {
        tokio::join!(outlet, sampler);
    });
}

/// What waits for a decision counts as pending: `max_pending` bounds it.
#[test]
fn what_waits_for_a_decision_is_bounded() {
    for on_full in [OnFullAction::Refuse, OnFullAction::Expire] {
        let outlet = OutletSettings { max_pending: Some(5_000), on_full, ..OutletSettings::default() };
        let (mut rig, _folder) = sampled_rig(&Sink::open("x", Trust::ThirdParty), outlet);
        let answers: Vec<Outcome> = (0..10).map(|n| rig.put(padded(&[format!("item{n}")], 900))).collect();
        let refused = Outcome::Retry {
            after: Some(Duration::from_secs(10)),
            reason: Reason::PendingFull(PendingFullText::for_exporter("x")),
        };
        assert_eq!(answers[9], if on_full == OnFullAction::Refuse { refused } else { Outcome::Accepted });
        rig.engine.tick();
        assert!((4..=6).contains(&rig.waiting("x#waiting").len()), "{}", rig.waiting("x#waiting").len());
    }
}

/// A trace without a run is kept for a failed span, in whichever of its records, and of the others the share comes.
#[test]
fn failed_traces_without_a_run_are_kept() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::Status;
    use prost::Message as _;

    for (keep, expected) in [(vec![KeepRule::Errors], ["failed", "quiet"]), (Vec::new(), ["", ""])] {
        let sink = Sink::open("x", Trust::ThirdParty);
        let (mut rig, _folder) = sampled_by(SampleRules { keep, others: 0, wait: Duration::from_secs(600) }, &sink);
        let put = |rig: &mut Rig, name: &str, trace: u8, code: i32| {
            let mut request = ExportTraceServiceRequest::decode(padded(&[name.to_owned()], 10)).unwrap();
            let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
            (span.trace_id, span.status) = (vec![trace; 16], Some(Status { code, ..Status::default() }));
            assert_eq!(rig.put(request.encode_to_vec().into()), Outcome::Accepted);
        };
        for (name, trace, code) in [("quiet", 1, 0), ("other", 2, 1), ("failed", 1, 2)] {
            put(&mut rig, name, trace, code);
        }
        run(&mut rig, 60);
        let expected: Vec<&str> = expected.into_iter().filter(|name| !name.is_empty()).collect();
        assert_eq!(sorted(sink.all()), expected);
        assert_eq!(rig.waiting("x#waiting").len(), 0);
    }
}

/// A record that can't be read must not stop the sampler: those after it are decided.
#[test]
fn a_damaged_record_stops_nothing() {
    use std::os::unix::fs::FileExt as _;

    let sink = Sink::open("x", Trust::ThirdParty);
    let (mut rig, folder) = sampled_rig(&sink, OutletSettings::default());
    for name in ["a", "b", "c"] {
        assert_eq!(rig.put(spans(&[name])), Outcome::Accepted);
    }
    let damaged = rig.waiting("x#waiting")[1].seq;
    let segment = std::fs::read_dir(folder.path().join("spool")).unwrap().map(|file| file.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|end| end == "spool")).min().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let file = std::fs::File::options().write(true).open(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let is_hit = (0..end).rev().step_by(16).any(|at| {
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        let error = rig.spool.read("x#waiting", Some(RecordSeq(damaged.0 - 1)), usize::MAX, 1).err();
        let is_hit = matches!(error, Some(SpoolReadError::Damaged(seq)) if seq == damaged);
        file.write_all_at(&[bytes[at] ^ u8::from(is_hit)], at as u64).unwrap();
        is_hit
    });
    assert!(is_hit);
    run(&mut rig, 60);
    assert_eq!(sorted(sink.all()), ["a", "c"]);
    assert!(rig.meter.render().contains(r#"spool_read_failures_total{exporter="x"} 1"#), "{}", rig.meter.render());
}

/// Parts repeat their resource: a batch that would grow by being split waits as a whole.
#[test]
fn a_split_does_not_multiply_a_resource() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;

    for (padding, records) in [(0, 20), (100_000, 1)] {
        let (mut rig, _folder) = sampled_rig(&Sink::open("x", Trust::ThirdParty), OutletSettings::default());
        let names: Vec<String> = (0..20).map(|number| format!("item{number}")).collect();
        let mut request = ExportTraceServiceRequest::decode(padded(&names, 100)).unwrap();
        let group = &mut request.resource_spans[0];
        for (number, span) in (1..).zip(&mut group.scope_spans[0].spans) {
            span.trace_id = vec![number; 16];
        }
        let schema = "x".repeat(padding);
        group.schema_url = schema;
        assert_eq!(rig.put(request.encode_to_vec().into()), Outcome::Accepted);
        run(&mut rig, 10);
        let waiting = rig.waiting("x#waiting").len();
        assert!(if records == 1 { waiting == 1 } else { waiting > 10 }, "{waiting}");
        run(&mut rig, 90);
        assert_eq!(rig.waiting("x#waiting").len(), 0);
    }
}

fn unit(account: &str, trace: usize) -> SampleUnit {
    SampleUnit { account: account.into(), run: "".into(), trace: format!("{trace:032x}").into() }
}

/// The number of undecided runs in memory is bounded, even if a sender invents runs. Beyond the bound, the oldest of
/// that sender's account are decided early, and no other account's.
#[test]
fn the_oldest_units_make_room() {
    let (mut undecided, late) = (UndecidedRecords::default(), Duration::from_secs(600));
    let record = |account: &str, traces: &[usize]| {
        let units: Vec<(SampleUnit, bool)> = traces.iter().map(|trace| (unit(account, *trace), false)).collect();
        let items = units.len() as u64;
        (WaitingRecord { units: Vec::new(), items, bytes: 1, committed: UnixNanos(1), deadline: late }, units)
    };
    let traces: Vec<usize> = (0..MAX_UNITS + 90).collect();
    for (seq, traces) in (0..).zip(traces.chunks(100)) {
        let (record, units) = record(if seq < 5 { "quiet" } else { "loud" }, traces);
        undecided.add(RecordSeq(seq), record, units, Duration::ZERO);
    }
    assert!(undecided.is_full());
    undecided.expire_excess(Duration::from_secs(5));
    let is_early = |record: &&WaitingRecord| record.deadline < late;
    let early: Vec<u64> =
        undecided.records.iter().filter(|(_, record)| is_early(record)).map(|(seq, _)| seq.0).collect();
    assert_eq!(early, [5], "of the loud account");
    undecided.remove(RecordSeq(5));
    assert!(!undecided.is_full());
    let seqs: Vec<RecordSeq> = undecided.records.keys().copied().collect();
    seqs.into_iter().for_each(|seq| undecided.remove(seq));
    assert!(undecided.units.is_empty(), "nothing is left of what was decided");
}

/// The written rate is the one that Honeycomb reads, whatever an application wrote, and where.
#[test]
fn rates_are_multiplied() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message as _;

    let attribute = |(key, value): (&str, any_value::Value)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let int = any_value::Value::IntValue;
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    let double = any_value::Value::DoubleValue;
    let cases = [
        (vec![], vec![], ("SampleRate", 10)),
        (vec![], vec![("SampleRate", int(4))], ("SampleRate", 40)),
        (vec![], vec![("sampleRate", double(2.6))], ("sampleRate", 30)),
        (vec![], vec![("sampleRate", text("x"))], ("sampleRate", 10)),
        (vec![], vec![("sampleRate", any_value::Value::BoolValue(true)), ("SampleRate", int(9))], ("sampleRate", 10)),
        (vec![], vec![("SampleRate", int(i64::MAX))], ("SampleRate", 10_000_000)),
        (vec![], vec![("SampleRate", int(-5))], ("SampleRate", 10)),
        (vec![], vec![("SampleRate", double(f64::NAN))], ("SampleRate", 10)),
        (vec![("sampleRate", int(4))], vec![], ("sampleRate", 40)),
        (vec![("SampleRate", int(4))], vec![], ("SampleRate", 40)),
        (vec![("SampleRate", int(4))], vec![("sampleRate", int(3))], ("sampleRate", 30)),
    ];
    for (resource, span, (key, rate)) in cases {
        let span = Span { attributes: span.into_iter().map(attribute).collect(), ..Span::default() };
        let resource = Resource { attributes: resource.into_iter().map(attribute).collect(), ..Resource::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
        let wire = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let mut payload = Payload::parse(otlp::Signal::Traces, wire.into()).unwrap();
        let node = payload.items().next().unwrap();
        weight::multiply(&mut payload, node, 10);
        let read = |key: &str| payload.get(node, key).map(|value| value.as_count().unwrap());
        assert_eq!(read(key), Some(rate), "{key}");
        let other = if key == "SampleRate" { "sampleRate" } else { "SampleRate" };
        assert_eq!(read(other), None);
    }
}
