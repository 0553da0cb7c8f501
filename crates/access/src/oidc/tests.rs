//! Tokens and browser logins against a provider of our own. (`peers oidc` has the same against Dex.)

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::routing::any;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::client::{OidcClient, OidcRefusal};
use crate::access_control::{AccessControl, check_routes};
use fakes::oidc::{Key, Provider, claims, keys_of, now};
use kernel::clock::{Clock as _, ManualClock, SystemClock};
use kernel::sha256::Sha256;
use net::SharedServices;
use net::oidc::{SigningKeys, TokenFault, verify_token};
use telemetry::Meter;
use telemetry::admin::auth::KnownClient;
use telemetry::admin::roles::{Role, RoleSet};
use telemetry::admin::{AdminConfig, guard_routes};

const ISSUER: &str = "https://issuer.example";

/// A token is accepted only if its signature and each of its claims are right. (Shown to fail without the check of
/// `nbf`, of missing claims and of `crit`.)
#[test]
fn tokens_are_verified() {
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    let keys = SigningKeys::parse(keys_of(&[&key]).to_string().as_bytes()).unwrap();
    let verify = |token: &str| verify_token(token, &keys, ISSUER, "tollgate").map(drop);
    let with = |changes: Value| verify(&key.sign(&claims(ISSUER, changes)));
    assert_eq!(with(json!({})), Ok(()));
    assert_eq!(with(json!({ "aud": ["else", "tollgate"] })), Ok(()));
    // a minute of leeway
    assert_eq!(with(json!({ "exp": now() - 30, "nbf": now() + 30 })), Ok(()));
    for changes in [
        json!({ "exp": now() - 90 }),
        json!({ "exp": null }),
        json!({ "nbf": now() + 90 }),
        json!({ "aud": "else" }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "iss": "https://issuer.example/" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": null }),
        json!({ "iss": ["https://evil.example", ISSUER] }),
        json!({ "iss": [ISSUER] }),
        json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
    ] {
        assert_eq!(with(changes.clone()), Err(TokenFault::Invalid), "{changes}");
    }
    let good = key.sign(&claims(ISSUER, json!({})));
    assert_eq!(verify(&other.sign(&claims(ISSUER, json!({})))), Err(TokenFault::Invalid), "another key of this id");
    let unknown = Key::new("k2").sign(&claims(ISSUER, json!({})));
    assert_eq!(verify(&unknown), Err(TokenFault::UnknownKey));
    let parts: Vec<&str> = good.split('.').collect();
    let forged = BASE64_URL_SAFE_NO_PAD.encode(claims(ISSUER, json!({ "groups": ["admins"] })).to_string());
    for token in [
        format!("{}.{forged}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.x"),
        String::new(),
        "..".to_owned(),
        "a".repeat(1 << 20),
    ] {
        assert_ne!(verify(&token), Ok(()), "{}", token.len());
    }
    // without a signature, and with the public key as the secret of a symmetric one
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"k1"}"#);
    assert_eq!(verify(&format!("{none}.{}.", parts[1])), Err(TokenFault::Invalid));
    let symmetric = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
    for secret in [key.public["x"].as_str().unwrap().to_owned(), key.public.to_string()] {
        let token = encode(&symmetric, &claims(ISSUER, json!({})), &EncodingKey::from_secret(secret.as_bytes()));
        assert_eq!(verify(&token.unwrap()), Err(TokenFault::Invalid));
    }
    // a token of another type, and a key for another algorithm
    for (token_type, is_accepted) in
        [("JWT", true), ("at+jwt", true), ("application/at+JWT", true), ("logout+jwt", false), ("", false)]
    {
        let typed = Header { typ: Some(token_type.to_owned()), ..key.header() };
        let token = encode(&typed, &claims(ISSUER, json!({})), &key.encoding).unwrap();
        assert_eq!(verify(&token).is_ok(), is_accepted, "{token_type}");
    }
    for (algorithm, is_accepted) in [("ES256", true), ("ES384", false), ("RSA-OAEP", false), ("new", false)] {
        let mut public = key.public.clone();
        public["alg"] = json!(algorithm);
        let keys = SigningKeys::parse(json!({ "keys": [public] }).to_string().as_bytes()).unwrap();
        assert_eq!(verify_token(&good, &keys, ISSUER, "tollgate").is_ok(), is_accepted, "{algorithm}");
    }
    // an extension that must be understood, rightly signed, and an algorithm for another kind of key
    let critical = Header { crit: Some(vec!["b64".to_owned()]), ..key.header() };
    let token = encode(&critical, &claims(ISSUER, json!({})), &key.encoding).unwrap();
    assert_eq!(verify(&token), Err(TokenFault::Invalid));
    for changed in [json!({ "alg": "RS256", "kid": "k1" }), json!({ "alg": "EdDSA", "kid": "k1" })] {
        let head = BASE64_URL_SAFE_NO_PAD.encode(changed.to_string());
        assert_eq!(verify(&format!("{head}.{}.{}", parts[1], parts[2])), Err(TokenFault::Invalid), "{changed}");
    }
}

