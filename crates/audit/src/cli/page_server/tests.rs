//! Access to the page, and the escaping of what it shows.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::access::parse_access;
use super::page::VerificationState;
use super::routes::{AuditState, LocalBrowser, local_router, shared_router};
use crate::cli::opening_log::OpeningLog;
use crate::read::tests::row;
use crate::read::{Vault, VaultLocation};
use command::error::CommandError;
use vault::chain::note::VerifyKey;
use vault::testing::journal::signing_key;

/// A page and its one browser.
type LocalPage = (Arc<AuditState>, Arc<LocalBrowser>);

fn audit(folder: &std::path::Path) -> LocalPage {
    audit_by(folder, Vec::new())
}

fn audit_by(folder: &std::path::Path, keys: Vec<VerifyKey>) -> LocalPage {
    let store = folder.display().to_string();
    let vault =
        Vault::from_location(&VaultLocation { store: store.clone(), ..VaultLocation::default() }).expect("a vault");
    let log = OpeningLog::open_requested(Some(&folder.join("openings.jsonl")), None, &store, &[]).expect("a log");
    let browser = LocalBrowser::new(["token", "cookie", "path"].map(str::to_owned), 8898);
    (Arc::new(AuditState::new(vault, Vec::new(), log, keys)), Arc::new(browser))
}

async fn ask(
    (audit, browser): &LocalPage,
    path: &str,
    host: &str,
    cookie: Option<&str>,
) -> (StatusCode, header::HeaderMap, String) {
    let mut request = Request::get(path).header("host", host);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let router = local_router(Arc::clone(audit), Arc::clone(browser));
    let response = router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
}

const HOST: &str = "127.0.0.1:8898";

/// The page at this path, below its own, as its browser gets it.
async fn shown(audit: &LocalPage, path: &str) -> String {
    ask(audit, &format!("/path/{path}"), HOST, Some("audit-8898=cookie")).await.2
}

/// The token works once and sets a cookie; without that cookie, or under another host name, nothing is answered.
#[tokio::test]
async fn one_browser_comes_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = audit(folder.path());
    let refused = async |path: &str, host: &str, cookie: Option<&str>, expected: StatusCode| {
        assert_eq!(ask(&audit, path, host, cookie).await.0, expected, "{path} {host} {cookie:?}");
    };
    for path in ["/path/", "/path/?token=wrong", "/path/session?token=token"] {
        refused(path, HOST, None, StatusCode::FORBIDDEN).await;
    }
    refused("/path/?token=token", "evil.example:8898", None, StatusCode::MISDIRECTED_REQUEST).await;
    let (entered, headers, _) = ask(&audit, "/path/?token=token", HOST, None).await;
    assert_eq!(entered, StatusCode::SEE_OTHER);
    let cookie = headers[header::SET_COOKIE].to_str().expect("text").to_owned();
    // Pages on other ports of this machine can't use the cookie: they don't know the path, and it is sent only there.
    assert_eq!(cookie, "audit-8898=cookie; HttpOnly; SameSite=Strict; Path=/path/");
    refused("/path/?token=token", HOST, None, StatusCode::FORBIDDEN).await;
    let cookie = cookie.split(';').next().expect("a cookie").to_owned();
    let (status, headers, page) = ask(&audit, "/path/", HOST, Some(&format!("other=1; {cookie}"))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text").starts_with("default-src 'none'"));
    assert!(page.contains("not verified") && page.contains("0 index lines"), "{page}");
    for (path, cookie) in [
        ("/path/", "audit-8898=wrong"),
        ("/", &*cookie),
        ("/session?session=s", &cookie),
        ("/path/", "audit-8899=cookie"),
        ("/path/", "audit=cookie"),
    ] {
        refused(path, HOST, Some(cookie), StatusCode::FORBIDDEN).await;
    }
    refused("/path/", "localhost:9999", Some(&cookie), StatusCode::MISDIRECTED_REQUEST).await;
}

