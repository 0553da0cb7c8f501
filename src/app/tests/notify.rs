//! Alerts to a webhook: once each, signed, redacted, muted, tried again, remembered.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, pending, ready};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::super::build::{Companion as _, Seams};
use super::super::notify::{Notify, Parts};
use super::super::tasks::Tasks;
use super::seams;
use crate::clock::{Clock, UnixNanos};
use crate::net::Proxies;
use crate::processors::redact;
use crate::pseudonym::Pseudonymizer;
use crate::redaction::Ids;
use crate::runs::{Alert, Board, Budget, Detail, Investigations, Measure, RunSums, RunView, Severity};
use crate::secret::Secret;
use crate::telemetry::admin::{self, links, webhook};

const MINUTE: u64 = 60_000_000_000;
const START: u64 = 1_800_000_000_000_000_000;
const KEY: &str = "a key of the receiver";

/// Pauses pass at once and are added to the time; deadlines never come.
#[derive(Default)]
struct Quick {
    now: AtomicU64,
    pauses: Mutex<Vec<u64>>,
}

impl Clock for Quick {
    fn now(&self) -> UnixNanos {
        UnixNanos(START + self.now.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        if span == Duration::from_secs(10) {
            return Box::pin(pending());
        }
        self.pauses.lock().push(span.as_secs());
        self.now.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Ordering::Relaxed);
        Box::pin(ready(()))
    }
}

#[derive(Default)]
struct Raised(Mutex<Vec<Alert>>);

impl Board for Raised {
    fn recent(&self, _: usize) -> Vec<RunView> {
        Vec::new()
    }
    fn run(&self, _: &str) -> Option<Detail> {
        None
    }
    fn budget(&self, _: &str, _: &str) -> Option<Budget> {
        None
    }
    fn sums(&self) -> RunSums {
        RunSums::default()
    }
    fn investigations(&self) -> BTreeMap<String, Investigations> {
        BTreeMap::new()
    }
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }
    fn alerts(&self) -> Vec<Alert> {
        self.0.lock().clone()
    }
}

/// What came: head and body.
type Came = Arc<Mutex<Vec<(String, String)>>>;

