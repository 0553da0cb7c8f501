//! Tests of verified senders over real sockets: tokens of an identity provider, and users with credentials of their own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tonic::Code;

use super::clients::{ask, ask_over_tls, knobs};
use super::support::{Answer, Knobs, Rig};
use super::{OtlpReceiverConfig, Refused, WAYS, Way, check_refused};
use crate::http_ports::auth::AuthSettings;
use fakes::oidc::{Key, Provider, claims, keys_of, now};
use pipeline::ClientIdentity;

/// `auth` as a user writes it.
fn read(auth: &Value) -> Result<AuthSettings, String> {
    let config: OtlpReceiverConfig =
        serde_json::from_value(json!({ "auth": auth })).map_err(|error| error.to_string())?;
    config.settings().map(|settings| settings.auth.expect("auth")).map_err(|problems| format!("{problems:?}"))
}

fn with_provider(provider: &Provider, identity: &Value) -> AuthSettings {
    let oidc = json!({ "issuer": provider.issuer, "audience": "tollgate", "account": "acme" });
    read(&json!({ "oidc": oidc, "identity": identity })).expect("valid")
}

/// The user, tenant and groups of each request that was taken.
fn senders(rig: &Rig) -> Vec<(String, String, String)> {
    let requests = rig.engine.requests.lock();
    let of_request = |identity: &ClientIdentity| match identity {
        ClientIdentity::Verified(ids) => {
            let id = |id: &Option<std::sync::Arc<str>>| id.as_deref().unwrap_or("-").to_owned();
            (id(&ids.user), id(&ids.tenant), ids.groups.join(" "))
        }
        other => (format!("{other:?}"), String::new(), String::new()),
    };
    requests.iter().map(|request| of_request(&request.identity)).collect()
}

async fn send_token(rig: &Rig, way: Way, token: &str) -> Answer {
    ask(rig, way, &[&format!("Bearer {token}")]).await
}

fn text(way: Way, answer: &Answer) -> String {
    match way {
        Way::Grpc => answer.grpc().message().to_owned(),
        _ => String::from_utf8_lossy(&answer.body).into_owned(),
    }
}

/// The claims of a valid token are the sender's user, tenant and groups, whatever the protocol.
#[tokio::test]
async fn claims_tell_the_sender() {
    let key = Key::new("k1");
    let provider = Provider::new(keys_of(&[&key]));
    let identity = json!({ "user": "email", "tenant": "org", "groups": "groups" });
    let rig = Rig::with(knobs(with_provider(&provider, &identity))).await;
    let ann = json!({ "email": "ann@corp.example", "email_verified": true, "org": "corp", "groups": ["dev", "ops"] });
    let token = key.sign(&claims(&provider.issuer, ann));
    for way in WAYS {
        assert_eq!(send_token(&rig, way, &token).await.status, 200);
    }
    let ann = ("ann@corp.example".to_owned(), "corp".to_owned(), "dev ops".to_owned());
    assert_eq!(senders(&rig), vec![ann; WAYS.len()]);
    assert_eq!(rig.engine.accounts(), vec!["acme"; WAYS.len()]);
}