/// Without a key id, a token is accepted only if there is one key.
#[test]
fn a_token_without_a_key_id() {
    let (key, other) = (Key::new("k1"), Key::new("k2"));
    let token = encode(&Header::new(Algorithm::ES256), &claims(ISSUER, json!({})), &key.encoding).unwrap();
    let verify = |keys: Value| {
        let keys = SigningKeys::parse(keys.to_string().as_bytes()).unwrap();
        verify_token(&token, &keys, ISSUER, "tollgate").is_ok()
    };
    assert!(verify(json!({ "keys": [key.public] })));
    assert!(!verify(json!({ "keys": [key.public, other.public] })));
    assert!(!verify(json!({ "keys": [] })));
    for body in ["", "[]", "{}", r#"{"keys": 1}"#] {
        assert!(SigningKeys::parse(body.as_bytes()).is_none(), "{body}");
    }
}

/// A client of this provider, on a clock that a test moves.
struct Setup {
    client: Arc<OidcClient>,
    config: AdminConfig,
    clock: Arc<ManualClock>,
}

fn start_client(issuer: &str, changes: Value) -> Setup {
    let mut oidc = json!({
        "issuer": issuer, "client_id": "tollgate",
        "roles": {
            "scraper": ["prometheus"], "viewer": ["staff"],
            "operator": ["ops", "both@example.com"], "tapper": ["tap", "both@example.com"],
        },
    });
    for (name, value) in changes.as_object().unwrap() {
        oidc[name] = value.clone();
    }
    let config =
        json!({ "public_url": "https://gate.example", "allowed_hosts": ["gate.example"], "auth": { "oidc": oidc } });
    let config: AdminConfig = serde_json::from_value(config).unwrap();
    let settings = config.settings().unwrap().auth.unwrap().oidc.unwrap();
    let clock = ManualClock::at(SystemClock::new().now());
    let services = SharedServices { clock: Arc::clone(&clock) as _, ..net::testing::services() };
    Setup { client: Arc::new(OidcClient::build(settings, services).unwrap()), config, clock }
}

fn names(roles: RoleSet) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| roles.has(*role)).collect()
}

