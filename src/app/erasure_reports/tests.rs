use audit::testing::site::Site;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use command::tasks::command_services;
use history::{HistoryStore, HistoryWrite};
use kernel::rng::SeededRng;
use net::ProxyRules;
use parking_lot::Mutex;
use runs::{EndedRuns, RunView, run_key};
use tower::ServiceExt as _;
use vault::chain::digest::ChainDigest;
use vault::chain::note::SigningKey;
use vault::testing::journal::signing_key;

use super::*;

/// A gateway with a digest, and its route.
struct Gateway {
    site: Site,
    routes: Router,
    runs: RunBoard,
    eraser: SigningKey,
}

fn key(seed: u64) -> SigningKey {
    let text = SigningKey::generate("erase.test", &SeededRng::new(seed)).expect("a key");
    SigningKey::from_secret(&text).expect("a key")
}

impl Gateway {
    async fn start(is_told: bool) -> Self {
        let mut site = Site::new(7);
        site.send("default", "s0", "text");
        site.minutes(3).await;
        let eraser = key(50);
        let keys = if is_told { vec![eraser.public().clone()] } else { Vec::new() };
        let targets = Arc::new([Arc::new(ErasureReportTarget { keys, inbox: site.uploader.erasure_inbox() })]);
        let store = Arc::new(Mutex::new(Some(HistoryStore::in_memory())));
        let runs = RunBoard { store, ..RunBoard::default() };
        let services = SharedServices { clock: site.clock.clone(), ..command_services(ProxyRules::direct()) };
        let routes = router(ErasureReports { targets, runs: runs.clone(), services });
        Self { site, routes, eraser, runs }
    }

    /// The gateway's newest digest.
    fn newest(&self) -> ChainDigest {
        let objects = self.site.store.0.lock();
        let mut own =
            objects.iter().filter(|(name, _)| name.starts_with("chain/default/gw/") && name.ends_with(".json"));
        serde_json::from_slice(own.next_back().expect("a digest").1).expect("a digest")
    }

    /// A digest of the eraser's chain.
    fn head(&self, epoch: &str, n: u64) -> Vec<u8> {
        let of = ChainDigest { writer: "eraser".to_owned(), epoch: epoch.to_owned(), n, ..self.newest() };
        serde_json::to_vec(&of).expect("JSON")
    }