/// Answers with these, then with 200.
async fn stub(answers: &[&'static str]) -> (String, Came) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let came: Came = Came::default();
    let (seen, mut answers) = (Arc::clone(&came), VecDeque::from(answers.to_vec()));
    #[expect(clippy::disallowed_methods, reason = "a back end of this test, not a task of the product")]
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut text, mut part) = (Vec::new(), [0; 4096]);
            let (head, body) = loop {
                let length = stream.read(&mut part).await.unwrap_or(0);
                text.extend_from_slice(&part[..length]);
                let all = String::from_utf8_lossy(&text).into_owned();
                let whole = all.split_once("\r\n\r\n").filter(|(head, body)| {
                    let length = head
                        .to_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .map(|rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
                    length == Some(body.len())
                });
                if let Some((head, body)) = whole {
                    break (head.to_owned(), body.to_owned());
                }
                assert!(length > 0, "{all}");
            };
            seen.lock().push((head, body));
            let status = answers.pop_front().unwrap_or("200 OK");
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (format!("http://{address}/services/T0/B0/secretpath"), came)
}

struct Scene {
    notify: Arc<Notify>,
    board: Arc<Raised>,
    clock: Arc<Quick>,
    seams: Seams,
    stop: watch::Sender<bool>,
}

fn scene(folder: &Path, config: Value) -> Scene {
    let config: admin::Config = serde_json::from_value(json!({
        "alerts": config, "trace_link": {"back_end": "jaeger", "base": "https://jaeger.example"},
    }))
    .unwrap();
    let settings = config.settings().unwrap_or_else(|problems| panic!("{}", problems[0].what));
    let (webhook, link): (webhook::Webhook, Option<links::TraceLink>) = (settings.alerts.unwrap(), settings.trace_link);
    let (board, clock): (Arc<Raised>, Arc<Quick>) = Default::default();
    let seams = Seams { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..seams() };
    let detector = redact::Config::default().settings().unwrap_or_else(|_| panic!("valid")).detector;
    let ids = Ids::new(vec![detector], Pseudonymizer::new(&Secret::new("key".into())));
    let parts = Parts {
        board: Arc::clone(&board) as Arc<dyn Board>,
        ids: Arc::new(ids),
        link,
        seams: seams.clone(),
        tasks: Tasks::new(&seams.meter),
        proxies: Arc::new(Proxies::from_env(&|_| None).unwrap()),
        file: folder.join("alerts-sent.json"),
    };
    let notify = Arc::new(Notify::build(webhook, parts).unwrap());
    notify.prepare().unwrap();
    Scene { notify, board, clock, seams, stop: watch::channel(false).0 }
}

impl Scene {
    async fn look(&self) -> bool {
        self.notify.look(&mut self.stop.subscribe()).await
    }

    fn raise(&self, alert: Alert) {
        self.board.0.lock().push(alert);
    }

    fn counted(&self, outcome: &str, times: u64) {
        let line = format!("tollgate_alert_messages_total{{outcome=\"{outcome}\"}} {times}");
        assert!(self.seams.meter.render().contains(&line), "{line}");
    }
}

fn alert(rule: &'static str, run: &str, since: u64) -> Alert {
    Alert {
        rule,
        severity: Severity::Critical,
        account: "default".into(),
        run: run.into(),
        session: "s-1".into(),
        trace: "0af7651916cd43dd8448eb211c80319c".into(),
        tenant: Some("acme".into()),
        feature: Some("triage".into()),
        tool: "Bash".into(),
        value: 7.0,
        threshold: 5.0,
        since,
        until: None,
    }
}

/// One message for one alert, also over a restart; it is Slack's JSON with a link, signed, and holds nothing private and no
/// markup that a client made up.
#[tokio::test]
async fn told_once_signed_and_redacted() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let config = json!({"url": url, "signing_key": KEY});
    let first = scene(folder.path(), config.clone());
    let mut one = alert("identical_tool_calls", "r-1", START);
    one.tool = "mail jane@example.com".into();
    one.feature = Some("<!channel> *now* <https://evil.example|click>".into());
    first.raise(one.clone());
    assert!(first.look().await && first.look().await);
    first.counted("sent", 1);
    let (head, body) = came.lock().first().cloned().unwrap();
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(format!("v1:{}:{body}", header("x-tollgate-timestamp")).as_bytes());
    assert_eq!(header("x-tollgate-signature"), format!("v1={}", crate::hex::encode(&mac.finalize().into_bytes())));
    assert_eq!(header("x-tollgate-timestamp"), (START / 1_000_000_000).to_string());
    let message: Value = serde_json::from_str(&body).unwrap();
    let text = message["text"].as_str().unwrap();
    assert!(text.contains("critical: identical_tool_calls is 7 (threshold 5)") && text.contains("run r-1"), "{text}");
    assert!(text.contains("<https://jaeger.example/trace/0af7651916cd43dd8448eb211c80319c|trace>"), "{text}");
    assert!(!text.contains("jane") && text.contains("[EMAIL]"), "{text}");
    assert!(!text.contains("<!channel>") && !text.contains("*now*") && !text.contains("<https://evil"), "{text}");
    assert_eq!(message["blocks"][0]["text"]["text"], message["text"]);
    // after a restart
    let second = scene(folder.path(), config);
    second.raise(one.clone());
    assert!(second.look().await);
    assert_eq!(came.lock().len(), 1, "sent twice");
    // again within the hour, then after it
    let raise = |since: u64| {
        let mut alerts = second.board.0.lock();
        alerts[0].since = since;
        alerts[0].until = Some(since);
    };
    raise(START + MINUTE);
    assert!(second.look().await);
    second.counted("repeated", 1);
    second.clock.now.store(62 * MINUTE, Ordering::Relaxed);
    raise(START + 62 * MINUTE);
    assert!(second.look().await);
    assert_eq!(came.lock().len(), 2);
    second.counted("sent", 1);
}

/// What is muted, by rule, tenant or for a while, and what is not loud enough, is not sent; nor later, when the mute is over.
#[tokio::test]
async fn mutes() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let scene = scene(
        folder.path(),
        json!({"url": url, "severity": "critical", "mute": [
            {"rule": "limit_hit"}, {"rule": "*", "tenant": "noisy"}, {"rule": "session_cost_runaway", "until": "2027-01-15T08:30:00Z"},
        ]}),
    );
    let until = 1_800_001_800_000_000_000; // the same time
    scene.raise(alert("limit_hit", "r-1", START));
    scene.raise(Alert { tenant: Some("noisy".into()), ..alert("iteration_ceiling", "r-2", START) });
    scene.raise(alert("session_cost_runaway", "r-3", START));
    scene.raise(Alert { severity: Severity::Warning, ..alert("tool_retries", "r-4", START) });
    scene.raise(Alert { until: Some(START - 20 * MINUTE), ..alert("iteration_ceiling", "r-5", START - 30 * MINUTE) });
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.lock().len(), 0);
    scene.counted("muted", 3);
    scene.clock.now.store(until - START, Ordering::Relaxed);
    assert!(scene.look().await);
    assert_eq!(came.lock().len(), 0, "a mute's end is no alert");
    scene.raise(alert("session_cost_runaway", "r-6", until));
    assert!(scene.look().await);
    assert_eq!(came.lock().len(), 1);
}