/// Groups have the roles of the configuration; unknown groups, other claims and unverified addresses have none.
#[tokio::test]
async fn groups_have_roles() {
    let key = Key::new("k1");
    let provider = Provider::new(keys_of(&[&key]));
    let roles = async |settings: Value, changes: Value| {
        let setup = start_client(&provider.issuer, settings);
        names(setup.client.find_token_client(&key.sign(&claims(&provider.issuer, changes))).await.unwrap().roles)
    };
    use Role::{Operator, Scraper, Tapper, Viewer};
    assert_eq!(roles(json!({}), json!({})).await, [Scraper, Viewer, Operator]);
    assert_eq!(roles(json!({}), json!({ "groups": "tap" })).await, [Scraper, Viewer, Tapper]);
    assert_eq!(roles(json!({}), json!({ "groups": ["else", "staff", 7] })).await, [Scraper, Viewer]);
    assert_eq!(roles(json!({}), json!({ "groups": ["prometheus"] })).await, [Scraper]);
    for nothing in [json!([]), json!(["else"]), json!(null), json!({ "ops": true }), json!(7)] {
        assert_eq!(roles(json!({}), json!({ "groups": nothing })).await, [], "{nothing}");
    }
    let email = json!({ "groups_claim": "email" });
    let user = |verified: Value| json!({ "email": "both@example.com", "email_verified": verified });
    assert_eq!(roles(email.clone(), user(json!(true))).await, Role::ALL);
    assert_eq!(roles(email.clone(), user(json!(false))).await, []);
    assert_eq!(roles(email, user(json!("true"))).await, []);
    let audience = json!({ "audience": "tollgate-api" });
    assert_eq!(roles(audience.clone(), json!({ "aud": "tollgate-api" })).await, [Scraper, Viewer, Operator]);
    let other = start_client(&provider.issuer, audience);
    let refused = other.client.find_token_client(&key.sign(&claims(&provider.issuer, json!({})))).await;
    assert_eq!(refused, Err(OidcRefusal::Invalid), "the audience of the login is not that of tokens");
}

/// Keys are fetched once, again for an unknown key at most every 30 s and after an hour, and stay in use while the
/// provider is away. Before the first fetch nothing is accepted.
#[tokio::test]
async fn keys_are_fetched_again() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let provider = Provider::new(keys_of(&[&old]));
    let setup = start_client(&provider.issuer, json!({}));
    let ask = async |key: &Key| {
        let token = key.sign(&claims(&provider.issuer, json!({})));
        setup.client.find_token_client(&token).await.map(drop)
    };
    assert_eq!(setup.client.find_token_client("no token of a provider").await, Err(OidcRefusal::Invalid));
    assert_eq!(provider.fetches(), 0);
    provider.state.is_away.store(true, Ordering::SeqCst);
    assert_eq!(ask(&old).await, Err(OidcRefusal::Unavailable));
    provider.state.is_away.store(false, Ordering::SeqCst);
    assert_eq!(ask(&old).await, Err(OidcRefusal::Unavailable), "not at once again");
    setup.clock.advance(Duration::from_secs(2));
    assert_eq!(ask(&old).await, Ok(()));
    assert_eq!(ask(&old).await, Ok(()));
    assert_eq!(provider.fetches(), 1);
    *provider.state.keys.lock() = keys_of(&[&old, &new]);
    setup.clock.advance(Duration::from_secs(1));
    for _ in 0..5 {
        assert_eq!(ask(&new).await, Err(OidcRefusal::UnknownKey), "a flood of unknown keys asks no more");
    }
    assert_eq!(provider.fetches(), 1);
    setup.clock.advance(Duration::from_secs(30));
    assert_eq!((ask(&new).await, ask(&old).await), (Ok(()), Ok(())));
    assert_eq!(provider.fetches(), 2);
    provider.state.is_away.store(true, Ordering::SeqCst);
    setup.clock.advance(Duration::from_secs(7200));
    assert_eq!((ask(&new).await, ask(&old).await), (Ok(()), Ok(())), "the provider is away");
    provider.state.is_away.store(false, Ordering::SeqCst);
    *provider.state.keys.lock() = keys_of(&[&new]);
    setup.clock.advance(Duration::from_secs(30));
    assert_eq!((ask(&new).await, ask(&old).await), (Ok(()), Err(OidcRefusal::Invalid)), "the old key was withdrawn");
    // what is not understood replaces nothing
    for broken in [json!({}), json!([]), json!({ "keys": "x".repeat(600 << 10) })] {
        *provider.state.keys.lock() = broken;
        setup.clock.advance(Duration::from_secs(7200));
        assert_eq!(ask(&new).await, Ok(()));
    }
}