/// Typed and found text never becomes markup; each opening is logged before it happens; the banner shows a failure.
#[tokio::test]
async fn hostile_names_are_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = audit(folder.path());
    let page = shown(&audit, "?session=%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(page.contains("alert(1)") && !page.contains("<script>"), "{page}");
    let nowhere = "/path/session?session=..%2F..%2Fx&account=default";
    let (status, _, text) = ask(&audit, nowhere, HOST, Some("audit-8898=cookie")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("no session"), "{text}");
    let noted = std::fs::read_to_string(folder.path().join("openings.jsonl")).expect("a log");
    assert!(noted.lines().count() == 1 && noted.contains("../../x"), "{noted}");
    // An invalid time must not look like an empty result.
    for (since, known) in
        [("7d", true), ("2026-11-22", true), ("garbage", false), ("2026-13-45", false), ("22.11.2026", false)]
    {
        let page = shown(&audit, &format!("?since={since}")).await;
        assert_eq!(!page.contains("must be a time such as"), known, "{since}: {page}");
    }
    *audit.0.verified.lock() = VerificationState::Failed("<b>no connection</b>".to_owned());
    let page = shown(&audit, "verification").await;
    assert!(page.contains("no connection") && !page.contains("<b>"), "{page}");
}

/// A search by a person's name that finds nothing explains that private ids are stored as pseudonyms, as `find` does; a
/// search by pseudonym, or without an id, does not.
#[tokio::test]
async fn nothing_found_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = audit(folder.path());
    for (search, hints) in [
        ("session=bob.builder%40example.com", 1),
        ("user=alice%40example.com&session=x", 2),
        ("user=h-0123456789abcdef", 0),
        ("tool=Bash", 0),
        ("", 0),
    ] {
        let page = shown(&audit, &format!("?{search}")).await;
        assert_eq!(page.matches("vault as h-…").count(), hints, "{search}: {page}");
    }
}

/// A failed call recorded by a span and an event is one failure in the list.
#[tokio::test]
async fn a_failure_is_listed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rows = [row(0, "model", ("a", ""), "", None), row(0, "model_copy", ("ep", ""), "", None)];
    let mut lines = String::new();
    for (leaf, row) in (0..).zip(&mut rows) {
        let (text, tail) = (|text: &str| Some(text.to_owned()), &mut row.tail);
        (tail.session_id, tail.trace_id, tail.response_id) = (text("s"), text("t"), text("r1"));
        (tail.account, tail.status, tail.epoch) = ("default".to_owned(), "overloaded".to_owned(), "E0000".to_owned());
        row.leaf = leaf;
        lines += &(serde_json::to_string(&row).expect("JSON") + "\n");
    }
    let object = zstd::bulk::compress(lines.as_bytes(), 3).expect("zstd");
    put(folder.path(), "index/v1/account=default/dt=2026-11-20/gw-E0000-0000000000.ndjson.zst", &object);
    let page = shown(&audit(folder.path()), "").await;
    assert!(page.contains("2 index lines in 1 session") && page.contains("<td class=\"number bad\">1</td>"), "{page}");
}

/// Writes an object of a vault into a folder.
fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// Direction marks and control characters in a session's id are made visible in the list, in the session and in
/// findings.
#[tokio::test]
async fn marks_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = crate::testing::site::Site::new(31);
    site.send("default", "s\u{202e}x\u{9b}", "what was said");
    site.minutes(4).await;
    site.write_to(folder.path());
    let audit = audit(folder.path());
    let mut report = crate::verify::VerifyReport::default();
    report.fail("unreferenced", "default/acme/s%E2%80%AEx%C2%9B/1", "planted \u{202e}");
    report.fail("unreferenced", "default/acme/s\u{202e}x\u{9b}/1", "planted \u{202e}");
    *audit.0.verified.lock() = VerificationState::Done(Box::new(report));
    let session = "session?session=s%E2%80%AEx%C2%9B&account=default";
    for path in ["", session, "verification", "session?session=%E2%80%AE&account=default"] {
        let page = shown(&audit, path).await;
        assert!(!page.contains(['\u{202e}', '\u{9b}']) && page.contains("202e"), "{path}: {page}");
    }
    let page = shown(&audit, session).await;
    assert!(page.contains("This session: planted"), "{page}");
    let front = shown(&audit, "").await;
    assert!(front.contains("href=\"session?session=s%E2%80%AEx%C2%9B&#38;account=default"), "{front}");
    // The form shows the searched id in visible form, and that form can be searched again.
    for typed in ["s%E2%80%AEx%C2%9B", "s%5Cu%7B202e%7Dx%5Cu%7B9b%7D"] {
        let page = shown(&audit, &format!("?session={typed}")).await;
        assert!(!page.contains(['\u{202e}', '\u{9b}']), "{page}");
        assert!(page.contains("value=\"s\\u{202e}x\\u{9b}\"") && page.contains(" in 1 session"), "{typed}: {page}");
    }
}

