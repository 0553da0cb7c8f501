//! Tests of authentication over real sockets: bearer tokens, client certificates, and files that change while the
//! receiver runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::Code;

use super::support::{Answer, INFLATED, Knobs, Rig, send, send_over};
use super::{Refused, WAYS, Way, check_refused, frame, request, span};
use crate::http_ports::reply::RequestRefusal;
use crate::http_ports::{ReceiverMetrics, auth};
use fakes::tls::{Authority, Certified, pem_file};
use kernel::secret::Secret;
use net::encoding::compress;
use net::{ClientAddress, ContentEncoding, LastGoodValue, server_tls};
use otlp::Signal;
use pipeline::accounts::{RateLimit, RateLimits};
use telemetry::{Meter, names};

const ACME: &str = "acme-token-0123456789";
const GLOBEX: &str = "globex-token-0123456789";

pub(super) fn knobs(auth: auth::AuthSettings) -> Knobs {
    Knobs { auth: Some(auth), ..Knobs::default() }
}

fn tokens() -> auth::AuthSettings {
    auth::AuthSettings { tokens: vec![("acme".into(), Secret::new(ACME.to_owned()))], ..auth::AuthSettings::default() }
}

/// A request with these `authorization` headers.
fn with(way: Way, headers: &[&str]) -> Request<()> {
    let mut request = request(way, Signal::Traces, None);
    for value in headers {
        request.headers_mut().append("authorization", value.parse().expect("a header"));
    }
    request
}

pub(super) async fn ask(rig: &Rig, way: Way, headers: &[&str]) -> Answer {
    match way {
        Way::Grpc => send(rig.grpc(), Version::HTTP_2, with(way, headers), vec![frame(0, &span(way, 5))]).await,
        _ => send(rig.http(), Version::HTTP_11, with(way, headers), vec![span(way, 5)]).await,
    }
}