/// A discovery document of another issuer, or one with an address without TLS, is not used.
#[tokio::test]
async fn a_false_discovery_document_is_refused() {
    let key = Key::new("k1");
    let provider = Provider::new(keys_of(&[&key]));
    *provider.state.claimed_issuer.lock() = Some("https://evil.example".to_owned());
    let setup = start_client(&provider.issuer, json!({}));
    let token = key.sign(&claims("https://evil.example", json!({})));
    assert_eq!(setup.client.find_token_client(&token).await, Err(OidcRefusal::Unavailable));
}

/// A person's ids are the provider's id and the verified address: an address that anybody may enter opens nothing of
/// its owner. (Shown to fail without the check.)
#[tokio::test]
async fn only_a_verified_address_is_an_id() {
    let key = Key::new("k1");
    let provider = Provider::new(keys_of(&[&key]));
    let setup = start_client(&provider.issuer, json!({}));
    let address = |verified: Value| json!({ "email": "ada@example.com", "email_verified": verified });
    for (changes, expected) in [
        (address(json!(true)), &["someone", "ada@example.com"][..]),
        (address(json!(false)), &["someone"]),
        (address(json!("true")), &["someone"]),
        (json!({ "email": "ada@example.com" }), &["someone"]),
        (json!({ "sub": "someone ada@example.com" }), &["someone ada@example.com"]),
        (json!({ "sub": "", "email": "", "email_verified": true }), &[]),
    ] {
        let token = key.sign(&claims(&provider.issuer, changes.clone()));
        assert_eq!(setup.client.find_token_client(&token).await.unwrap().user_ids, expected, "{changes}");
    }
}

/// A port with these routes of pages behind the guard and the check of roles, as the gateway builds it.
fn port(setup: &Setup) -> Router {
    let settings = setup.config.settings().unwrap();
    let pages = Router::new().route("/runs", any(async || "runs")).route("/-/reload", any(async || "reloads"));
    let access = AccessControl::new(settings.auth, None, Some(Arc::clone(&setup.client)), &Meter::new());
    guard_routes(check_routes(pages, access), settings.allowed_hosts)
}

/// A request of a browser: status, headers and text.
async fn browse(setup: &Setup, method: Method, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
    let mut request = Request::builder().method(method).uri(path).header("host", "gate.example");
    request = request.header("accept", "text/html,*/*");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = port(setup).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (answer.status(), answer.headers().clone())
}

/// The value of a cookie that an answer sets.
fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let set = headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap());
    let value = set.filter_map(|value| value.strip_prefix(name)?.strip_prefix('=')).next()?;
    assert!(value.contains("; Path=/; HttpOnly; SameSite=Lax; Max-Age=") && value.ends_with("; Secure"), "{value}");
    value.split(';').next().map(str::to_owned)
}

fn location(headers: &HeaderMap) -> String {
    headers.get(header::LOCATION).unwrap().to_str().unwrap().to_owned()
}

/// A parameter of an address, decoded.
fn parameter(address: &str, name: &str) -> String {
    let found = address.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    percent_encoding::percent_decode_str(found.unwrap()).decode_utf8().unwrap().into_owned()
}

