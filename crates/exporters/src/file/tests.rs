//! Tests of the file exporter.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::{FileExporter, FileExporterConfig, FileExporterSettings, RotationLimits, build};
use config::ComponentId;
use kernel::clock::{ManualClock, UnixNanos};
use otlp::{Signal, json};
use pipeline::{ExportRequest, Exporter, Outcome, Reason, Trust};

const RETRY: Outcome = Outcome::Retry { after: None, reason: Reason::Unavailable };

struct Place {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: ManualClock::at(UnixNanos(1_700_000_000_000_000_000)) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("out.jsonl")
    }

    fn exporter(&self, rotation: Option<RotationLimits>) -> FileExporter {
        let settings = FileExporterSettings { path: self.path(), trust: Trust::ThirdParty, rotation };
        build(&ComponentId::parse("file/x").unwrap(), settings, Arc::clone(&self.clock) as _)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn line(name: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"schemaUrl":"{name}"}}]}}"#)
}

fn request(name: &str) -> ExportRequest {
    let body = json::decode(Signal::Logs, line(name).as_bytes()).unwrap();
    ExportRequest { signal: Signal::Logs, account: "default".into(), body: body.into(), items: 1 }
}

async fn send(exporter: &FileExporter, name: &str) -> Outcome {
    exporter.send(&request(name)).await
}

/// A request of a real client becomes one line with the same content.
#[tokio::test]
async fn real_traces() {
    let place = Place::new();
    let path = fixtures::at("tests/recordings/claude-code/json/004-traces.json");
    let body = json::decode(Signal::Traces, &std::fs::read(path).unwrap()).unwrap();
    let request =
        ExportRequest { signal: Signal::Traces, account: "default".into(), body: body.clone().into(), items: 2 };
    assert_eq!(place.exporter(None).send(&request).await, Outcome::Accepted);
    let text = place.text();
    assert_eq!(text.matches('\n').count(), 1);
    let back = json::decode(Signal::Traces, text.trim_end().as_bytes()).unwrap();
    assert!(ExportTraceServiceRequest::decode(back.as_slice()) == ExportTraceServiceRequest::decode(body.as_slice()));
    insta::assert_snapshot!("traces", text);
}

