//! Alerts to a webhook: sent once, signed, redacted, retried, in order, recorded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::alert_sender::{AlertSender, AlertSenderParts, routes};
use super::super::build::GatewayDeps;
use command::tasks::Tasks;
use fakes::sink::{Answer, Seen, Sink};
use fixtures::until::until;
use history::RunBoard;
use kernel::clock::{Clock, ManualClock, UnixNanos};
use kernel::pseudonym::Pseudonymizer;
use kernel::secret::Secret;
use net::ProxyRules;
use pages::alert_message::MessageLinks;
use processors::redact;
use redaction::RedactionIdPolicy;
use runs::Alert;
use runs::testing::runs::{MINUTE, Made, NOW as START, alert};
use telemetry::admin::{self, webhook};

const KEY: &str = "a key of the receiver";
const SECOND: Duration = Duration::from_secs(1);

/// A webhook that answers with these statuses (0: never), then with 200.
async fn stub(answers: &[u16]) -> (String, Sink) {
    let answer = |status: &u16| match *status {
        0 => Answer { hang: true, ..Answer::http(200) },
        429 => Answer::http(429).with("retry-after", "7"),
        status => Answer::http(status),
    };
    let sink = Sink::new(None, answers.iter().map(answer)).await;
    (format!("http://{}/services/T0/B0/secretpath", sink.address), sink)
}

struct Scene {
    notify: Arc<AlertSender>,
    board: Arc<Made>,
    clock: Arc<ManualClock>,
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
    let (board, clock) = (Arc::<Made>::default(), ManualClock::at(UnixNanos(START)));
    let seams = GatewayDeps { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..GatewayDeps::system() };
    let detector = redact::RedactConfig::default().settings().unwrap_or_else(|_| panic!("valid")).detector;
    let ids = RedactionIdPolicy::new(vec![detector], Pseudonymizer::new(&Secret::new("key".into())));
    let parts = AlertSenderParts {
        runs: RunBoard { sources: vec![Arc::<Made>::clone(&board)], ..RunBoard::default() },
        ids: Arc::new(ids),
        links,
        services: seams.services(Tasks::new(&seams.meter), Arc::new(ProxyRules::direct())),
        file: folder.join("alerts-sent.json"),
    };
    let notify = Arc::new(AlertSender::build(webhook, parts).unwrap());
    notify.prepare();
    Scene { notify, board, clock, seams, stop: watch::channel(false).0 }
}

/// A sender whose webhook answers as told.
async fn stubbed(answers: &[u16], mut config: Value) -> (tempfile::TempDir, Sink, Scene) {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(answers).await;
    config["url"] = url.into();
    let scene = scene(folder.path(), config);
    (folder, came, scene)
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

/// One alert gives one message, even across a restart, and one when it ends. It is Slack's JSON with a link, signed,
/// without private text and without markup chosen by a client.
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
    let sent = came.seen().remove(0);
    let (header, body) = (|name: &str| sent.header(name).unwrap(), String::from_utf8_lossy(&sent.body).into_owned());
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
    assert!(came.requests().is_empty(), "sent twice");
    // a crash may have made the tracker raise it again
    second.board.alerts.lock()[0].since = START + MINUTE;
    assert!(second.look().await);
    assert!(came.requests().is_empty(), "sent twice");
    second.board.alerts.lock()[0].until = Some(START + 2 * MINUTE);
    assert!(second.look().await && second.look().await);
    assert_eq!(came.requests().len(), 1);
    let message: Value = serde_json::from_slice(&came.requests()[0].body).unwrap();
    let ended = message["text"].as_str().unwrap();
    assert!(ended.starts_with(":white_check_mark: ended: identical_tool_calls: 7 identical calls in a row"), "{ended}");
    assert_eq!(ended.lines().nth(1), text.lines().nth(1));
    // it begins again
    second.raise(Alert { since: START + 3 * MINUTE, ..one });
    assert!(second.look().await && second.look().await);
    assert_eq!(came.requests().len(), 2);
    second.counted("sent", 2);
}