/// A login that has begun: the browser's cookie and the provider's address.
async fn begin(setup: &Setup, path: &str) -> (String, String) {
    let (status, headers) = browse(setup, Method::GET, path, &[]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    (cookie_of(&headers, "__Host-tollgate-login").unwrap(), location(&headers))
}

/// The verifier of a login can be computed only by the gateway: a provider would remember its hash.
fn expect_exchange(setup: &Setup, provider: &Provider, cookie: &str, address: &str, token: &str) {
    let verifier = setup.client.derive("verifier", cookie);
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    assert_eq!(parameter(address, "code_challenge"), challenge);
    assert_eq!(parameter(address, "code_challenge_method"), "S256");
    let verifier = verifier.replace('-', "%2D").replace('_', "%5F");
    let form = format!(
        "grant_type=authorization%5Fcode&code=the%2Dcode&redirect_uri=https%3A%2F%2Fgate%2Eexample%2Fcallback&code_verifier={verifier}&client_id=tollgate"
    );
    *provider.state.exchange.lock() = Some((form, token.to_owned()));
}

/// A browser without a session is sent to the provider and comes back with one, to the page it asked for. The session
/// reads; a change also needs a sign that the port's own page sent it. A session ends.
#[tokio::test]
async fn a_browser_logs_in() {
    let key = Key::new("k1");
    let provider = Provider::new(keys_of(&[&key]));
    let setup = start_client(&provider.issuer, json!({}));
    let (status, headers) = browse(&setup, Method::GET, "/runs?since=1h", &[]).await;
    assert_eq!((status, &*location(&headers)), (StatusCode::SEE_OTHER, "/login?next=%2Fruns%3Fsince%3D1h"));
    let (cookie, address) = begin(&setup, &location(&headers)).await;
    assert!(address.starts_with(&format!("{}/auth?response_type=code&client_id=tollgate&", provider.issuer)));
    let (state, nonce) = (parameter(&address, "state"), parameter(&address, "nonce"));
    assert!(state != nonce && state.len() == 43);
    let token = key.sign(&claims(&provider.issuer, json!({ "nonce": nonce })));
    expect_exchange(&setup, &provider, &cookie, &address, &token);
    let callback = format!("/callback?code=the-code&state={state}");
    let with_cookie = format!("other=1; __Host-tollgate-login={cookie}");
    let (status, headers) = browse(&setup, Method::GET, &callback, &[("cookie", &with_cookie)]).await;
    assert_eq!((status, &*location(&headers)), (StatusCode::SEE_OTHER, "/runs?since=1h"));
    assert_eq!(cookie_of(&headers, "__Host-tollgate-login").as_deref(), Some(""), "used up");
    let session = format!("__Host-tollgate={}", cookie_of(&headers, "__Host-tollgate").unwrap());
    let own = ("cookie", &*session);
    assert_eq!(browse(&setup, Method::GET, "/runs", &[own]).await.0, StatusCode::OK);
    for (more, expected) in [
        (&[][..], StatusCode::FORBIDDEN),
        (&[("origin", "https://gate.example")], StatusCode::FORBIDDEN),
        (&[("origin", "https://evil.example"), ("x-tollgate-csrf", "1")], StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "cross-site"), ("x-tollgate-csrf", "1")], StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "none")], StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "same-origin")], StatusCode::OK),
        (&[("origin", "https://gate.example"), ("x-tollgate-csrf", "1")], StatusCode::OK),
    ] {
        let (status, _) = browse(&setup, Method::POST, "/-/reload", &[&[own], more].concat()).await;
        assert_eq!(status, expected, "{more:?}");
    }
    // a header alone decides, a cookie that is sent twice is none, and neither is a guessed one
    let wrong = [own, ("authorization", "Bearer a.b.c")];
    assert_eq!(browse(&setup, Method::GET, "/runs", &wrong).await.0, StatusCode::UNAUTHORIZED);
    let twice = format!("{session}; {session}");
    for cookie in [&*twice, "__Host-tollgate=", "__Host-tollgate=x", "tollgate=x"] {
        assert_eq!(browse(&setup, Method::GET, "/runs", &[("cookie", cookie)]).await.0, StatusCode::SEE_OTHER);
    }
    let program = [("accept", "application/json")];
    let answer =
        port(&setup).oneshot(Request::get("/runs").header(program[0].0, program[0].1).body(Body::empty()).unwrap());
    assert_eq!(answer.await.unwrap().status(), StatusCode::UNAUTHORIZED);
    setup.clock.advance(Duration::from_secs(590));
    assert_eq!(browse(&setup, Method::GET, "/runs", &[own]).await.0, StatusCode::OK);
    setup.clock.advance(Duration::from_secs(11));
    assert_eq!(browse(&setup, Method::GET, "/runs", &[own]).await.0, StatusCode::SEE_OTHER, "its token has expired");
}