/// A token that is not valid is refused with 401, and one whose claims can't be used with 403 and the claim's name, never
/// its value. Neither reaches the engine. (Shown to fail with ids that are cut instead of refused.)
#[tokio::test]
async fn unusable_tokens_are_refused() {
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    let provider = Provider::new(keys_of(&[&key]));
    let identity = json!({ "user": "email", "tenant": "org", "groups": "groups" });
    let rig = Rig::with(knobs(with_provider(&provider, &identity))).await;
    let with = |changes: Value| {
        let mut all = json!({ "email": "ann@corp.example", "email_verified": true, "org": "corp" });
        changes.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        claims(&provider.issuer, all)
    };
    let parts: Vec<String> = key.sign(&with(json!({}))).split('.').map(str::to_owned).collect();
    use base64::Engine as _;
    let none = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"k1"}"#);
    let unauthenticated = [
        key.sign(&with(json!({ "exp": now() - 90 }))),
        key.sign(&with(json!({ "aud": "else" }))),
        key.sign(&with(json!({ "iss": "https://evil.example" }))),
        other.sign(&with(json!({}))),
        format!("{none}.{}.", parts[1]),
        "not-a-token-of-a-provider".to_owned(),
    ];
    let long = "x".repeat(10 << 10);
    let forbidden = [
        (json!({ "email": null }), "`email` is missing"),
        (json!({ "email_verified": false }), "`email` is not confirmed"),
        (json!({ "email": long }), "`email` must have 1 to 256 bytes"),
        (json!({ "email": "a\nb" }), "`email` must have 1 to 256 bytes"),
        (json!({ "email": "" }), "`email` must have 1 to 256 bytes"),
        (json!({ "org": ["corp"] }), "`org` must be text"),
        (json!({ "groups": [1] }), "`groups` must be a list of texts"),
        (json!({ "groups": vec!["g"; 33] }), "`groups` must be at most 32 groups"),
    ];
    for way in WAYS {
        for token in &unauthenticated {
            let answer = send_token(&rig, way, token).await;
            check_refused(token, way, &answer, Refused { code: Code::Unauthenticated, http: 401, after: None });
        }
        for (changes, said) in &forbidden {
            let answer = send_token(&rig, way, &key.sign(&with(changes.clone()))).await;
            check_refused(said, way, &answer, Refused { code: Code::PermissionDenied, http: 403, after: None });
            let text = text(way, &answer);
            assert!(text.contains(said) && text.contains("auth.identity."), "{text}");
            assert!(!text.contains("xxxx") && !text.contains("corp"), "{text}");
        }
    }
    assert_eq!(rig.engine.accounts(), [""; 0]);
    let metrics = rig.meter.render();
    assert!(!metrics.contains("corp") && !metrics.contains("xxxx"), "{metrics}");
}

/// Without `required`, a token without a claim leaves the id to the items; a claim that is there must be usable. (Shown
/// to fail without the check of `email_verified`.)
#[tokio::test]
async fn claims_that_are_not_required() {
    let key = Key::new("k1");
    let provider = Provider::new(keys_of(&[&key]));
    let identity = json!({ "user": "email", "tenant": "org", "required": false });
    let rig = Rig::with(knobs(with_provider(&provider, &identity))).await;
    let send = async |changes: Value| {
        let token = key.sign(&claims(&provider.issuer, changes));
        send_token(&rig, Way::Json, &token).await.status.as_u16()
    };
    assert_eq!(send(json!({ "org": "corp" })).await, 200);
    assert_eq!(send(json!({})).await, 200);
    assert_eq!(send(json!({ "email": "ann@corp.example" })).await, 403, "not confirmed");
    let expected =
        [("-", "corp"), ("Unverified", "")].map(|(user, tenant)| (user.into(), tenant.into(), String::new()));
    assert_eq!(senders(&rig), expected);
}

/// While the provider was never reached, clients are asked to retry and nothing is let in; after a rotation, tokens of
/// the new key work without a restart.
#[tokio::test]
async fn a_provider_that_is_away_or_rotates() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let provider = Provider::new(keys_of(&[&old]));
    let rig = Rig::with(knobs(with_provider(&provider, &json!({})))).await;
    let token = |key: &Key| key.sign(&claims(&provider.issuer, json!({})));
    provider.state.is_away.store(true, Ordering::SeqCst);
    for way in WAYS {
        let answer = send_token(&rig, way, &token(&old)).await;
        let after = Some((Duration::from_secs(5), "5"));
        check_refused("away", way, &answer, Refused { code: Code::Unavailable, http: 503, after });
    }
    provider.state.is_away.store(false, Ordering::SeqCst);
    rig.clock.advance(Duration::from_secs(5));
    assert_eq!(send_token(&rig, Way::Json, &token(&old)).await.status, 200);
    *provider.state.keys.lock() = keys_of(&[&old, &new]);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(send_token(&rig, Way::Json, &token(&new)).await.status, 503, "it may be new: the client tries again");
    rig.clock.advance(Duration::from_secs(31));
    assert_eq!(send_token(&rig, Way::Json, &token(&new)).await.status, 200);
    provider.state.is_away.store(true, Ordering::SeqCst);
    rig.clock.advance(Duration::from_secs(7200));
    assert_eq!(send_token(&rig, Way::Json, &token(&new)).await.status, 200, "known keys stay in use");
    let newest = Key::new("newest");
    assert_eq!(send_token(&rig, Way::Json, &token(&newest)).await.status, 503, "rotated while away: nothing is lost");
    provider.state.is_away.store(false, Ordering::SeqCst);
    rig.clock.advance(Duration::from_secs(31));
    assert_eq!(send_token(&rig, Way::Json, &token(&newest)).await.status, 401, "it is none of the provider's");
}