/// A failing webhook is called after growing pauses, or as `Retry-After` says, with the same delivery id; the messages
/// behind the first one wait and keep their order. After 15 minutes the first is given up, and the others are sent.
#[tokio::test]
async fn attempts_are_bounded() {
    let (_folder, came, up) = stubbed(&[503, 429], json!({})).await;
    up.raise(alert("limit_hit", "r-1", START));
    up.raise(Alert { until: Some(START + 2), ..alert("limit_hit", "r-2", START + 1) });
    let mut seconds = Vec::new();
    while came.requests().len() < 5 {
        let before = came.requests().len();
        assert!(up.look().await);
        if came.requests().len() > before {
            seconds.push(up.clock.monotonic().as_secs());
        }
        up.clock.advance(SECOND);
    }
    assert_eq!(seconds, [0, 1, 8]);
    up.counted("sent", 3);
    let delivery = |seen: &Seen| seen.header("x-tollgate-delivery").unwrap().to_owned();
    let ids: Vec<String> = came.requests().iter().map(delivery).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3] && ids[3] != ids[4], "{ids:?}");
    let parts = |word: &str| came.requests().iter().map(|seen| seen.contains(word)).collect::<Vec<_>>();
    assert_eq!(parts("run r-2"), [false, false, false, true, true]);
    assert_eq!(parts(": ended: "), [false, false, false, false, true]);
    // one that never succeeds
    let (_folder, came, down) = stubbed(&[500; 21], json!({})).await;
    down.raise(alert("limit_hit", "r-3", START));
    down.raise(alert("limit_hit", "r-4", START + 1));
    for _ in 0..15 * 60 {
        assert!(down.look().await);
        down.clock.advance(SECOND);
    }
    assert_eq!(came.requests().len(), 20, "0, 1, 3, 7, 15, 31, 63, 123, … 843 s");
    down.clock.advance(SECOND * 60);
    assert!(down.look().await);
    down.counted("failed", 1);
    down.clock.advance(SECOND * 60);
    assert!(down.look().await);
    assert!(came.requests()[21].contains("run r-4"));
    down.counted("sent", 1);
}

/// A message that the webhook refuses is given up at once, and does not delay the next one.
#[tokio::test]
async fn a_refused_message_delays_no_other() {
    let (_folder, came, scene) = stubbed(&[404], json!({})).await;
    (0..2).for_each(|n| scene.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.requests().len(), 2);
    scene.counted("failed", 1);
    scene.counted("sent", 1);
}

/// The queue is bounded: it drops the oldest warnings of the account with most of them, and counts them. Critical alerts
/// come first, then older ones.
#[tokio::test]
async fn a_flood_is_bounded() {
    let (_folder, came, scene) = stubbed(&[503, 200, 200, 503], json!({})).await;
    let raise = |n: u64| scene.raise(alert("run_overdue", &format!("w-{n}"), START + n));
    raise(0);
    scene.board.alerts.lock()[0].account = "small".into();
    (1..3).for_each(raise);
    scene.raise(alert("iteration_ceiling", "critical", START + MINUTE));
    assert!(scene.look().await);
    scene.clock.advance(SECOND);
    (3..1000).for_each(raise);
    assert!(scene.look().await);
    scene.counted("dropped", 1);
    scene.counted("sent", 2);
    let runs = ["run critical", "run critical", "run w-0", "run w-2"];
    assert!(came.requests().iter().zip(runs).all(|(seen, run)| seen.contains(run)));
    assert_eq!(came.requests().len(), 4);
}

/// A critical alert that begins while warnings are sent does not wait for all of them.
#[tokio::test]
async fn critical_alerts_overtake_waiting_warnings() {
    let (_folder, came, scene) = stubbed(&[], json!({})).await;
    for n in 0..200 {
        scene.raise(alert("run_overdue", &format!("w-{n}"), START + n));
    }
    let critical = async {
        until(|| !came.requests().is_empty()).await;
        scene.raise(alert("iteration_ceiling", "critical", START));
    };
    assert!(tokio::join!(scene.look(), critical).0);
    let position = came.requests().iter().position(|seen| seen.contains("run critical"));
    assert!(position.is_some_and(|position| position < 200), "{position:?}");
}

/// Alerts below the configured severity, and those that ended long before they were seen, are not sent.
#[tokio::test]
async fn some_alerts_are_not_sent() {
    let (_folder, came, scene) = stubbed(&[], json!({"severity": "critical"})).await;
    scene.raise(alert("tool_retries", "r-1", START));
    scene.raise(Alert { until: Some(START - 20 * MINUTE), ..alert("iteration_ceiling", "r-2", START - 30 * MINUTE) });
    scene.raise(alert("iteration_ceiling", "r-3", START));
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.requests().iter().map(|seen| seen.contains("run r-3")).collect::<Vec<_>>(), [true]);
}

