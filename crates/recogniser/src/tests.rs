use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::call_scheduler::CallScheduler;
use super::circuit_breaker::CircuitBreaker;
use super::config::EntityRules;
use super::*;
use ::config::TimeSpan;
use fakes::sink::{Answer, Sink};
use fakes::tls::{Authority, pem_file};
use fixtures::until::until;
use kernel::clock::{Clock, ManualClock, SystemClock, UnixNanos};
use net::SharedServices;
use pipeline::Trust;
use redaction::recognised::EntityHit;
use telemetry::Meter;

fn config(endpoint: &str) -> Config {
    Config { endpoint: endpoint.to_owned(), trust: Some(Trust::Internal), ..Config::default() }
}

/// Rule indices: 1 PERSON, 2 LOCATION, 9 all others.
fn bound(config: &Config) -> Settings {
    let mut settings = config.settings().map_err(|problems| format!("{problems:?}")).unwrap();
    settings.bind_rules(|name| match name {
        "recogniser_person" => Some(1),
        "recogniser_location" => Some(2),
        "recogniser_pii" => Some(9),
        _ => None,
    });
    settings
}

fn build(settings: Settings, clock: Arc<dyn Clock>) -> (PresidioClient, Meter) {
    let meter = Meter::new();
    let services = SharedServices { clock, meter: meter.clone(), ..net::testing::services() };
    (PresidioClient::build("redact".into(), settings, services).unwrap(), meter)
}

fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn texts(of: &[&str]) -> Vec<Arc<str>> {
    of.iter().map(|text| Arc::from(*text)).collect()
}

fn found(entity: &str, start: i64, end: i64) -> Json {
    json!({"entity_type": entity, "start": start, "end": end, "score": 0.85, "analysis_explanation": null})
}

fn answer(lists: &[Vec<Json>]) -> Answer {
    Answer::http(200).body(serde_json::to_vec(lists).unwrap())
}

/// Asks a server that gives `answers` in turn. Returns the findings of each text, the call metrics, and the server.
async fn ask(
    answers: Vec<Answer>,
    change: impl FnOnce(&mut Config),
    of: &[&str],
) -> (Vec<Option<Vec<EntityHit>>>, String, Sink) {
    let sink = Sink::new(None, answers).await;
    let mut config = config(&format!("http://{}", sink.address));
    change(&mut config);
    let (presidio, meter) = build(bound(&config), system());
    let answers = presidio.recognise("a".into(), texts(of)).await;
    let found = of.iter().map(|text| answers.findings(text).map(<[EntityHit]>::to_vec)).collect();
    (found, meter.render(), sink)
}

fn at(range: std::ops::Range<usize>, rule: usize) -> EntityHit {
    EntityHit { range, rule }
}