/// A webhook that is down is asked five times with growing pauses, or as it says; one that refuses is asked once. Either way
/// what it was told of is counted, and is not told again.
#[tokio::test]
async fn attempts_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&["503 X", "429 X\r\nretry-after: 7"]).await;
    let up = scene(folder.path(), json!({"url": url}));
    up.raise(alert("limit_hit", "r-1", START));
    assert!(up.look().await);
    assert_eq!((came.lock().len(), up.clock.pauses.lock().clone()), (3, vec![1, 7]));
    up.counted("sent", 1);
    let (url, came) = stub(&["500 X"; 9]).await;
    let down = scene(folder.path(), json!({"url": url}));
    down.raise(alert("limit_hit", "r-2", START));
    assert!(down.look().await && down.look().await);
    assert_eq!((came.lock().len(), down.clock.pauses.lock().clone()), (5, vec![1, 2, 4, 8]));
    down.counted("failed", 1);
    let (url, came) = stub(&["404 X"]).await;
    let refusing = scene(folder.path(), json!({"url": url}));
    refusing.raise(alert("limit_hit", "r-3", START));
    assert!(refusing.look().await && refusing.look().await);
    assert_eq!(came.lock().len(), 1);
    refusing.counted("failed", 1);
}

/// A flood becomes ten messages and one that says how many more there are.
#[tokio::test]
async fn a_flood_is_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    (0..500).for_each(|n| scene.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.lock().len(), 11);
    assert!(came.lock()[10].1.contains("490 more alerts"), "{}", came.lock()[10].1);
}

/// A gateway that ends while the webhook is down sends it after the next start.
#[tokio::test]
async fn what_was_not_sent_is_sent_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&["503 X"]).await;
    let config = json!({"url": url});
    let first = scene(folder.path(), config.clone());
    first.raise(alert("limit_hit", "r-1", START));
    let stop = watch::channel(true);
    assert!(!first.notify.look(&mut stop.1.clone()).await, "it ends");
    let second = scene(folder.path(), config);
    second.raise(alert("limit_hit", "r-1", START));
    assert!(second.look().await);
    assert_eq!(came.lock().len(), 2);
    second.counted("sent", 1);
}

/// Settings that can't be meant are refused; the address is in no text.
#[test]
fn settings_are_checked() {
    let problems = |alerts: Value| {
        let config: admin::Config = serde_json::from_value(json!({ "alerts": alerts })).unwrap();
        match config.settings() {
            Ok(settings) => vec![format!("{settings:?}")],
            Err(problems) => problems.into_iter().map(|problem| format!("{} {}", problem.path, problem.what)).collect(),
        }
    };
    for (alerts, wanted) in [
        (json!({"url": "hooks.example/x"}), "alerts.url"),
        (json!({"url": "ftp://hooks.example/x"}), "alerts.url"),
        (json!({"url": "https://h.example/x", "signing_key": "short"}), "alerts.signing_key"),
        (json!({"signing_key": "long enough for a key"}), "alerts.signing_key"),
        (json!({"mute": [{"rule": ""}]}), "alerts.mute[0].rule"),
        (json!({"mute": [{"rule": "limit_hit", "until": "tomorrow"}]}), "alerts.mute[0].until"),
    ] {
        let found = problems(alerts);
        assert!(found.len() == 1 && found[0].starts_with(wanted), "{found:?}");
        assert!(!found[0].contains("example"), "{found:?}");
    }
    let shown = problems(json!({"url": "https://h.example/secretpath", "signing_key": "long enough for a key"}));
    assert!(!shown[0].contains("secretpath") && !shown[0].contains("long enough"), "{shown:?}");
}

/// A mute of a rule that there is not is refused at the start.
#[tokio::test]
async fn a_mute_of_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let scene = std::panic::catch_unwind(|| {
        scene(folder.path(), json!({"url": "http://127.0.0.1:1/", "mute": [{"rule": "no_such_rule"}]}))
    });
    assert!(scene.is_err());
}
