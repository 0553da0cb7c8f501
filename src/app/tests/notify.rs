//! Alerts to a webhook: sent once, signed, redacted, muted, retried, recorded.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, pending, ready};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::super::alert_sender::{AlertSender, AlertSenderParts, routes};
use super::super::build::{BackgroundTask as _, GatewayDeps};
use super::super::tasks::Tasks;
use fixtures::until::until;
use kernel::clock::{Clock, UnixNanos};
use kernel::pseudonym::Pseudonymizer;
use kernel::secret::Secret;
use net::ProxyRules;
use pages::alert_message::MessageLinks;
use processors::redact;
use redaction::RedactionIdPolicy;
use runs::testing::runs::{MINUTE, Made, NOW as START, alert};
use runs::{Alert, AlertSeverity, RunCatalog};
use telemetry::admin::{self, webhook};

mod quiet;

const KEY: &str = "a key of the receiver";

/// A clock whose sleeps complete at once and advance the time; deadlines never fire.
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

/// The received requests: head and body.
type Came = Arc<Mutex<Vec<(String, String)>>>;

/// Answers requests with these statuses (`hang`: never answers), then with 200.
async fn stub(answers: &[&'static str]) -> (String, Came) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let came: Came = Came::default();
    let (seen, mut answers, mut held) = (Arc::clone(&came), VecDeque::from(answers.to_vec()), Vec::new());
    #[expect(clippy::disallowed_methods, reason = "a back end of this test, not a task of the product")]
    tokio::spawn(async move {
        'next: while let Ok((mut stream, _)) = listener.accept().await {
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
                if length == 0 {
                    // The client closed the connection.
                    continue 'next;
                }
            };
            seen.lock().push((head, body));
            let status = answers.pop_front().unwrap_or("200 OK");
            if status == "hang" {
                held.push(stream);
                continue;
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (format!("http://{address}/services/T0/B0/secretpath"), came)
}

struct Scene {
    notify: Arc<AlertSender>,
    board: Arc<Made>,
    clock: Arc<Quick>,
    seams: GatewayDeps,
    stop: watch::Sender<bool>,
}

fn scene(folder: &Path, config: Value) -> Scene {
    let config: admin::AdminConfig = serde_json::from_value(json!({
        "alerts": config, "trace_link": {"back_end": "jaeger", "base": "https://jaeger.example"},
        "public_url": "https://tollgate.example",
    }))
    .unwrap();
    let settings = config.settings().unwrap_or_else(|problems| panic!("{}", problems[0].message));
    let webhook: webhook::AlertWebhook = settings.alerts.unwrap();
    let links = MessageLinks { trace: settings.trace_link, page: settings.public_url };
    let (board, clock): (Arc<Made>, Arc<Quick>) = Default::default();
    let seams = GatewayDeps { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..GatewayDeps::system() };
    let detector = redact::RedactConfig::default().settings().unwrap_or_else(|_| panic!("valid")).detector;
    let ids = RedactionIdPolicy::new(vec![detector], Pseudonymizer::new(&Secret::new("key".into())));
    let parts = AlertSenderParts {
        catalog: Arc::clone(&board) as Arc<dyn RunCatalog>,
        ids: Arc::new(ids),
        links,
        history: Arc::default(),
        deps: seams.clone(),
        tasks: Tasks::new(&seams.meter),
        proxies: Arc::new(ProxyRules::from_env(&|_| None).unwrap()),
        file: folder.join("alerts-sent.json"),
    };
    let notify = Arc::new(AlertSender::build(webhook, parts).unwrap());
    notify.prepare().unwrap();
    Scene { notify, board, clock, seams, stop: watch::channel(false).0 }
}

impl Scene {
    async fn look(&self) -> bool {
        self.notify.evaluate_alerts(&mut self.stop.subscribe()).await
    }

    fn raise(&self, alert: Alert) {
        self.board.alerts.lock().push(alert);
    }

    fn counted(&self, outcome: &str, times: u64) {
        let line = format!("tollgate_alert_messages_total{{outcome=\"{outcome}\"}} {times}");
        assert!(self.seams.meter.render().contains(&line), "{line}");
    }
}

/// One alert gives one message, even across a restart. It is Slack's JSON with a link, signed, without private text and
/// without markup chosen by a client.
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
    let signed = format!("v1:{}:{body}", header("x-tollgate-timestamp"));
    let code = kernel::sha256::hmac_sha256(KEY.as_bytes(), signed.as_bytes());
    assert_eq!(header("x-tollgate-signature"), format!("v1={}", kernel::hex::encode(&code)));
    assert_eq!(header("x-tollgate-timestamp"), (START / 1_000_000_000).to_string());
    let message: Value = serde_json::from_str(&body).unwrap();
    let text = message["text"].as_str().unwrap();
    assert!(
        text.contains("critical: identical_tool_calls: 7 identical calls in a row, 1.4 × the limit of 5")
            && text.contains("run r-1"),
        "{text}"
    );
    assert!(text.contains("<https://jaeger.example/trace/0af7651916cd43dd8448eb211c80319c|trace>"), "{text}");
    assert!(text.contains("<https://tollgate.example/runs/r%2D1?account=default|run>"), "{text}");
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
        let mut alerts = second.board.alerts.lock();
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

/// A failing webhook is called five times with growing pauses, or as `Retry-After` says; a refusing one once; then
/// there is a longer pause.
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

/// A flood becomes ten messages and one that counts the rest.
#[tokio::test]
async fn a_flood_is_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    (0..500).for_each(|n| scene.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.lock().len(), 11);
    assert!(came.lock()[10].1.contains("490 more alerts: 490 critical limit_hit"), "{}", came.lock()[10].1);
}

/// An account with hundreds of alerts does not hide those of others: critical ones come first, accounts and rules take
/// turns, and the rest is counted by severity and rule.
#[tokio::test]
async fn a_flood_hides_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    let quiet = |account: &str, severity, one: Alert| Alert { account: account.into(), severity, ..one };
    for n in 0..300 {
        scene.raise(quiet("flood", AlertSeverity::Warning, alert("run_overdue", &format!("warned-{n}"), START + n)));
        scene.raise(alert("limit_hit", &format!("noise-{n}"), START + n));
    }
    let late = |rule, run| alert(rule, run, START + MINUTE);
    scene.raise(quiet("other", AlertSeverity::Critical, late("limit_hit", "quiet-1")));
    scene.raise(Alert { tenant: Some("globex".into()), ..late("iteration_ceiling", "quiet-2") });
    assert!(scene.look().await);
    let came = came.lock();
    let place = |run: &str| came.iter().position(|(_, body)| body.contains(run));
    assert_eq!(["noise-0 ", "quiet-1", "quiet-2", "noise-1 "].map(|run| place(run).unwrap()), [0, 1, 2, 3]);
    assert!(came[1].1.contains("account other") && !came[0].1.contains("account "));
    let rest = &came[10].1;
    assert!(
        rest.contains(":rotating_light: 592 more alerts: 292 critical limit_hit, 300 warning run_overdue"),
        "{rest}"
    );
}

/// An alert that returns within the hour and stays is sent when the hour is over.
#[tokio::test]
async fn what_came_back_and_stays_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    scene.raise(alert("session_cost", "", START));
    assert!(scene.look().await);
    scene.board.alerts.lock()[0].since = START + 10 * MINUTE;
    for minute in [10, 30, 59] {
        scene.clock.now.store(minute * MINUTE, Ordering::Relaxed);
        assert!(scene.look().await);
    }
    scene.counted("repeated", 1);
    assert_eq!(came.lock().len(), 1);
    scene.clock.now.store(61 * MINUTE, Ordering::Relaxed);
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.lock().len(), 2);
}