/// Waits until a request with this token is answered as wanted.
async fn until(rig: &Rig, token: &str, served: bool) {
    let header = format!("Bearer {token}");
    for _ in 0..500 {
        if (ask(rig, Way::Json, &[&header]).await.status == 200) == served {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the file was not read again");
}

/// A receiver with tokens serves only clients with a known token, as the token's account; without `auth` every client
/// is `default`. A refusal is final (401, UNAUTHENTICATED), says what to send, and repeats nothing that was sent.
#[tokio::test]
async fn bearer_tokens() {
    let rig = Rig::with(knobs(tokens())).await;
    let refused = Refused { code: Code::Unauthenticated, http: 401, after: None };
    let right = format!("Bearer {ACME}");
    let (lower, padded) = (format!("bearer {ACME}"), format!("Bearer  {ACME} "));
    let wrong: [&[&str]; 7] = [
        &[],
        &["Bearer not-the-token-0123"],
        &["Bearer "],
        &["Basic YWNtZTphY21l"],
        &[ACME],
        &[&right, &right],
        &["Bearer acme-token-012345678"],
    ];
    for way in WAYS {
        for headers in wrong {
            let answer = ask(&rig, way, headers).await;
            check_refused(&format!("{headers:?}"), way, &answer, refused);
            let shown = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
            assert!(!shown.contains("0123") && !shown.contains("YWNt"), "{shown}");
            if way != Way::Grpc {
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
        for headers in [&right, &lower, &padded] {
            let answer = ask(&rig, way, &[headers]).await;
            assert_eq!(answer.status, 200);
            if way == Way::Grpc {
                assert_eq!(answer.grpc().code(), Code::Ok);
            }
        }
    }
    assert_eq!(rig.engine.accounts(), ["acme"; 9]);
    let open = Rig::new().await;
    ask(&open, Way::Json, &[&right]).await;
    ask(&open, Way::Json, &[]).await;
    assert_eq!(open.engine.accounts(), ["default"; 2]);
}

/// A refusal is counted by where the client connects from and by its account, which is one of the configuration: a
/// wrong credential and what a request says of itself name none.
#[tokio::test]
async fn refusals_name_the_account_and_the_class_of_address() {
    let rig = Rig::with(knobs(tokens())).await;
    let right = format!("Bearer {ACME}");
    for way in WAYS {
        let at = if way == Way::Grpc { rig.grpc() } else { rig.http() };
        let version = if way == Way::Grpc { Version::HTTP_2 } else { Version::HTTP_11 };
        for (token, proxied) in [("Bearer account=globex-0123", false), (&*right, false), (&*right, true)] {
            let mut request = request(way, Signal::Traces, Some("gzip"));
            request.headers_mut().append("authorization", token.parse().expect("a header"));
            if proxied {
                request.headers_mut().append("x-forwarded-for", "203.0.113.9".parse().expect("a header"));
            }
            let damaged = if way == Way::Grpc { frame(1, &[7; 9]) } else { vec![7; 9].into() };
            send(at, version, request, vec![damaged]).await;
        }
    }
    let text = rig.meter.render();
    for (transport, count) in [("http", 2), ("grpc", 1)] {
        for (labels, count) in [
            (r#"reason="unauthenticated",account="unattributed",from="loopback""#, count),
            (r#"reason="malformed",account="acme""#, 2 * count),
        ] {
            let port = format!(r#"tollgate_receiver_rejections_total{{receiver="otlp/test",transport="{transport}""#);
            assert!(text.contains(&format!("{port},{labels}}} {count}")), "{transport} {labels}: {text}");
        }
    }
    assert!(!text.contains("globex") && !text.contains("203.0.113"), "{text}");
}

/// A tokens file may have thousands of accounts, but `/metrics` names at most 280 of them.
#[test]
fn few_accounts_are_named() {
    let meter = Meter::new();
    let metrics = ReceiverMetrics::new(&meter, "otlp", "http");
    let address = ClientAddress { ip: [192, 0, 2, 1].into(), is_forwarded: false };
    let refusal = RequestRefusal::wrong_method("must use POST");
    for number in 0..1000 {
        metrics.record_refusal(&refusal, address, Some(&format!("a{number}")));
    }
    let series = meter.series(&names::RECEIVER_REJECTIONS);
    let other = series.iter().find(|series| series.label("account") == "other").and_then(|other| other.number());
    assert_eq!((series.len(), other), (281, Some(720.0)));
}

/// The slowest answers are those for which the client did not wait: they must be measured too, and fast refusals apart,
/// or the p95 improves when it gets worse.
#[tokio::test]
async fn answers_are_measured_by_outcome() {
    let meter = Meter::new();
    let metrics = ReceiverMetrics::new(&meter, "otlp", "http");
    let _ = metrics.time_answer(std::future::ready(Ok::<(), ()>(()))).await;
    let _ = metrics.time_answer(std::future::ready(Err::<(), ()>(()))).await;
    let endless = metrics.time_answer(std::future::pending::<Result<(), ()>>());
    assert!(tokio::time::timeout(Duration::from_millis(10), endless).await.is_err());
    let text = meter.render();
    for outcome in ["success", "refused", "abandoned"] {
        let name = "tollgate_receiver_answer_duration_seconds_count";
        let line = format!(r#"{name}{{receiver="otlp",transport="http",outcome="{outcome}"}} 1"#);
        assert!(text.contains(&line), "{line}: {text}");
    }
}

/// Refused bodies (damaged, too large once inflated, invalid JSON) count against their account's rate, because other
/// accounts would pay otherwise: the account must wait for at least their bytes. Accepted requests are counted once.
/// (Regression test: only complete requests were counted.)
#[tokio::test]
async fn refused_bodies_are_paid_for() {
    const RATE: usize = 1000;
    let limit = RateLimit { requests: None, bytes: Some(RATE as f64), burst: Duration::from_secs(1) };
    let rates = RateLimits { named: [("acme".into(), limit)].into(), ..RateLimits::default() };
    let rig = Rig::with(Knobs { rates, ..knobs(tokens()) }).await;
    let header = format!("Bearer {ACME}");
    let post = async |way: Way, encoding: Option<&str>, body: Vec<u8>| {
        let mut request = request(way, Signal::Traces, encoding);
        request.headers_mut().append("authorization", header.parse().expect("a header"));
        let (at, version) =
            if way == Way::Grpc { (rig.grpc(), Version::HTTP_2) } else { (rig.http(), Version::HTTP_11) };
        send(at, version, request, vec![body.into()]).await.status
    };
    let bomb = compress(ContentEncoding::Gzip, &[Bytes::from(vec![0; INFLATED + 1])]).expect("compresses");
    for (way, encoding, body, least) in [
        (Way::Json, None, vec![b'{'; 5000], 5000),
        (Way::Proto, Some("gzip"), vec![7; 5000], 5000),
        (Way::Proto, Some("gzip"), bomb.to_vec(), INFLATED),
        (Way::Grpc, Some("gzip"), frame(1, &bomb).to_vec(), INFLATED),
        (Way::Grpc, None, frame(0, &[0; 5000]).iter().chain(&[0; 9]).copied().collect(), 5000),
    ] {
        post(way, encoding, body).await;
        // One burst was there before.
        rig.clock.advance(Duration::from_secs((least / RATE - 2) as u64));
        assert_eq!(post(Way::Proto, None, Vec::new()).await, 429, "{way:?} {least}");
        rig.clock.advance(Duration::from_secs(100_000));
    }
    for status in [200, 200, 429] {
        assert_eq!(post(Way::Proto, None, span(Way::Proto, RATE * 3 / 5).to_vec()).await, status);
    }
}

/// Tokens are rotated in a file while the receiver runs; a file that can't be used changes nothing and is counted.
#[tokio::test]
async fn tokens_are_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, format!("# ours\n\nacme {ACME}\n")).expect("written");
    let settings = auth::AuthSettings { tokens_file: Some(file.clone()), ..auth::AuthSettings::default() };
    let rig = Rig::with(knobs(settings)).await;
    until(&rig, ACME, true).await;
    until(&rig, GLOBEX, false).await;
    std::fs::write(&file, format!("acme {ACME}\nglobex\t{GLOBEX}\n")).expect("written");
    until(&rig, GLOBEX, true).await;
    assert_eq!(rig.engine.accounts().last().map(String::as_str), Some("globex"));
    let failures = |rig: &Rig| {
        let all = rig.meter.render();
        let line = all.lines().find(|line| line.starts_with("tollgate_receiver_reload_failures_total{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    assert_eq!(failures(&rig), 0.0);
    for broken in [
        "",
        "# nobody\n",
        "acme\n",
        "acme short\n",
        &format!("acme {ACME}\nglobex {ACME}\n"),
        &format!("../x {ACME}\n"),
    ] {
        let before = failures(&rig);
        std::fs::write(&file, broken).expect("written");
        while failures(&rig) <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        until(&rig, ACME, true).await;
        until(&rig, GLOBEX, true).await;
    }
    std::fs::write(&file, format!("globex {GLOBEX}\n")).expect("written");
    until(&rig, ACME, false).await;
    until(&rig, GLOBEX, true).await;
}

/// An unreadable tokens file prevents the start; the message names the file and the line, but no token.
#[tokio::test]
async fn unusable_files_refuse_to_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, format!("acme {ACME}\nglobex {ACME}\n")).expect("written");
    let settings = auth::AuthSettings { tokens_file: Some(file), ..auth::AuthSettings::default() };
    let why = Rig::try_with(knobs(settings)).await.err().expect("refused");
    assert!(why.contains("tokens:2: the token is already used by another account") && !why.contains(ACME), "{why}");
    let tls = server_tls::ServerTlsSettings {
        cert_file: "/nowhere/cert.pem".into(),
        key_file: "/nowhere/key.pem".into(),
        client_ca_file: None,
        crl_file: None,
        reload_interval: Duration::from_millis(20),
        last_good: LastGoodValue::default(),
    };
    let why = Rig::try_with(Knobs { tls: Some(tls), ..Knobs::default() }).await.err().expect("refused");
    assert!(why.contains("tls.cert_file: can't read /nowhere/cert.pem"), "{why}");
}

/// The TLS files of a server and its certificate authority.
pub(super) struct Pki {
    folder: tempfile::TempDir,
    pub(super) authority: Authority,
}

impl Pki {
    pub(super) fn new() -> Self {
        let pki = Self { folder: tempfile::tempdir().expect("a folder"), authority: Authority::new() };
        pki.renew(&pki.authority);
        pki
    }

    /// Writes a certificate and key signed by `authority`.
    fn renew(&self, authority: &Authority) {
        let Certified { certificate, key, .. } = authority.issue("localhost");
        pem_file(&self.folder, "key.pem", "PRIVATE KEY", &key);
        pem_file(&self.folder, "cert.pem", "CERTIFICATE", &certificate);
    }

    pub(super) fn settings(&self, mutual: bool) -> server_tls::ServerTlsSettings {
        let path = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let ca = mutual.then(|| pem_file(&self.folder, "ca.pem", "CERTIFICATE", &self.authority.certificate));
        server_tls::ServerTlsSettings {
            cert_file: path("cert.pem"),
            key_file: path("key.pem"),
            client_ca_file: ca,
            crl_file: None,
            reload_interval: Duration::from_millis(20),
            last_good: LastGoodValue::default(),
        }
    }
}

/// A handshake of a client that trusts `authority` and presents `identity`; `None` if it fails.
async fn shake(
    at: std::net::SocketAddr,
    authority: &Authority,
    identity: Option<Certified>,
    alpn: &[u8],
) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.certificate.clone())).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Certified { certificate, key, .. }) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
            builder.with_client_auth_cert(vec![CertificateDer::from(certificate)], key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let socket = TcpStream::connect(at).await.expect("connects");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()
}

/// One request over TLS; `None` if there was no response.
pub(super) async fn ask_over_tls(
    rig: &Rig,
    way: Way,
    authority: &Authority,
    identity: Option<Certified>,
) -> Option<Answer> {
    let (at, alpn, version, body): (_, &[u8], _, Bytes) = match way {
        Way::Grpc => (rig.grpc(), b"h2", Version::HTTP_2, frame(0, &span(way, 5))),
        _ => (rig.http(), b"http/1.1", Version::HTTP_11, span(way, 5)),
    };
    let stream = shake(at, authority, identity, alpn).await?;
    send_over(stream, version, with(way, &[]), vec![body]).await
}

/// Both ports use TLS. A client that speaks plain text or trusts another authority gets nothing and is counted; a
/// renewed certificate is presented to the next connection, an invalid one never.
#[tokio::test]
async fn tls_and_renewal() {
    let pki = Pki::new();
    let rig = Rig::with(Knobs { tls: Some(pki.settings(false)), ..Knobs::default() }).await;
    for way in WAYS {
        let answer = ask_over_tls(&rig, way, &pki.authority, None).await.expect("an answer");
        assert_eq!(answer.status, 200, "{way:?}");
        if way == Way::Grpc {
            assert_eq!(answer.grpc().code(), Code::Ok);
        }
    }
    // A client of the other protocol completes the handshake, so that it can be told the right port. (Regression test:
    // offering only `h2` ended the handshake.)
    let stream = shake(rig.grpc(), &pki.authority, None, b"http/1.1").await.expect("a handshake");
    let lost = send_over(stream, Version::HTTP_11, with(Way::Json, &[]), vec![span(Way::Json, 5)]).await;
    let lost = lost.expect("an answer");
    assert_eq!(lost.status, 415);
    assert!(String::from_utf8_lossy(&lost.body).contains("this is the OTLP/gRPC port"));
    let plain = TcpStream::connect(rig.http()).await.expect("connects");
    assert!(send_over(plain, Version::HTTP_11, with(Way::Json, &[]), vec![span(Way::Json, 5)]).await.is_none());
    let other = Authority::new();
    assert!(ask_over_tls(&rig, Way::Json, &other, None).await.is_none());
    while !rig.meter.render().contains(r#"reason="handshake"} 2"#) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // half a renewal: the key does not match the certificate
    pem_file(&pki.folder, "key.pem", "PRIVATE KEY", &other.issue("localhost").key);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(ask_over_tls(&rig, Way::Json, &pki.authority, None).await.is_some());
    pki.renew(&other);
    while ask_over_tls(&rig, Way::Json, &other, None).await.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(ask_over_tls(&rig, Way::Grpc, &pki.authority, None).await.is_none());
}

/// A revoked client certificate is refused once the revocation list is read; a certificate of an authority without a
/// list is always refused.
#[tokio::test]
async fn revoked_certificates_are_refused() {
    let pki = Pki::new();
    let (good, bad) = (pki.authority.issue("good"), pki.authority.issue("bad"));
    let list = |revoked: &[u8]| pem_file(&pki.folder, "crl.pem", "X509 CRL", &pki.authority.revoke(revoked));
    let crl_file = Some(list(&[]));
    let tls = server_tls::ServerTlsSettings { crl_file, ..pki.settings(true) };
    let rig = Rig::with(Knobs { tls: Some(tls), ..Knobs::default() }).await;
    let serves = async |identity: &Certified| {
        let (certificate, key) = (identity.certificate.clone(), identity.key.clone());
        let identity = Certified { certificate, key, serial: identity.serial };
        ask_over_tls(&rig, Way::Json, &pki.authority, Some(identity)).await.is_some()
    };
    assert!(serves(&good).await && serves(&bad).await, "nobody is called back");
    list(&[bad.serial]);
    while serves(&bad).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(serves(&good).await);
    std::fs::write(pki.folder.path().join("crl.pem"), "no list").expect("written");
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(serves(&good).await && !serves(&bad).await, "a file that can't be used changes nothing");
}

/// A client's account comes from the name in its certificate. A certificate that no trusted authority signed, or with
/// an unknown name, is refused.
#[tokio::test]
async fn certificates_tell_accounts() {
    let pki = Pki::new();
    let certificates = [("agent-1.acme.example".to_owned(), "acme".into())].into();
    let auth = Some(auth::AuthSettings { certificates, ..auth::AuthSettings::default() });
    let rig = Rig::with(Knobs { tls: Some(pki.settings(true)), auth, ..Knobs::default() }).await;
    for way in WAYS {
        let identity = pki.authority.issue("agent-1.acme.example");
        let answer = ask_over_tls(&rig, way, &pki.authority, Some(identity)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{way:?}");
        let stranger = pki.authority.issue("agent-1.globex.example");
        let answer = ask_over_tls(&rig, way, &pki.authority, Some(stranger)).await.expect("an answer");
        check_refused(
            "a name that we don't know",
            way,
            &answer,
            Refused { code: Code::Unauthenticated, http: 401, after: None },
        );
        assert!(ask_over_tls(&rig, way, &pki.authority, None).await.is_none(), "{way:?}");
        let forged = Authority::new().issue("agent-1.acme.example");
        assert!(ask_over_tls(&rig, way, &pki.authority, Some(forged)).await.is_none(), "{way:?}");
    }
    assert_eq!(rig.engine.accounts(), ["acme"; 3]);
}

/// Without `auth`, a port on loopback refuses browsers under foreign host names (DNS rebinding) and pages of other sites;
/// SDKs and proxies, which send no `Origin`, may use any name. With `auth` the token decides.
#[tokio::test]
async fn web_pages_are_kept_out_of_loopback() {
    let (open, closed) = (Rig::new().await, Rig::with(knobs(tokens())).await);
    for (host, headers, status, text) in [
        ("localhost", &[][..], 200, ""),
        ("LOCALHOST:4318", &[], 200, ""),
        ("127.0.0.1:4318", &[], 200, ""),
        ("[::1]:4318", &[], 200, ""),
        ("host.docker.internal:4318", &[], 200, ""),
        ("telemetry.example", &[], 200, ""),
        ("evil.example:4318", &[("origin", "http://evil.example:4318")], 421, "browsers"),
        ("localhost.evil.example", &[("origin", "http://localhost.evil.example")], 421, "browsers"),
        ("127.0.0.1.evil.example", &[("origin", "http://127.0.0.1.evil.example")], 421, "browsers"),
        ("localhost:4318", &[("origin", "http://localhost:4318")], 200, ""),
        ("localhost:4318", &[("origin", "https://evil.example")], 403, "other sites"),
        ("localhost:4318", &[("origin", "null")], 403, "other sites"),
        ("localhost:4318", &[("sec-fetch-site", "cross-site")], 403, "other sites"),
        ("localhost:4318", &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:4318")], 200, ""),
    ] {
        for (rig, expected) in [(&open, status), (&closed, 200)] {
            let mut request = with(Way::Json, &[&format!("Bearer {ACME}")]);
            request.headers_mut().insert("host", host.parse().expect("a host"));
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().expect("a header"));
            }
            let answer = send(rig.http(), Version::HTTP_11, request, vec![span(Way::Json, 5)]).await;
            assert_eq!(answer.status.as_u16(), expected, "{host} {headers:?}");
            let body = String::from_utf8_lossy(&answer.body);
            assert!(expected == 200 || body.contains(text), "{body}");
            assert!(!body.contains("evil"), "{body}");
        }
    }
}