/// A session ends with its logout, and after eight hours although its token is valid longer.
#[tokio::test]
async fn a_session_ends() {
    let user = || KnownClient { roles: RoleSet::ALL, name: "u-17".to_owned(), user_ids: Vec::new() };
    let (sessions, start) = (crate::sessions::SessionTable::default(), 1_000_000);
    sessions.insert("a", user(), start, Some(start + 1_000_000));
    assert_eq!(sessions.find_client("a", start + 8 * 3600 - 1), Some(user()));
    assert_eq!(sessions.find_client("a", start + 8 * 3600), None);
    assert_eq!(sessions.find_client("a", start - 1), None, "the clock was set back");
    sessions.remove("a");
    assert_eq!(sessions.find_client("a", start), None);
    sessions.insert("expired", user(), start, Some(start));
    assert_eq!(sessions.find_client("expired", start), None);
    // the one that ends first makes room, of the same user if that has many (shown to fail without this bound)
    let named = |name: u64| KnownClient { name: name.to_string(), ..user() };
    sessions.insert("operator", user(), start, Some(start + 50));
    for number in 0..2000 {
        sessions.insert(&number.to_string(), named(0), start, Some(start + 100 + number));
    }
    assert_eq!(sessions.find_client("operator", start), Some(user()));
    assert_eq!(sessions.find_client("1979", start), None);
    assert_eq!(sessions.find_client("1980", start), Some(named(0)));
    for number in 0..1000 {
        sessions.insert(&number.to_string(), named(1 + number / 20), start, Some(start + 100 + number));
    }
    assert_eq!(sessions.find_client("operator", start), None);
    assert_eq!(sessions.find_client("999", start), Some(named(50)));
    // the people who share a secret have no end of a token, and don't end each other's sessions (shown to fail)
    for number in 0..1000 {
        sessions.insert(&format!("shared {number}"), user(), start + number, None);
    }
    assert_eq!(sessions.find_client("shared 0", start + 1000), Some(user()));
    sessions.insert("one more", user(), start + 1000, None);
    assert_eq!(sessions.find_client("shared 0", start + 1000), None, "the bound of the port");
    let provider = Provider::new(json!({}));
    let setup = start_client(&provider.issuer, json!({}));
    setup.client.sessions.table.insert("mine", user(), now(), Some(u64::MAX));
    let own = ("cookie", "__Host-tollgate=mine");
    assert_eq!(browse(&setup, Method::GET, "/runs", &[own]).await.0, StatusCode::OK);
    let foreign = [own, ("sec-fetch-site", "cross-site")];
    assert_eq!(browse(&setup, Method::POST, "/logout", &foreign).await.0, StatusCode::FORBIDDEN);
    assert_eq!(browse(&setup, Method::GET, "/runs", &[own]).await.0, StatusCode::OK);
    assert_eq!(browse(&setup, Method::POST, "/logout", &[own]).await.0, StatusCode::OK);
    assert_eq!(browse(&setup, Method::GET, "/runs", &[own]).await.0, StatusCode::SEE_OTHER);
}