/// Lines are appended, across restarts too, to a file that only its owner can read.
#[tokio::test]
async fn appends() {
    let place = Place::new();
    let exporter = place.exporter(None);
    assert_eq!(send(&exporter, "a").await, Outcome::Accepted);
    assert_eq!(send(&exporter, "b").await, Outcome::Accepted);
    drop(exporter);
    assert_eq!(send(&place.exporter(None), "c").await, Outcome::Accepted);
    assert_eq!(place.text(), format!("{}\n{}\n{}\n", line("a"), line("b"), line("c")));
    assert_eq!(std::fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A line that a crash cut short does not spoil the next one.
#[tokio::test]
async fn torn_tail() {
    let place = Place::new();
    std::fs::write(place.path(), "{\"resourceLo").unwrap();
    assert_eq!(send(&place.exporter(None), "a").await, Outcome::Accepted);
    assert_eq!(place.text(), format!("{{\"resourceLo\n{}\n", line("a")));
}

/// A send that is cancelled at any point leaves all of its line or nothing; the next line is complete.
#[tokio::test]
async fn given_up() {
    for polls in 0..12 {
        let place = Place::new();
        let exporter = place.exporter(None);
        assert_eq!(send(&exporter, "first").await, Outcome::Accepted);
        let long = request(&"x".repeat(3 << 20));
        {
            let mut attempt = pin!(exporter.send(&long));
            for _ in 0..polls {
                if let Poll::Ready(outcome) = attempt.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    assert_eq!(outcome, Outcome::Accepted);
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(send(&exporter, "last").await, Outcome::Accepted);
        let text = place.text();
        let whole = |line: &str| json::decode(Signal::Logs, line.as_bytes()).is_ok();
        assert!(text.ends_with(&format!("{}\n", line("last"))) && text.lines().all(whole), "{polls}");
    }
}

/// A file that another program renamed or removed is created again, and one that it emptied is written from its start,
/// without a hole.
#[tokio::test]
async fn changed_by_others() {
    let place = Place::new();
    let exporter = place.exporter(None);
    let changes: [fn(&Place); 4] = [
        |_| (),
        |place| std::fs::rename(place.path(), place.folder.path().join("moved")).unwrap(),
        |place| std::fs::remove_file(place.path()).unwrap(),
        |place| std::fs::write(place.path(), "").unwrap(),
    ];
    for change in changes {
        change(&place);
        assert_eq!(send(&exporter, "a").await, Outcome::Accepted);
        assert_eq!(place.text(), format!("{}\n", line("a")));
    }
}

/// A failed write is retried, and succeeds once the cause is gone.
#[tokio::test]
async fn unwritable() {
    let place = Place::new();
    std::fs::write(place.folder.path().join("under"), "").unwrap();
    let settings = FileExporterSettings {
        path: place.folder.path().join("under/out.jsonl"),
        trust: Trust::Internal,
        rotation: None,
    };
    let exporter = build(&ComponentId::parse("file").unwrap(), settings, Arc::clone(&place.clock) as _);
    assert_eq!(send(&exporter, "a").await, RETRY);
    std::fs::remove_file(place.folder.path().join("under")).unwrap();
    std::fs::create_dir(place.folder.path().join("under")).unwrap();
    assert_eq!(send(&exporter, "a").await, Outcome::Accepted);
}

/// Two exporters never write the same file, because their lines could mix.
#[tokio::test]
async fn one_writer() {
    let place = Place::new();
    let first = place.exporter(None);
    assert_eq!(send(&first, "a").await, Outcome::Accepted);
    let second = place.exporter(None);
    assert_eq!(send(&second, "b").await, RETRY);
    drop(first);
    assert_eq!(send(&second, "b").await, Outcome::Accepted);
}

/// A device has no size and can't be synced; lines are written all the same.
#[tokio::test]
async fn device() {
    let settings = FileExporterSettings {
        path: "/dev/null".into(),
        trust: Trust::Internal,
        rotation: Some(RotationLimits { max_bytes: 1, max_backups: 1 }),
    };
    let exporter = build(&ComponentId::parse("file").unwrap(), settings, ManualClock::at(UnixNanos(0)));
    assert_eq!(send(&exporter, "a").await, Outcome::Accepted);
    assert_eq!(send(&exporter, "b").await, Outcome::Accepted);
}

/// A full file is renamed with a time stamp; the oldest ones are deleted, files with other names stay; no line is
/// split or lost.
#[tokio::test]
async fn rotation() {
    let place = Place::new();
    let others = ["out-notes.jsonl", "out-2023-11-14T22-13-20.000.txt", "other-2023-11-14T22-13-20.000.jsonl"];
    for other in others {
        std::fs::write(place.folder.path().join(other), "").unwrap();
    }
    let limits = RotationLimits { max_bytes: 2 * (line("0").len() as u64 + 1), max_backups: 2 };
    let exporter = place.exporter(Some(limits));
    for number in 0..7 {
        assert_eq!(send(&exporter, &number.to_string()).await, Outcome::Accepted);
        if number % 2 == 1 {
            place.clock.advance(Duration::from_secs(1));
        }
    }
    let mut wanted = vec!["out-2023-11-14T22-13-22.000.jsonl", "out-2023-11-14T22-13-23.000.jsonl", "out.jsonl"];
    wanted.extend(others);
    wanted.sort_unstable();
    assert_eq!(place.names(), wanted);
    assert_eq!(place.text(), format!("{}\n", line("6")));
    let older = std::fs::read_to_string(place.folder.path().join("out-2023-11-14T22-13-22.000.jsonl")).unwrap();
    assert_eq!(older, format!("{}\n{}\n", line("2"), line("3")));
}

/// Several renames within a millisecond keep all files; `max_backups: 0` keeps all; a request above the size gets a
/// file of its own.
#[tokio::test]
async fn rotation_within_a_millisecond() {
    let place = Place::new();
    let exporter = place.exporter(Some(RotationLimits { max_bytes: 10, max_backups: 0 }));
    for number in 0..5 {
        assert_eq!(send(&exporter, &number.to_string()).await, Outcome::Accepted);
    }
    assert_eq!(place.names().len(), 5);
}

/// Bytes that can't be decoded as a request are refused and not written.
#[tokio::test]
async fn not_a_request() {
    let place = Place::new();
    let request = ExportRequest { signal: Signal::Logs, account: "a".into(), body: vec![0x0b].into(), items: 1 };
    assert_eq!(place.exporter(None).send(&request).await, Outcome::Refused { reason: Reason::BadData });
    assert!(place.names().is_empty());
}

/// The Collector's keys work; a path is required; unknown keys are refused; every problem is reported.
#[test]
fn config() {
    let read = |text: &str| serde_json::from_str::<FileExporterConfig>(text);
    let settings = read(r#"{"path":"out.jsonl"}"#).unwrap().settings().unwrap();
    assert!(settings.trust == Trust::ThirdParty && settings.rotation.is_none());
    let settings = read(r#"{"path":"out.jsonl","trust":"internal","rotation":null}"#).unwrap().settings().unwrap();
    let limits = settings.rotation.unwrap();
    assert_eq!((settings.trust, limits.max_bytes, limits.max_backups), (Trust::Internal, 100 << 20, 100));
    let problems = read(r#"{"rotation":{"max_megabytes":0}}"#).unwrap().settings().unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["path", "rotation.max_megabytes"]);
    assert!(read(r#"{"path":"x","rotation":{"max_days":1}}"#).is_err());
    assert!(read(r#"{"path":"x","format":"proto"}"#).is_err());
}