/// An alert that keeps appearing and disappearing is sent once an hour.
#[tokio::test]
async fn what_comes_and_goes_is_told_each_hour() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    for minute in (0..180).step_by(20) {
        let now = START + minute * MINUTE;
        scene.clock.now.store(minute * MINUTE, Ordering::Relaxed);
        *scene.board.alerts.lock() = vec![Alert { until: Some(now), ..alert("cost_per_run_drift", "", now) }];
        assert!(scene.look().await);
    }
    assert_eq!(came.lock().len(), 3);
}

/// A clock that was ahead for a while suppresses no alerts afterwards.
#[tokio::test]
async fn a_clock_that_was_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    scene.clock.now.store(100 * 24 * 60 * MINUTE, Ordering::Relaxed);
    scene.raise(alert("limit_hit", "r-1", START + 100 * 24 * 60 * MINUTE));
    assert!(scene.look().await);
    scene.clock.now.store(0, Ordering::Relaxed);
    scene.board.alerts.lock()[0].since = START;
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.lock().len(), 2);
}

/// While a webhook is down, an alert that still holds is retried after growing pauses with the same delivery id; alerts
/// behind it wait and are sent afterwards.
#[tokio::test]
async fn what_failed_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&["429 X"; 10]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    (0..12).for_each(|n| scene.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    let later = async |seconds: u64| {
        scene.clock.now.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
        assert!(scene.look().await);
        came.lock().len()
    };
    assert_eq!([later(0).await, later(50).await, later(20).await, later(70).await], [5, 5, 10, 10]);
    assert_eq!(later(60).await, 21, "ten, and one for the rest");
    let numbers: Vec<String> = (came.lock().iter())
        .map(|(head, _)| head.lines().find(|line| line.starts_with("x-tollgate-delivery: ")).unwrap().to_owned())
        .collect();
    assert!(numbers[..11].iter().all(|one| *one == numbers[0]), "one message, eleven attempts");
    assert!(numbers[11..].iter().all(|one| *one != numbers[0]));
    scene.counted("failed", 2);
    scene.counted("sent", 11);
    // A message that is never accepted does not delay the next one.
    let (url, came) = stub(&["400 X"]).await;
    let odd = self::scene(folder.path(), json!({"url": url}));
    (20..22).for_each(|n| odd.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    assert!(odd.look().await && odd.look().await);
    assert_eq!(came.lock().len(), 2);
}

/// A message that a webhook never accepts (a firewall's 403, a 500) must not delay other or later ones. If two fail,
/// all pause for a minute, and then those that have not failed yet come first.
#[tokio::test]
async fn one_that_is_never_taken_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&["403 X", "200 OK", "200 OK", "200 OK", "500 X", "500 X", "500 X", "500 X", "500 X"]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    (0..3).for_each(|n| scene.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    assert!(scene.look().await && scene.look().await);
    scene.counted("sent", 2);
    assert_eq!(came.lock().len(), 3, "it rests for itself");
    scene.clock.now.fetch_add(61_000_000_000, Ordering::Relaxed);
    scene.raise(alert("limit_hit", "r-3", START + 3));
    assert!(scene.look().await);
    scene.counted("sent", 3);
    let again = |body: &str| body.contains("run r-0");
    let whose: Vec<bool> = came.lock().iter().map(|(_, body)| again(body)).collect();
    assert_eq!(whose, [true, false, false, false, true, true, true, true, true]);
    // all are refused
    let (url, came) = stub(&["403 X", "403 X"]).await;
    let down = self::scene(folder.path(), json!({"url": url}));
    (10..15).for_each(|n| down.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    assert!(down.look().await && down.look().await);
    assert_eq!(came.lock().len(), 2, "two are enough to tell");
    down.clock.now.fetch_add(61_000_000_000, Ordering::Relaxed);
    assert!(down.look().await);
    let runs: Vec<bool> =
        came.lock()[2..].iter().map(|(_, body)| body.contains("r-10") || body.contains("r-11")).collect();
    assert_eq!(runs, [false, false, false, true, true]);
}

/// Each sent message is recorded on disk before the next is sent. Shutdown does not wait for a hanging webhook, and the
/// message that hung is sent again.
#[tokio::test]
async fn each_message_is_noted_before_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&["200 OK", "hang"]).await;
    let config = json!({"url": url});
    let first = scene(folder.path(), config.clone());
    (0..2).for_each(|n| first.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    let mut stop = first.stop.subscribe();
    let end = async {
        until(|| came.lock().len() == 2).await;
        first.stop.send_replace(true);
    };
    let (goes_on, ()) = tokio::join!(first.notify.evaluate_alerts(&mut stop), end);
    assert!(!goes_on);
    let second = scene(folder.path(), config);
    (0..2).for_each(|n| second.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    assert!(second.look().await);
    let runs: Vec<bool> = came.lock().iter().map(|(_, body)| body.contains("run r-0")).collect();
    assert_eq!(runs, [true, false, false]);
}

/// No name becomes a mention, a link or markup in Slack or in chats that accept Markdown, and no preview is fetched.
#[test]
fn names_are_text() {
    let evil = Alert {
        tool: "<!channel> @channel @all https://evil.example [x](https://evil.example) |y #room".into(),
        tenant: Some("\u{200f}\u{202e}*b* _i_ `c`\n".into()),
        ..alert("limit_hit", "r-1", START)
    };
    let message = pages::alert_message::format_alert(&evil, &MessageLinks::default(), None);
    let text = message["text"].as_str().unwrap();
    for dead in ["<!", "@channel", "@all", "https://", "](", "*b*", "_i_", "`c`", "#room", "\u{200f}", "\u{202e}"] {
        assert!(!text.contains(dead), "{dead}: {text}");
    }
    assert_eq!(text.lines().count(), 2);
    let told = [&message["parse"], &message["link_names"], &message["unfurl_links"], &message["unfurl_media"]];
    assert_eq!(told, [&json!("none"), &json!(false), &json!(false), &json!(false)]);
    assert_eq!(message["blocks"][0]["text"]["verbatim"], true);
}

/// An alert that could not be sent before a shutdown is sent after the next start.
#[tokio::test]
async fn what_was_not_sent_is_sent_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&["503 X"]).await;
    let config = json!({"url": url});
    let first = scene(folder.path(), config.clone());
    first.raise(alert("limit_hit", "r-1", START));
    let stop = watch::channel(true);
    assert!(!first.notify.evaluate_alerts(&mut stop.1.clone()).await, "it ends");
    let second = scene(folder.path(), config);
    second.raise(alert("limit_hit", "r-1", START));
    assert!(second.look().await);
    assert_eq!(came.lock().len(), 2);
    second.counted("sent", 1);
}

/// Invalid settings are refused; no text contains the address.
#[test]
fn settings_are_checked() {
    let problems = |alerts: Value| {
        let config: admin::AdminConfig = serde_json::from_value(json!({ "alerts": alerts })).unwrap();
        match config.settings() {
            Ok(settings) => vec![format!("{settings:?}")],
            Err(problems) => {
                problems.into_iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect()
            }
        }
    };
    for (alerts, wanted) in [
        (json!({"url": "hooks.example/x"}), "alerts.url"),
        (json!({"url": "ftp://hooks.example/x"}), "alerts.url"),
        (json!({"url": "https://user:word@hooks.example/x"}), "alerts.url"),
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

/// A mute of an unknown rule is refused at start.
#[tokio::test]
async fn a_mute_of_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let scene = std::panic::catch_unwind(|| {
        scene(folder.path(), json!({"url": "http://127.0.0.1:1/", "mute": [{"rule": "no_such_rule"}]}))
    });
    assert!(scene.is_err());
}