fn calls(metrics: &str, outcome: &str) -> Option<u64> {
    let line = format!("tollgate_recogniser_calls_total{{processor=\"redact\",outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|known| known.strip_prefix(&line)?.parse().ok())
}

/// A call must have the form that Presidio's analyzer accepts, and its answer must be read per text, with offsets in
/// characters.
#[tokio::test]
async fn a_call_and_its_answer() {
    let lists = [vec![found("PERSON", 0, 4)], vec![], vec![found("LOCATION", 3, 5), found("MARTIAN", 0, 1)]];
    let of = ["Jane came", "nothing here", "𝒳é Ulm is there"];
    let (got, metrics, sink) = ask(vec![answer(&lists)], |_| {}, &of).await;
    let place = "𝒳é ".len();
    let wanted = [vec![at(0..4, 1)], vec![], vec![at(0..4, 9), at(place..place + 2, 2)]];
    assert_eq!(got, wanted.map(Some));
    let seen = sink.seen();
    let body: Json = serde_json::from_slice(&seen[0].body).unwrap();
    let asked = json!({"text": of, "language": "en", "score_threshold": 0.5, "entities": ["PERSON", "LOCATION"]});
    assert_eq!((seen.len(), seen[0].uri.path(), body), (1, "/analyze", asked));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(calls(&metrics, "answered"), Some(1));
    assert!(metrics.contains("tollgate_recogniser_texts_total{processor=\"redact\"} 3"), "{metrics}");
}

/// Texts must be split into calls by number and bytes, in order, each text once; with one text per call, a text is sent
/// bare.
#[tokio::test]
async fn texts_are_parted_into_calls() {
    let empty = |count: usize| answer(&vec![Vec::new(); count]);
    let long = "x ".repeat(400);
    let of = [&long[..], "b b", &long[2..], "d d", "e e"];
    let by_bytes = |config: &mut Config| (config.batch_bytes, config.in_flight) = (::config::ByteSize(1024), 1);
    let (got, _, sink) = ask(vec![empty(2), empty(3)], by_bytes, &of).await;
    assert!(got.iter().all(Option::is_some));
    let counts = |sink: &Sink| {
        let bodies = sink.seen().into_iter().map(|seen| serde_json::from_slice::<Json>(&seen.body).unwrap());
        bodies.map(|body| body["text"].as_array().map(Vec::len)).collect::<Vec<_>>()
    };
    assert_eq!(counts(&sink), [Some(2), Some(3)]);
    let single = |config: &mut Config| (config.batch_texts, config.in_flight) = (1, 1);
    let one = Answer::http(200).body(json!([found("PERSON", 0, 1)]).to_string());
    let (got, _, sink) = ask(vec![one, Answer::http(200).body("[]")], single, &["a b", "c d"]).await;
    assert_eq!(got, [Some(vec![at(0..1, 1)]), Some(vec![])]);
    assert_eq!(counts(&sink), [None, None], "a text, no list");
}

/// If any part of an answer is invalid, none of its texts may count as answered.
#[tokio::test]
async fn wrong_answers_are_none() {
    let two = |second: Json| answer(&[vec![found("PERSON", 0, 1)], vec![second]]);
    let without = |key: &str| {
        let mut one = found("PERSON", 0, 1);
        one.as_object_mut().unwrap().remove(key);
        two(one)
    };
    let cases = [
        ("bad_answer", Answer::http(200)),
        ("bad_answer", Answer::http(200).body("<html>")),
        ("bad_answer", Answer::http(200).body("{\"error\": \"no\"}")),
        ("bad_answer", Answer::http(200).body("[[], [")),
        ("bad_answer", answer(&[vec![]])),
        ("bad_answer", answer(&[vec![], vec![], vec![]])),
        ("bad_answer", Answer::http(200).body("[]")),
        ("bad_answer", Answer::http(200).body("[[], null]")),
        ("bad_answer", two(found("PERSON", 0, 4))),
        ("bad_answer", two(found("PERSON", 2, 1))),
        ("bad_answer", two(found("PERSON", -1, 1))),
        ("bad_answer", two(found("PERSON", 4_000_000_000_000, 4_000_000_000_001))),
        ("bad_answer", two(json!({"entity_type": "PERSON", "start": 0.5, "end": 1}))),
        ("bad_answer", two(json!({"entity_type": 7, "start": 0, "end": 1}))),
        ("bad_answer", without("end")),
        ("bad_answer", without("entity_type")),
        ("bad_answer", Answer::http(200).body(" ".repeat((8 << 20) + 1))),
        ("bad_answer", Answer::http(200).body("[".repeat(100_000))),
        ("failed", Answer::http(500).body("{\"error\": \"x\"}")),
        ("refused", Answer::http(404)),
        ("refused", Answer::http(401)),
        ("refused", Answer::http(204)),
        ("refused", Answer::http(302).with("location", "http://127.0.0.1:1/analyze")),
        ("unavailable", Answer::http(503)),
    ];
    for (number, (outcome, wrong)) in cases.into_iter().enumerate() {
        let (got, metrics, sink) = ask(vec![wrong], |_| {}, &["a b", "c d"]).await;
        assert_eq!(got, [None, None], "case {number}");
        assert_eq!(calls(&metrics, outcome), Some(1), "case {number}: {metrics}");
        assert_eq!(sink.seen().len(), 1, "case {number}: one call, redirects are not followed");
    }
}

/// Valid findings of all forms must be accepted: empty, equal, overlapping, uncertain, without a score, in any order.
#[tokio::test]
async fn odd_but_sane_findings_are_taken() {
    let unsure = json!({"entity_type": "PERSON", "start": 0, "end": 2, "score": 0.2});
    let silent = json!({"entity_type": "LOCATION", "start": 3, "end": 5, "recognition_metadata": {"a": [1]}});
    let list = vec![silent, found("PERSON", 2, 4), found("PERSON", 2, 4), found("PERSON", 1, 1), unsure];
    let (got, ..) = ask(vec![answer(&[list])], |_| {}, &["abcdefgh"]).await;
    assert_eq!(got, [Some(vec![at(2..4, 1), at(3..5, 2)])]);
}

/// After a 413 or a 500, the call must be repeated in halves, down to single texts; a text that is too large by itself,
/// or on which the server fails, has no answer, and costs the other texts of its call none.
#[tokio::test]
async fn a_call_that_fails_is_asked_in_halves() {
    let empty = |count: usize| answer(&vec![Vec::new(); count]);
    let (large, spoilt) = (|| Answer::http(413), || Answer::http(500));
    let one_by_one = |config: &mut Config| (config.in_flight, config.on_error) = (1, OnRecogniserError::Unscanned);
    let of = ["a b", "c d", "e f", "g h"];
    let (got, ..) = ask(vec![spoilt(), spoilt(), empty(1), spoilt(), empty(2)], one_by_one, &of).await;
    assert_eq!(got, [Some(vec![]), None, Some(vec![]), Some(vec![])]);
    let (got, metrics, _) = ask(vec![large(), empty(2), large(), large(), empty(1)], one_by_one, &of).await;
    assert_eq!(got, [Some(vec![]), Some(vec![]), None, Some(vec![])]);
    assert_eq!((calls(&metrics, "too_large"), calls(&metrics, "answered")), (Some(3), Some(2)));
}

/// Answers before a failure must count; with `hold`, no further calls are made after it.
#[tokio::test]
async fn failures_are_per_call() {
    let one_each = |on_error: OnRecogniserError| {
        move |config: &mut Config| (config.batch_texts, config.in_flight, config.on_error) = (1, 1, on_error)
    };
    let order = || vec![Answer::http(200).body("[]"), Answer::http(500), Answer::http(200).body("[]")];
    let of = ["a b", "c d", "e f"];
    let (got, _, sink) = ask(order(), one_each(OnRecogniserError::Unscanned), &of).await;
    assert_eq!((got, sink.seen().len()), (vec![Some(vec![]), None, Some(vec![])], 3));
    let (got, _, sink) = ask(order(), one_each(OnRecogniserError::Hold), &of).await;
    assert_eq!((got, sink.seen().len()), (vec![Some(vec![]), None, None], 2));
}

/// A call that fails on its texts must not make other calls of the batch look as if the server were unreachable.
#[tokio::test]
async fn a_failure_counts_once() {
    let two = |config: &mut Config| (config.batch_texts, config.in_flight) = (1, 2);
    let (_, metrics, sink) = ask(vec![Answer::http(500), Answer::http(200).body("[]")], two, &["a b", "c d"]).await;
    assert_eq!(sink.seen().len(), 2);
    assert_eq!(
        (calls(&metrics, "failed"), calls(&metrics, "answered"), calls(&metrics, "timed_out")),
        (Some(1), Some(1), None)
    );
}

/// A server that never answers must cost no more than the deadline; earlier answers count.
#[tokio::test]
async fn a_silent_server_costs_the_deadline() {
    let hang = Answer { hang: true, ..Answer::http(200) };
    let sink = Sink::new(None, [Answer::http(200).body("[]"), hang]).await;
    let clock = ManualClock::at(UnixNanos(1));
    let change = Config { batch_texts: 1, in_flight: 1, timeout: TimeSpan::seconds(3), ..config("http://x") };
    let (presidio, meter) =
        build(bound(&Config { endpoint: format!("http://{}", sink.address), ..change }), clock.clone());
    let mut asked = presidio.recognise("a".into(), texts(&["a b", "c d", "e f"]));
    let mut seen = 0;
    until(|| {
        assert!((&mut asked).now_or_never().is_none());
        seen += sink.seen().len();
        seen == 2
    })
    .await;
    clock.advance(Duration::from_millis(2999));
    assert!((&mut asked).now_or_never().is_none());
    clock.advance(Duration::from_millis(1));
    let answers = asked.await;
    let got: Vec<bool> = ["a b", "c d", "e f"].iter().map(|text| answers.findings(text).is_some()).collect();
    assert_eq!(got, [true, false, false]);
    assert_eq!(calls(&meter.render(), "timed_out"), Some(1));
}

/// Whether a server with these raw answers, one a connection, gave an answer, and the call metrics.
async fn answered_by(replies: &[&str]) -> (bool, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        for reply in replies.iter().cycle() {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") && socket.read_buf(&mut request).await.unwrap() > 0 {}
            socket.write_all(reply.as_bytes()).await.unwrap();
        }
    };
    let (presidio, meter) = build(bound(&config(&format!("http://{address}"))), system());
    let answers = tokio::select! {
        answers = presidio.recognise("a".into(), texts(&["a b"])) => answers,
        () = serve => unreachable!(),
    };
    (answers.findings("a b").is_some(), meter.render())
}

