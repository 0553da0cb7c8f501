//! Who may see the page; that it shows nothing it should not act on.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::{Audit, Verified, router};
use crate::cli::opening_log::OpeningLog;
use crate::vault::read::{Location, Vault};

fn audit(folder: &std::path::Path) -> Arc<Audit> {
    let store = folder.display().to_string();
    let vault = Vault::at(&Location { store: store.clone(), ..Location::default() }).expect("a vault");
    let log = OpeningLog::open(Some(&folder.join("openings.jsonl")), &store, &[]).expect("a log");
    Arc::new(Audit::new(vault, Vec::new(), log, ["token", "cookie", "path"].map(str::to_owned), 8898))
}

async fn ask(
    audit: &Arc<Audit>,
    path: &str,
    host: &str,
    cookie: Option<&str>,
) -> (StatusCode, header::HeaderMap, String) {
    let mut request = Request::get(path).header("host", host);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let response =
        router(Arc::clone(audit)).oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
}

const HOST: &str = "127.0.0.1:8898";

/// The token works once and gives a cookie; without that cookie, or under another host name, nothing is answered.
#[tokio::test]
async fn one_browser_comes_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = audit(folder.path());
    let status = |answer: (StatusCode, header::HeaderMap, String)| answer.0;
    assert_eq!(status(ask(&audit, "/path/", HOST, None).await), StatusCode::FORBIDDEN);
    assert_eq!(status(ask(&audit, "/path/?token=wrong", HOST, None).await), StatusCode::FORBIDDEN);
    assert_eq!(status(ask(&audit, "/path/session?token=token", HOST, None).await), StatusCode::FORBIDDEN);
    assert_eq!(
        status(ask(&audit, "/path/?token=token", "evil.example:8898", None).await),
        StatusCode::MISDIRECTED_REQUEST
    );
    let (entered, headers, _) = ask(&audit, "/path/?token=token", HOST, None).await;
    assert_eq!(entered, StatusCode::SEE_OTHER);
    let cookie = headers[header::SET_COOKIE].to_str().expect("text").to_owned();
    // what goes to other ports of this machine says nothing to them: they don't know the path, and it is not sent without
    assert_eq!(cookie, "audit-8898=cookie; HttpOnly; SameSite=Strict; Path=/path/");
    assert_eq!(status(ask(&audit, "/path/?token=token", HOST, None).await), StatusCode::FORBIDDEN);
    let cookie = cookie.split(';').next().expect("a cookie").to_owned();
    let (status_, headers, page) = ask(&audit, "/path/", HOST, Some(&format!("other=1; {cookie}"))).await;
    assert_eq!(status_, StatusCode::OK);
    assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text").starts_with("default-src 'none'"));
    assert!(page.contains("not verified") && page.contains("0 index lines"), "{page}");
    assert_eq!(status(ask(&audit, "/path/", HOST, Some("audit-8898=wrong")).await), StatusCode::FORBIDDEN);
    for (path, cookie) in
        [("/", &*cookie), ("/session?session=s", &cookie), ("/path/", "audit-8899=cookie"), ("/path/", "audit=cookie")]
    {
        assert_eq!(status(ask(&audit, path, HOST, Some(cookie)).await), StatusCode::FORBIDDEN, "{path} {cookie}");
    }
    assert_eq!(status(ask(&audit, "/path/", "localhost:9999", Some(&cookie)).await), StatusCode::MISDIRECTED_REQUEST);
}

/// What is typed or found is text, never markup; each opening is noted before it happens; what fails says so in the banner.
#[tokio::test]
async fn hostile_names_are_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = audit(folder.path());
    let cookie = Some("audit-8898=cookie");
    let (_, _, page) = ask(&audit, "/path/?session=%3Cscript%3Ealert(1)%3C/script%3E", HOST, cookie).await;
    assert!(page.contains("alert(1)") && !page.contains("<script>"), "{page}");
    let (status, _, text) = ask(&audit, "/path/session?session=..%2F..%2Fx&account=default", HOST, cookie).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("no session"), "{text}");
    let noted = std::fs::read_to_string(folder.path().join("openings.jsonl")).expect("a log");
    assert!(noted.lines().count() == 1 && noted.contains("../../x"), "{noted}");
    *audit.verified.lock() = Verified::Failed("<b>no connection</b>".to_owned());
    let (_, _, page) = ask(&audit, "/path/verification", HOST, cookie).await;
    assert!(page.contains("no connection") && !page.contains("<b>"), "{page}");
}

/// Marks that turn the direction of writing, and control characters, of a session's id are shown, not obeyed: in the list, in
/// the session, in what was found.
#[tokio::test]
async fn marks_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = crate::vault::verify::tests::Site::new(31);
    site.send("default", "s\u{202e}x\u{9b}", "what was said");
    site.minutes(4).await;
    for (name, bytes) in &*site.store.0.lock() {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
    let audit = audit(folder.path());
    let mut report = crate::vault::verify::Report::default();
    report.fail("stray", "default/acme/s%E2%80%AEx%C2%9B/1", "planted \u{202e}");
    report.fail("stray", "default/acme/s\u{202e}x\u{9b}/1", "planted \u{202e}");
    *audit.verified.lock() = Verified::Done(Box::new(report));
    let session = "/path/session?session=s%E2%80%AEx%C2%9B&account=default";
    for path in ["/path/", session, "/path/verification", "/path/session?session=%E2%80%AE&account=default"] {
        let (_, _, page) = ask(&audit, path, HOST, Some("audit-8898=cookie")).await;
        assert!(!page.contains(['\u{202e}', '\u{9b}']) && page.contains("202e"), "{path}: {page}");
    }
    let (status, _, page) = ask(&audit, session, HOST, Some("audit-8898=cookie")).await;
    assert!(status == StatusCode::OK && page.contains("This session: planted"), "{page}");
    let (_, _, front) = ask(&audit, "/path/", HOST, Some("audit-8898=cookie")).await;
    assert!(front.contains("href=\"session?session=s%E2%80%AEx%C2%9B&#38;account=default"), "{front}");
}
