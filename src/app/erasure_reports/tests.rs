use audit::testing::site::Site;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use kernel::rng::SeededRng;
use tower::ServiceExt as _;
use vault::chain::digest::ChainDigest;
use vault::chain::note::SigningKey;
use vault::testing::journal::signing_key;

use super::*;

/// A gateway with a digest, and its route.
struct Gateway {
    site: Site,
    routes: Router,
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
        let routes = router(vec![Arc::new(ErasureReportTarget { keys, inbox: site.uploader.erasure_inbox() })]);
        Self { site, routes, eraser }
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
        let body = serde_json::to_string(&ErasureReport::new(digest, signature)).expect("JSON");
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
