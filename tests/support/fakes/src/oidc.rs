//! An OpenID Connect provider: its discovery document, its keys and its tokens. A test changes its keys, and takes it
//! away.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A signing key of a provider.
pub struct Key {
    id: String,
    pub encoding: EncodingKey,
    pub public: Value,
}

impl Key {
    pub fn new(id: &str) -> Self {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..65]].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        let public = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": x, "y": y });
        Self { id: id.to_owned(), encoding: EncodingKey::from_ec_der(made.as_ref()), public }
    }

    pub fn header(&self) -> Header {
        Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) }
    }

    pub fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.encoding).unwrap()
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of a valid token, with these changes.
pub fn claims(issuer: &str, changes: Value) -> Value {
    let mut claims = json!({
        "iss": issuer, "aud": "tollgate", "sub": "someone", "exp": now() + 600, "iat": now(), "groups": ["ops"],
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

pub fn keys_of(keys: &[&Key]) -> Value {
    // a key for encryption and one of an unknown kind are no reason to refuse the others
    let mut all =
        vec![json!({ "kty": "new", "kid": "x" }), json!({ "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB" })];
    all.extend(keys.iter().map(|key| key.public.clone()));
    json!({ "keys": all })
}

/// An identity provider on a port of its own.
pub struct Provider {
    pub issuer: String,
    pub state: Arc<ProviderState>,
}

#[derive(Default)]
pub struct ProviderState {
    /// The answer at the address of the keys.
    pub keys: Mutex<Value>,
    /// The issuer in the discovery document, if not the right one.
    pub claimed_issuer: Mutex<Option<String>>,
    /// The form of a code exchange that is expected, and the ID token for it.
    pub exchange: Mutex<Option<(String, String)>>,
    pub is_away: AtomicBool,
    pub fetches: AtomicUsize,
}

impl Provider {
    pub fn new(keys: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}/dex", listener.local_addr().unwrap());
        let state = Arc::new(ProviderState { keys: Mutex::new(keys), ..ProviderState::default() });
        let (served, serving_issuer) = (Arc::clone(&state), issuer.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                served.answer(&serving_issuer, &mut stream.unwrap());
            }
        });
        Self { issuer, state }
    }

    pub fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }
}

impl ProviderState {
    fn answer(&self, issuer: &str, stream: &mut TcpStream) {
        let mut text = String::new();
        let mut part = [0; 4096];
        loop {
            let length = stream.read(&mut part).unwrap_or(0);
            text.push_str(std::str::from_utf8(&part[..length]).unwrap());
            let body = text.split_once("\r\n\r\n").map(|(head, body)| (head.to_lowercase(), body.len()));
            let wanted = |head: &str| {
                head.split("content-length: ")
                    .nth(1)
                    .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap())
            };
            if length == 0 || body.is_some_and(|(head, length)| length >= wanted(&head)) {
                break;
            }
        }
        if self.is_away.load(Ordering::SeqCst) {
            return;
        }
        let path = text.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match path {
            "/dex/.well-known/openid-configuration" => {
                self.fetches.fetch_add(1, Ordering::SeqCst);
                let claimed = self.claimed_issuer.lock().clone().unwrap_or_else(|| issuer.to_owned());
                let at = |name: &str| format!("{issuer}/{name}");
                let document = json!({
                    "issuer": claimed, "authorization_endpoint": at("auth"), "token_endpoint": at("token"), "jwks_uri": at("keys"),
                });
                (200, document)
            }
            "/dex/keys" => (200, self.keys.lock().clone()),
            "/dex/token" => match self.exchange.lock().take() {
                Some((form, token)) if text.ends_with(&format!("\r\n\r\n{form}")) => {
                    (200, json!({ "id_token": token }))
                }
                _ => (400, json!({ "error": "invalid_grant" })),
            },
            _ => (404, json!({})),
        };
        let body = body.to_string();
        let length = body.len();
        let _ = write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    }
}