/// A user's token and certificate prove the same id, and so do the lines of a tokens file; other credentials prove an
/// account only.
#[tokio::test]
async fn users_with_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "acme cid-token-0123456789 user=cid@corp.example tenant=corp groups=dev,ops\n").unwrap();
    let pki = super::clients::Pki::new();
    let auth = json!({
        "tokens": { "acme": ["plain-token-0123456789"] },
        "users": { "ann": { "account": "acme", "tokens": ["ann-token-0123456789"], "tenant": "corp",
            "certificates": ["ann.acme.example"], "groups": ["dev"] } },
        "tokens_file": file, "tokens_file_users": true,
    });
    let config = json!({ "protocols": { "http": { "tls": { "cert_file": "c", "key_file": "k", "client_ca_file": "a" } } },
        "auth": auth });
    let config: OtlpReceiverConfig = serde_json::from_value(config).unwrap();
    let auth = config.settings().expect("valid").auth;
    let rig = Rig::with(Knobs { auth: auth.clone(), ..Knobs::default() }).await;
    for token in ["ann-token-0123456789", "cid-token-0123456789", "plain-token-0123456789"] {
        assert_eq!(send_token(&rig, Way::Grpc, token).await.status, 200);
    }
    let ann = ("ann".to_owned(), "corp".to_owned(), "dev".to_owned());
    let cid = ("cid@corp.example".to_owned(), "corp".to_owned(), "dev ops".to_owned());
    assert_eq!(senders(&rig), [ann.clone(), cid, ("Unverified".to_owned(), String::new(), String::new())]);
    let tls = Rig::with(Knobs { tls: Some(pki.settings(true)), auth, ..Knobs::default() }).await;
    let certificate = pki.authority.issue("ann.acme.example");
    let answer = ask_over_tls(&tls, Way::Grpc, &pki.authority, Some(certificate)).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!((senders(&tls), tls.engine.accounts()), (vec![ann], vec!["acme".to_owned()]));
}

/// What can't be meant is refused at load, with the key and without credentials; a tokens file names users only if the
/// configuration says that it may.
#[test]
fn identities_that_cannot_be_meant() {
    let oidc = json!({ "issuer": "https://id.example", "audience": "tollgate" });
    let token = "ann-token-0123456789";
    for (auth, path) in [
        (json!({ "identity": { "user": "sub" }, "tokens": { "a": [token] } }), "auth.identity"),
        (json!({ "oidc": { "issuer": "http://id.example", "audience": "tollgate" } }), "auth.oidc.issuer"),
        (json!({ "oidc": { "issuer": "https://id.example", "audience": "" } }), "auth.oidc.audience"),
        (json!({ "oidc": oidc, "identity": { "user": "" } }), "auth.identity.user"),
        (json!({ "users": { "ann": {} } }), "auth.users.ann"),
        (json!({ "users": { "ann": { "tokens": ["short"] } } }), "auth.users.ann.tokens"),
        (json!({ "users": { "ann": { "tokens": [token] } }, "tokens": { "a": [token] } }), "auth.users.ann"),
        (json!({ "users": { "ann": { "tokens": [token] }, "bob": { "tokens": [token] } } }), "auth.users.bob"),
        (json!({ "users": { "ann": { "tokens": [token], "tenant": "x".repeat(257) } } }), "auth.users.ann"),
        (json!({ "users": { "ann": { "certificates": ["ann.example"] } } }), "auth.users.ann.certificates"),
    ] {
        let problems = read(&auth).expect_err("refused");
        assert!(problems.contains(&format!("{path:?}")) && !problems.contains(token), "{path} in {problems}");
    }
    assert!(read(&json!({ "oidc": oidc, "identity": { "users": "sub" } })).is_err(), "an unknown key");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    for (line, is_allowed, said) in [
        ("a ann-token-0123456789 user=ann", false, "tokens_file_users"),
        ("a ann-token-0123456789 user=ann user=bob", true, "each once"),
        ("a ann-token-0123456789 ann", true, "may follow the token"),
        ("a ann-token-0123456789 user=", true, "1 to 256 bytes"),
        ("a ann-token-0123456789 user=ann\na ann-token-0123456789 user=bob", true, "another account or user"),
    ] {
        std::fs::write(&file, line).unwrap();
        let auth = read(&json!({ "tokens_file": file, "tokens_file_users": is_allowed })).expect("valid");
        let refused = auth.file_accounts().expect_err("refused").to_string();
        assert!(refused.contains(said) && !refused.contains("0123"), "{said} in {refused}");
    }
}