    /// Posts a body and lets time pass until the next digest.
    async fn post(&mut self, body: String) -> (StatusCode, String) {
        let request = Request::post(ErasureReport::PATH).body(Body::from(body)).expect("a request");
        self.site.send("default", "s0", "more");
        let (answer, ()) = tokio::join!(self.routes.clone().oneshot(request), self.site.minutes(2));
        let answer = answer.expect("an answer");
        let (status, body) = (answer.status(), to_bytes(answer.into_body(), 1 << 16).await.expect("a body"));
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn report(&mut self, digest: &[u8], signature: &[u8]) -> StatusCode {
        let body = serde_json::to_string(&ErasureReport::new(digest, signature, &ErasedRuns::default(), &self.eraser))
            .expect("JSON");
        self.post(body).await.0
    }

    fn named(&self) -> Option<(String, u64)> {
        self.newest().counters.erasures.get("eraser").map(|link| (link.epoch.clone(), link.n))
    }
}

/// A head signed by the eraser's key is named by the next digest, and is not replaced by an older one, even of an
/// earlier epoch.
#[tokio::test]
async fn a_signed_head_is_named_and_never_goes_back() {
    let mut gateway = Gateway::start(true).await;
    assert_eq!(gateway.named(), None);
    for (epoch, n, named) in
        [("E0002", 0, ("E0002", 0)), ("E0002", 1, ("E0002", 1)), ("E0002", 0, ("E0002", 1)), ("E0001", 9, ("E0002", 1))]
    {
        let digest = gateway.head(epoch, n);
        let signature = gateway.eraser.sign(&digest);
        assert_eq!(gateway.report(&digest, &signature).await, StatusCode::OK, "{epoch}/{n}");
        assert_eq!(gateway.named(), Some((named.0.to_owned(), named.1)), "{epoch}/{n}");
    }
}

/// A head that no configured key signed changes nothing: unsigned, signed by an unknown key or the gateway's own,
/// modified, not a digest, not a report. A gateway without keys accepts none. The answer does not repeat what was sent.
#[tokio::test]
async fn what_is_not_signed_is_refused() {
    let mut gateway = Gateway::start(true).await;
    let digest = gateway.head("E0002", 0);
    let good = gateway.eraser.sign(&digest);
    let changed = gateway.head("E0002", 1);
    let none = b"no digest".to_vec();
    for (what, digest, signature) in [
        ("unsigned", &digest, Vec::new()),
        ("unknown", &digest, key(51).sign(&digest).to_vec()),
        ("the gateway's", &digest, signing_key().sign(&digest).to_vec()),
        ("changed", &changed, good.to_vec()),
        ("no digest", &none, gateway.eraser.sign(&none).to_vec()),
    ] {
        assert_eq!(gateway.report(digest, &signature).await, StatusCode::FORBIDDEN, "{what}");
    }
    for body in ["", "{}", r#"{"digest":"zebra!","signature":"zebra!"}"#, r#"{"digest":"zebra"}"#] {
        let (status, said) = gateway.post(body.to_owned()).await;
        assert!(status == StatusCode::BAD_REQUEST && !said.contains("zebra"), "{body}: {said}");
    }
    assert_eq!(gateway.named(), None);
    let mut strange = Gateway::start(false).await;
    assert_eq!(strange.report(&digest, &good).await, StatusCode::FORBIDDEN);
    assert_eq!(strange.named(), None);
}

/// An accepted report deletes the runs of the erased users and sessions, and no others; a refused one deletes none.
#[tokio::test]
async fn erased_runs_leave_the_history() {
    let mut gateway = Gateway::start(true).await;
    let run = |id: &str, account: &str, user: &str, session: &str| {
        let made = runs::testing::runs::ended(id, 1, 1);
        let view = RunView { account: account.into(), user: Some(user.into()), session: session.into(), ..made };
        (run_key(account, id), runs::testing::runs::detail(&view, &[]))
    };
    let ended = vec![
        run("a", "default", "h-1", "s1"),
        run("b", "default", "h-2", "s2"),
        run("c", "default", "h-3", "s3"),
        run("d", "other", "h-1", "s1"),
    ];
    let write = HistoryWrite { runs: EndedRuns { ended, removed: Vec::new() }, ..HistoryWrite::default() };
    gateway.runs.store.lock().as_mut().expect("store").write(&write, 1_000_000_000).expect("write");
    let digest = gateway.head("E0002", 0);
    let signature = gateway.eraser.sign(&digest).to_vec();
    let erased = |users: &[&str], session: Option<&str>| ErasedRuns {
        account: "default".into(),
        users: users.iter().map(|user| (*user).to_owned()).collect(),
        session: session.map(str::to_owned),
    };
    let other_key = key(51);
    for (signature, runs, status, left) in [
        (Vec::new(), erased(&["h-1"], None), StatusCode::FORBIDDEN, 4),
        (signature.clone(), erased(&["h-1", "h-9"], None), StatusCode::OK, 3),
        (signature.clone(), erased(&[], Some("s2")), StatusCode::OK, 2),
    ] {
        let body = serde_json::to_string(&ErasureReport::new(&digest, &signature, &runs, &gateway.eraser));
        assert_eq!(gateway.post(body.expect("JSON")).await.0, status);
        assert_eq!(gateway.runs.first_runs(0, 0, |_| Some(())).count, left);
    }
    // a genuine digest with somebody else's runs
    let forged = ErasureReport::new(&digest, &signature, &erased(&["h-3"], None), &other_key);
    let (status, _) = gateway.post(serde_json::to_string(&forged).expect("JSON")).await;
    assert_eq!((status, gateway.runs.first_runs(0, 0, |_| Some(())).count), (StatusCode::FORBIDDEN, 2));
    // a restart, or the end of a run that went on, gives it to history again
    gateway.runs.store.lock().as_mut().expect("store").write(&write, 2_000_000_000).expect("write");
    assert_eq!(gateway.runs.first_runs(0, 0, |_| Some(())).count, 2);
}
