//! Mutes of the configuration, and mutes requested at run time.

use super::*;

/// Alerts that are muted by rule, by tenant or for a while, and alerts below the severity, are not sent, even after the
/// mute ends.
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
    scene.raise(Alert { severity: AlertSeverity::Warning, ..alert("tool_retries", "r-4", START) });
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

async fn asked(scene: &Scene, method: &str, path: &str, body: &str) -> (u16, Value) {
    let router = routes::router(Some(Arc::clone(&scene.notify)));
    let request = http::Request::builder().method(method).uri(path).body(axum::body::Body::from(body.to_owned()));
    let answer = tower::ServiceExt::oneshot(router, request.unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// A mute can be requested for a rule, a tenant and a duration; it survives a restart and ends by itself or by request;
/// invalid requests are refused.
#[tokio::test(flavor = "multi_thread")]
async fn quiet_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let config = json!({"url": url});
    let first = scene(folder.path(), config.clone());
    let place = "/api/alerts/limit_hit/mute";
    let (status, now) = asked(&first, "POST", place, r#"{"for": "2h", "tenant": "acme"}"#).await;
    assert_eq!((status, now["mute"][0]["tenant"].as_str()), (200, Some("acme")), "{now}");
    for (path, body) in [
        ("/api/alerts/nonsense/mute", r#"{"for": "2h"}"#),
        (place, r#"{"for": "31d"}"#),
        (place, r#"{"for": "0s"}"#),
        (place, r#"{"for": "long"}"#),
        (place, r#"{"tenant": "acme"}"#),
        (place, r#"{"for": "2h", "tenant": ""}"#),
        (place, ""),
    ] {
        assert_eq!(asked(&first, "POST", path, body).await.0, 400, "{path} {body}");
    }
    first.raise(alert("limit_hit", "r-1", START));
    assert!(first.look().await);
    first.counted("muted", 1);
    let second = scene(folder.path(), config);
    second.raise(alert("limit_hit", "r-2", START + 1));
    second.raise(Alert { tenant: Some("globex".into()), ..alert("limit_hit", "r-3", START + 1) });
    assert!(second.look().await);
    second.counted("muted", 1);
    assert_eq!(came.lock().len(), 1);
    assert_eq!(asked(&second, "DELETE", place, "").await.0, 400, "that of a tenant is ended with its name");
    assert_eq!(asked(&second, "DELETE", "/api/alerts/limit_hit/mute?tenant=acme", "").await.1["mute"], json!([]));
    assert_eq!(asked(&second, "POST", "/api/alerts/*/mute", r#"{"for": "1h"}"#).await.0, 200);
    second.raise(alert("iteration_ceiling", "r-4", START + 2));
    assert!(second.look().await);
    second.counted("muted", 2);
    second.clock.now.store(61 * MINUTE, Ordering::Relaxed);
    second.raise(alert("iteration_ceiling", "r-5", START + 61 * MINUTE));
    assert!(second.look().await);
    assert_eq!(came.lock().len(), 2, "it ended by itself");
}

/// Test messages can't be used to flood a chat.
#[tokio::test]
async fn a_test_in_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = stub(&[]).await;
    let scene = scene(folder.path(), json!({"url": url}));
    assert_eq!(asked(&scene, "POST", "/api/alerts/test", "").await.0, 200);
    assert_eq!(asked(&scene, "POST", "/api/alerts/test", "").await.0, 429);
    scene.clock.now.store(3_000_000_000, Ordering::Relaxed);
    assert_eq!(asked(&scene, "POST", "/api/alerts/test", "").await.0, 200);
    assert_eq!(came.lock().len(), 2);
    // After a failed test message, another may be sent at once.
    let (url, _) = stub(&["404 X"]).await;
    let mended = self::scene(folder.path(), json!({"url": url}));
    assert_eq!(asked(&mended, "POST", "/api/alerts/test", "").await.0, 502);
    assert_eq!(asked(&mended, "POST", "/api/alerts/test", "").await.0, 200);
}