/// A clock that was ahead for a while suppresses no alerts afterwards.
#[tokio::test]
async fn a_clock_that_was_ahead() {
    let (_folder, came, scene) = stubbed(&[], json!({})).await;
    scene.clock.advance(SECOND * 100 * 24 * 60 * 60);
    scene.raise(alert("limit_hit", "r-1", START + 100 * 24 * 60 * MINUTE));
    assert!(scene.look().await);
    scene.clock.set_back(SECOND * 100 * 24 * 60 * 60);
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.requests().len(), 1, "no alert of the future is sent");
    scene.board.alerts.lock()[0].since = START;
    assert!(scene.look().await && scene.look().await);
    assert_eq!(came.requests().len(), 2);
}

/// A clock that is set back delays no retry.
#[tokio::test]
async fn a_clock_that_is_set_back() {
    let (_folder, came, scene) = stubbed(&[503], json!({})).await;
    scene.raise(alert("limit_hit", "r-1", START));
    assert!(scene.look().await);
    scene.clock.advance(SECOND);
    scene.clock.set_back(SECOND * 600);
    assert!(scene.look().await);
    assert_eq!(came.requests().len(), 2);
}

/// An alert whose end the sender did not see (its tracker lost its state) does not suppress a later one, also if the
/// sender saw no time without an alert.
#[tokio::test]
async fn an_end_that_nobody_saw() {
    for is_absence_seen in [true, false] {
        let (_folder, came, scene) = stubbed(&[], json!({})).await;
        scene.raise(alert("cost_per_run_drift", "", START));
        assert!(scene.look().await);
        scene.board.alerts.lock().clear();
        scene.clock.advance(SECOND * 61 * 60);
        if is_absence_seen {
            assert!(scene.look().await);
        }
        scene.raise(alert("cost_per_run_drift", "", START + 61 * MINUTE));
        assert!(scene.look().await && scene.look().await);
        assert_eq!(came.requests().len(), 2);
    }
}

/// Each sent message is recorded on disk before the next is sent. Shutdown does not wait for a hanging webhook, and the
/// message that hung is sent again.
#[tokio::test]
async fn each_message_is_noted_before_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[200, 0]).await;
    let config = json!({"url": url});
    let first = scene(folder.path(), config.clone());
    (0..2).for_each(|n| first.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    let mut stop = first.stop.subscribe();
    let end = async {
        until(|| came.requests().len() == 2).await;
        first.stop.send_replace(true);
    };
    let (goes_on, ()) = tokio::join!(first.notify.evaluate_alerts(&mut stop), end);
    assert!(!goes_on);
    let second = scene(folder.path(), config);
    (0..2).for_each(|n| second.raise(alert("limit_hit", &format!("r-{n}"), START + n)));
    assert!(second.look().await);
    let runs: Vec<bool> = came.requests().iter().map(|seen| seen.contains("run r-0")).collect();
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
    ] {
        let found = problems(alerts);
        assert!(found.len() == 1 && found[0].starts_with(wanted), "{found:?}");
        assert!(!found[0].contains("example"), "{found:?}");
    }
    let shown = problems(json!({"url": "https://h.example/secretpath", "signing_key": "long enough for a key"}));
    assert!(!shown[0].contains("secretpath") && !shown[0].contains("long enough"), "{shown:?}");
}

/// A test message reaches the webhook; if the webhook refuses it, the answer says why.
#[tokio::test]
async fn a_test_message() {
    let (_folder, came, scene) = stubbed(&[404], json!({})).await;
    let asked = async || {
        let router = routes::router(Some(Arc::clone(&scene.notify)));
        let request = http::Request::post("/api/alerts/test").body(axum::body::Body::empty());
        let answer = tower::ServiceExt::oneshot(router, request.unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    };
    let (status, why) = asked().await;
    assert!(status == 502 && why.contains("the webhook answered 404"), "{status} {why}");
    assert_eq!(asked().await.0, 200);
    assert!(came.requests()[1].contains(":warning: warning: test: "));
}