/// Connections that are closed at once, closed within an answer, or refused must count as unreachable. A pooled
/// connection that the server has closed must not cost an answer.
#[tokio::test]
async fn broken_connections_are_no_answers() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[[";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n[[],";
    for reply in ["", "HTTP/1.1 2", "no http\r\n\r\n", short, chunked] {
        let (is_answered, metrics) = answered_by(&[reply]).await;
        assert!(!is_answered && calls(&metrics, "unreachable") == Some(1), "{reply}: {metrics}");
    }
    assert!(answered_by(&["", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n[[]]"]).await.0);
}

/// After consecutive failures no calls are made for a while; then a single call probes, and success closes the breaker.
#[test]
fn the_breaker_rests_and_probes() {
    let (breaker, second) = (CircuitBreaker::default(), Duration::from_secs(1));
    for _ in 0..2 {
        assert!(breaker.may_call(second));
        assert!(!breaker.record_failure(second));
    }
    assert!(breaker.may_call(second), "two failures may be chance");
    assert!(breaker.record_failure(second), "said once");
    assert!(!breaker.may_call(second * 2 - Duration::from_nanos(1)));
    assert!(breaker.may_call(second * 2));
    assert!(!breaker.may_call(second * 2), "one at a time finds out");
    assert!(!breaker.record_failure(second * 2));
    assert!(!breaker.may_call(second * 3), "the rest grows");
    assert!(breaker.may_call(second * 4));
    breaker.record_inconclusive();
    assert!(breaker.may_call(second * 4), "it did not find out");
    assert!(breaker.record_success() && !breaker.record_success());
    assert!(breaker.may_call(second * 4) && breaker.may_call(second * 4));
}

/// An unreachable server must not be called for each batch; a text on which the server fails must not stop other calls.
#[tokio::test]
async fn the_breaker_is_told_of_general_failures_alone() {
    for (status, wanted) in [(500, 6), (503, 3)] {
        let sink = Sink::new(None, (0..6).map(|_| Answer::http(status))).await;
        let clock = ManualClock::at(UnixNanos(1));
        let (presidio, meter) = build(bound(&config(&format!("http://{}", sink.address))), clock);
        for _ in 0..6 {
            presidio.recognise("a".into(), texts(&["a b"])).await;
        }
        assert_eq!(sink.seen().len(), wanted);
        assert_eq!(calls(&meter.render(), "resting").unwrap_or(0), 6 - wanted as u64);
    }
}

/// Over TLS, the server must be verified with the CA file; a server with another certificate gets no text.
#[tokio::test]
async fn tls_is_verified() {
    let (own, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    for (authority, known) in [(&own, true), (&other, false)] {
        let sink = Sink::new(Some(own.server("localhost", false)), [answer(&[vec![]])]).await;
        let file = pem_file(&folder, "ca.pem", "CERTIFICATE", &authority.certificate);
        let endpoint = format!("https://localhost:{}", sink.address.port());
        let config = Config { tls: TlsConfig { ca_file: Some(file) }, ..config(&endpoint) };
        let (presidio, _) = build(bound(&config), system());
        let answers = presidio.recognise("a".into(), texts(&["a b"])).await;
        assert_eq!((answers.findings("a b").is_some(), sink.seen().len()), (known, usize::from(known)));
    }
}

fn problems(config: &Config) -> Vec<String> {
    let problems = config.settings().err().unwrap_or_default();
    problems.into_iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

/// Text may leave this machine only over TLS and only to a trusted server; the check is made when the configuration is
/// loaded.
#[test]
fn endpoints_are_this_machine_or_tls() {
    for good in [
        "http://127.0.0.1:5002",
        "http://127.9.9.9",
        "http://[::1]:5002/",
        "http://LocalHost:5002/presidio",
        "http://[::ffff:127.0.0.1]:1",
        "https://presidio.internal",
        "https://10.1.2.3:8443/x/analyze",
    ] {
        assert_eq!(problems(&config(good)), [""; 0], "{good}");
    }
    let clear = [
        "http://presidio:5002",
        "http://10.1.2.3",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0:1",
        "http://[::]:1",
    ];
    for clear in clear {
        let told = problems(&config(clear));
        assert!(told.len() == 1 && told[0].contains("recogniser.endpoint: texts would cross"), "{clear}: {told:?}");
    }
    for wrong in [
        "",
        "127.0.0.1:5002",
        "ftp://127.0.0.1",
        "http://a:b@127.0.0.1",
        "http://127.0.0.1/?x=1",
        "unix:/x",
        "http://",
        "http://2130706433",
        "HTTP://example.com",
        "http://127.0.0.1:99999",
    ] {
        assert_eq!(problems(&config(wrong)).len(), 1, "{wrong}");
    }
    let path = |text: &str| bound(&config(text)).endpoint.path().to_owned();
    assert_eq!(path("http://127.0.0.1"), "/analyze");
    assert_eq!(path("http://127.0.0.1/p/"), "/p/analyze");
    assert_eq!(path("http://127.0.0.1/p/analyze/"), "/p/analyze");
    let untold = Config { trust: None, ..config("http://127.0.0.1") };
    assert!(
        problems(&untold)[0].contains("the recogniser receives unredacted texts: set `trust: internal` to allow that")
    );
    let third = Config { trust: Some(Trust::ThirdParty), ..config("http://127.0.0.1") };
    assert!(problems(&third)[0].starts_with("recogniser.trust:"));
}

/// All values out of range must be reported at once, each with its key.
#[test]
fn what_is_out_of_bounds_is_told() {
    let mut config = config("http://127.0.0.1");
    (config.score_threshold, config.batch_texts, config.in_flight) = (1.5, 0, 0);
    (config.timeout, config.language) = (TimeSpan::seconds(600), String::new());
    (config.batch_bytes, config.max_text_bytes) = (::config::ByteSize(1), ::config::ByteSize(1 << 40));
    config.tls.ca_file = Some("/x".into());
    config.headers.insert("a b".to_owned(), kernel::secret::Secret::new("v".to_owned()));
    config.placeholders.insert("BADGE".to_owned(), "no".to_owned());
    let told = problems(&config);
    let keys: Vec<&str> =
        told.iter().filter_map(|line| Some(line.split_once(':')?.0.rsplit_once("recogniser.")?.1)).collect();
    let wanted = [
        "score_threshold",
        "language",
        "timeout",
        "batch_texts",
        "batch_bytes",
        "max_text_bytes",
        "in_flight",
        "headers.a b",
        "placeholders.BADGE",
        "tls.ca_file",
    ];
    assert_eq!(keys, wanted);
    config.score_threshold = f64::NAN;
    assert!(problems(&config).iter().any(|line| line.contains("score_threshold")));
}

/// Rows of the table must have valid placeholders and each entity once; the user's placeholders win; the last row is
/// for all other entities.
#[test]
fn the_table_of_entities() {
    let mut config = config("http://127.0.0.1");
    config.placeholders.insert("person".to_owned(), "HUMAN".to_owned());
    config.placeholders.insert("BADGE".to_owned(), "EMAIL".to_owned());
    let settings = config.settings().map_err(drop).unwrap();
    let mut entities = std::collections::HashSet::new();
    for row in &settings.rows {
        let grammar = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        assert!((2..=41).contains(&row.placeholder.len()) && row.placeholder.bytes().all(grammar));
        for entity in &row.entities {
            assert!(entities.insert(entity.clone()) && *entity == entity.to_ascii_uppercase(), "{entity}");
        }
    }
    let of = |entity: &str| settings.rows.iter().find(|row| row.entities.iter().any(|known| known == entity)).unwrap();
    assert_eq!((of("PERSON").placeholder.as_str(), of("BADGE").placeholder.as_str()), ("HUMAN", "EMAIL"));
    assert_eq!((of("GPE").placeholder.as_str(), of("PER").placeholder.as_str()), ("LOCATION", "PERSON"));
    let last = settings.rows.last().unwrap();
    assert_eq!((last.placeholder.as_str(), last.entities.len()), ("PII", 0));
    let mut off = settings.clone();
    off.bind_rules(|name| (name != "recogniser_location").then_some(3));
    let EntityRules { by_entity: known, other } = &*off.rules;
    assert_eq!((known["GPE"], known["PER"], *other), (usize::MAX, 3, 3), "a rule that is off is nobody's");
}

/// An account without a running call must not wait, free places must go to accounts in turn, and a place that is given
/// up must be reused.
#[tokio::test]
async fn places_go_round_among_accounts() {
    let turns = CallScheduler::new(2);
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let first = turns.acquire(&a).await.unwrap();
    let second = turns.acquire(&a).await.unwrap();
    let mut third = Box::pin(turns.acquire(&a));
    assert!((&mut third).now_or_never().is_none(), "both places are taken");
    let other = turns.acquire(&b).now_or_never().flatten().expect("the first call of another account");
    let mut next = Box::pin(turns.acquire(&b));
    assert!((&mut next).now_or_never().is_none());
    let mut gone = Box::pin(turns.acquire(&a));
    assert!((&mut gone).now_or_never().is_none());
    drop(gone);
    drop(first);
    assert!((&mut third).now_or_never().is_none(), "three were on their way: one more than places");
    drop(second);
    let third = third.now_or_never().flatten().expect("the place of the one before");
    drop((third, other));
    let next = next.now_or_never().flatten().expect("a place is free");
    drop(next);
    for _ in 0..2 {
        assert!(turns.acquire(&a).now_or_never().flatten().is_some(), "all places came back");
    }
}

/// Slow texts of one account must not delay another account, nor stop calls for it.
#[tokio::test]
async fn slow_texts_of_one_account_hold_up_no_other() {
    let hang = || Answer { hang: true, ..Answer::http(200) };
    let answers = [hang(), answer(&[vec![]]), hang(), hang(), answer(&[vec![]])];
    let sink = Sink::new(None, answers).await;
    let clock = ManualClock::at(UnixNanos(1));
    let change = Config { in_flight: 1, timeout: TimeSpan::seconds(3), ..config("http://x") };
    let (presidio, meter) =
        build(bound(&Config { endpoint: format!("http://{}", sink.address), ..change }), clock.clone());
    let mut seen = 0;
    for round in 0..3 {
        let mut slow = presidio.recognise("slow".into(), texts(&["a b"]));
        until(|| {
            assert!((&mut slow).now_or_never().is_none());
            seen += sink.seen().len();
            seen == round + 1 + usize::from(round > 0)
        })
        .await;
        if round == 0 {
            assert!(
                presidio.recognise("quick".into(), texts(&["c d"])).await.findings("c d").is_some(),
                "while the other waits"
            );
            seen += sink.seen().len();
        }
        clock.advance(Duration::from_secs(3));
        assert!(slow.await.findings("a b").is_none());
    }
    assert!(presidio.recognise("slow".into(), texts(&["a b"])).await.findings("a b").is_none());
    assert_eq!(calls(&meter.render(), "resting"), Some(1), "its own breaker is open");
    assert!(presidio.recognise("quick".into(), texts(&["c d"])).await.findings("c d").is_some());
}