/// If the writers' public key is given, planted index lines are marked in list and session and are in no sum; lines
/// that were signed since are not marked.
#[tokio::test]
async fn planted_lines_are_marked() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = crate::testing::site::Site::new(32);
    site.send("default", "s", "what was said");
    site.minutes(4).await;
    let objects = site.store.0.lock().clone();
    site.write_to(folder.path());
    let name = objects.keys().find(|name| name.starts_with("index/")).expect("lines");
    let lines = zstd::decode_all(&objects[name][..]).expect("zstd");
    let line: &str = std::str::from_utf8(&lines).expect("text").lines().next().expect("a line");
    let first = |text: &str| text.replace("\"leaf\":0", "\"leaf\":900");
    assert!(line != first(line));
    let (head, _) = name.rsplit_once('-').expect("a number");
    // Its time is the latest, so that a list sorted by time would begin with it.
    let late = |text: &str| text.replacen("\"ts\":\"2026", "\"ts\":\"9999", 1);
    assert!(late(line) != line);
    let line = &late(line);
    let planted = first(line) + "\n" + &first(line).replace("900", "901").replace("\"s\"", "\"planted\"") + "\n";
    put(
        folder.path(),
        &format!("{head}-0000000900.ndjson.zst"),
        &zstd::bulk::compress(planted.as_bytes(), 3).expect("zstd"),
    );
    let blind = shown(&audit(folder.path()), "").await;
    assert!(!blind.contains("unsigned") && blind.contains("not verified"), "{blind}");
    let audit = audit_by(folder.path(), vec![signing_key().public().clone()]);
    let page = shown(&audit, "").await;
    assert_eq!(page.matches("1 unsigned").count(), 2, "{page}");
    // It displaces neither the signed session nor its time.
    let place = |session: &str| page.find(&format!("session={session}&")).expect("listed");
    assert!(place("s") < place("planted") && page.matches("9999-").count() == 2, "{page}");
    let sums = |page: &str| {
        page.split("<tr><td>")
            .find(|row| row.contains("session=s&"))
            .map(|row| row.split("</td>").skip(6).take(4).collect::<String>())
    };
    let clean = tempfile::tempdir().expect("a folder");
    site.write_to(clean.path());
    let without = shown(&audit_by(clean.path(), vec![signing_key().public().clone()]), "").await;
    assert!(!without.contains("unsigned") && sums(&without).is_some(), "{without}");
    assert_eq!(sums(&page), sums(&without));
    let page = shown(&audit, "session?session=s&account=default").await;
    assert!(page.contains("UNSIGNED: 1 of its entries") && page.contains("UNSIGNED: no digest"), "{page}");
    let page = shown(&audit, "session?session=planted&account=default").await;
    assert!(page.contains("UNSIGNED: 1 of its entries"), "{page}");
    // The planted lines stay unsigned; what the gateway signs next is read without a restart.
    site.send("default", "later", "more");
    site.minutes(4).await;
    site.write_to(folder.path());
    let page = shown(&audit, "?session=later").await;
    assert!(page.contains(" in 1 session") && !page.contains("unsigned"), "{page}");
}

/// The message of a faulty file of `--access`.
fn access_fault(text: &str) -> String {
    match parse_access("access.yaml", text, &config::env::ProcessLookup, "127.0.0.1:8898") {
        Ok(_) => "accepted".to_owned(),
        Err(CommandError::Problems(text)) => text,
        Err(why) => panic!("{why}"),
    }
}

/// A file without a credential, off loopback without TLS, or with other keys of the admin port serves nothing.
#[test]
fn a_faulty_access_file_is_refused() {
    let tokens = "auth: { tokens: { tapper: [a token of twelve] } }\n";
    assert_eq!(access_fault(tokens), "accepted");
    for (text, expected) in [
        ("endpoint: 127.0.0.1:9\n", "missing"),
        ("auth: {}\n", "has no credential, and the page shows opened content"),
        ("auth: { tokens: { tapper: [] } }\n", "must not be empty"),
        ("auth: { bearer: short }\n", "at least 12 bytes"),
        ("auth: { tokens: { auditor: [a token of twelve] } }\n", "auditor"),
        ("auth: { certificates: { viewer: [a] } }\n", "requires `tls.client_ca_file`"),
        (
            "auth: { oidc: { issuer: http://far.example, client_id: c, roles: { viewer: [a] } } }\n",
            "`https://` address",
        ),
        (&format!("{tokens}endpoint: 0.0.0.0:8898\n"), "needs `tls`, unless it is an address on loopback"),
        (&format!("{tokens}endpoint: page.example:8898\n"), "needs `tls`, unless it is an address on loopback"),
        (&format!("{tokens}endpoint: '8898'\n"), "endpoint"),
        (&format!("{tokens}trace_link: {{}}\n"), "unknown key `trace_link`"),
        (&format!("{tokens}auth: {{}}\n"), "only once"),
        ("auth: { tokens: { tapper: ['${env:NO_SUCH_VARIABLE_HERE}'] } }\n", "NO_SUCH_VARIABLE_HERE"),
        ("[]", "access.yaml"),
        ("", "empty"),
    ] {
        let fault = access_fault(text);
        assert!(fault.contains(expected), "{text}: {fault}");
        assert!(!fault.contains("a token of"), "{fault}");
    }
}