/// A login can be ended only by the browser that began it, with the provider's own answer to it; and it leads to no
/// other host.
#[tokio::test]
async fn a_login_belongs_to_its_browser() {
    let key = Key::new("k1");
    let provider = Provider::new(keys_of(&[&key]));
    let setup = start_client(&provider.issuer, json!({}));
    let finish_at = async |path: &str, cookie: &str, state: &str, claims: Value| {
        let (own, address) = begin(&setup, path).await;
        let (cookie, state) = (cookie.replace("OWN", &own), state.replace("OWN", &parameter(&address, "state")));
        let mut claims = super::tests::claims(&provider.issuer, claims);
        if claims["nonce"].is_null() {
            claims["nonce"] = parameter(&address, "nonce").into();
        }
        expect_exchange(&setup, &provider, &own, &address, &key.sign(&claims));
        let path = format!("/callback?code=the-code&state={state}");
        let (status, headers) = browse(&setup, Method::GET, &path, &[("cookie", &cookie)]).await;
        assert_eq!(cookie_of(&headers, "__Host-tollgate").is_some(), status == StatusCode::SEE_OTHER);
        (status, headers)
    };
    let finish = async |cookie: &str, state: &str, claims: Value| finish_at("/login", cookie, state, claims).await.0;
    let (other, other_address) = begin(&setup, "/login").await;
    let own = "__Host-tollgate-login=OWN";
    assert_eq!(finish(own, "OWN", json!({})).await, StatusCode::SEE_OTHER);
    assert_eq!(finish("", "OWN", json!({})).await, StatusCode::BAD_REQUEST, "no cookie");
    let theirs = format!("__Host-tollgate-login={other}");
    assert_eq!(finish(&theirs, "OWN", json!({})).await, StatusCode::BAD_REQUEST, "another browser's cookie");
    let state = parameter(&other_address, "state");
    assert_eq!(finish(own, &state, json!({})).await, StatusCode::BAD_REQUEST, "another login's state");
    assert_eq!(finish(own, "", json!({})).await, StatusCode::BAD_REQUEST);
    for changes in [
        json!({ "nonce": "of another login" }),
        json!({ "aud": "else" }),
        json!({ "aud": ["tollgate", "else"] }),
        json!({ "azp": "else" }),
        json!({ "exp": now() - 90 }),
        json!({ "groups": ["else"] }),
    ] {
        assert_eq!(finish(own, "OWN", changes.clone()).await, StatusCode::FORBIDDEN, "{changes}");
    }
    let (cookie, address) = begin(&setup, "/login").await;
    let with_cookie = format!("__Host-tollgate-login={cookie}");
    for path in ["/callback?error=access_denied", "/callback?code=wrong"] {
        let path = format!("{path}&state={}", parameter(&address, "state"));
        let (status, _) = browse(&setup, Method::GET, &path, &[("cookie", &with_cookie)]).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    for next in ["//evil.example", "https://evil.example", "/%5Cevil.example", "%5C%5Cevil", "/%0d%0ax:y", "x", ""] {
        let (_, headers) = finish_at(&format!("/login?next={next}"), own, "OWN", json!({})).await;
        assert_eq!(location(&headers), "/", "{next}");
    }
}

/// Bearer tokens of the provider work beside configured ones, and need their role.
#[tokio::test]
async fn bearer_tokens_of_the_provider() {
    let key = Key::new("k1");
    let provider = Provider::new(keys_of(&[&key]));
    let setup = start_client(&provider.issuer, json!({}));
    let ask = async |groups: Value, method: Method, path: &str| {
        let token = key.sign(&claims(&provider.issuer, json!({ "groups": groups })));
        browse(&setup, method, path, &[("authorization", &format!("Bearer {token}"))]).await.0
    };
    assert_eq!(ask(json!(["ops"]), Method::POST, "/-/reload").await, StatusCode::OK);
    assert_eq!(ask(json!(["staff"]), Method::POST, "/-/reload").await, StatusCode::FORBIDDEN);
    assert_eq!(ask(json!(["staff"]), Method::GET, "/runs").await, StatusCode::OK);
    assert_eq!(ask(json!(["else"]), Method::GET, "/runs").await, StatusCode::FORBIDDEN);
    provider.state.is_away.store(true, Ordering::SeqCst);
    let never_fetched = start_client(&provider.issuer, json!({}));
    let token = key.sign(&claims(&provider.issuer, json!({})));
    let header = format!("Bearer {token}");
    let (status, _) = browse(&never_fetched, Method::GET, "/runs", &[("authorization", &header)]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browse(&never_fetched, Method::GET, "/login", &[]).await.0, StatusCode::BAD_GATEWAY);
}