/// With `--access` every page needs a credential, and a session the role `tapper`. An opening that is refused is not
/// logged. The token of an address means nothing.
#[tokio::test]
async fn sessions_need_a_tapper() {
    let folder = tempfile::tempdir().expect("a folder");
    let (audit, _) = audit(folder.path());
    let text = "allowed_hosts: [page.example]\nauth: { tokens: { viewer: [token of a viewer], operator: [token of an operator], tapper: [token of a tapper] } }\n";
    let settings = parse_access("access.yaml", text, &config::env::ProcessLookup, "127.0.0.1:8898").expect("settings");
    let (auth, allowed_hosts) = (settings.auth.expect("credentials"), settings.allowed_hosts);
    let session = "/session?session=s&account=default";
    let logged = || std::fs::read_to_string(folder.path().join("openings.jsonl")).expect("a log").lines().count();
    let answered = async |path: &str, host: &str, token: &str, site: Option<&str>| {
        let mut request = Request::get(path).header("host", host).header("cookie", "audit-8898=cookie");
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        if !token.is_empty() {
            let article = if token == "operator" { "an" } else { "a" };
            request = request.header("authorization", format!("Bearer token of {article} {token}"));
        }
        let request = request.body(Body::empty()).expect("a request");
        shared_router(Arc::clone(&audit), auth.clone(), None, (false, allowed_hosts.clone()))
            .oneshot(request)
            .await
            .expect("an answer")
    };
    for (path, host, token, expected) in [
        ("/", HOST, "", 401),
        ("/?token=token", HOST, "", 401),
        ("/verification", HOST, "wrong", 401),
        (session, HOST, "", 401),
        ("/path/", HOST, "", 401),
        ("/path/", HOST, "viewer", 404),
        ("/", HOST, "viewer", 200),
        ("/", "page.example", "operator", 200),
        ("/", "evil.example", "tapper", 421),
        ("/verification", HOST, "viewer", 200),
        ("/verification", HOST, "tapper", 200),
        (session, HOST, "viewer", 403),
        (session, HOST, "operator", 403),
        (session, HOST, "tapper", 404),
    ] {
        assert_eq!(logged(), 0, "{path} {token}");
        let answer = answered(path, host, token, None).await;
        assert_eq!(answer.status().as_u16(), expected, "{path} {token}");
        let policy = answer.headers().get(header::CONTENT_SECURITY_POLICY);
        assert!(policy.is_some() || expected == 421, "{path}");
    }
    // A page of another site opens nothing in the name of its visitor. (Shown to fail without the check: 404 and a line.)
    for (site, expected) in [("cross-site", 403), ("same-site", 403), ("same-origin", 404), ("none", 404)] {
        let before = logged();
        let answer = answered(session, HOST, "tapper", Some(site)).await;
        assert_eq!(answer.status().as_u16(), expected, "{site}");
        assert_eq!(logged() - before, usize::from(expected == 404), "{site}");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let has_link = String::from_utf8_lossy(&body).contains("href=\"session?session=s&account=default\"");
        assert_eq!(has_link, expected == 403, "{site}");
    }
    let log = std::fs::read_to_string(folder.path().join("openings.jsonl")).expect("a log");
    let log = log.lines().next().expect("a line");
    let line: serde_json::Value = serde_json::from_str(log).expect("one line");
    let token = kernel::hex::encode(&kernel::sha256::Sha256::digest("token of a tapper"));
    assert_eq!(line["client"], format!("token {}", &token[..8]), "who opened it");
}
