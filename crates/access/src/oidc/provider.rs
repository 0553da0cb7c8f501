//! The identity provider: its discovery document and its keys, fetched when first needed and kept. Keys are fetched
//! again after an hour or for a token with an unknown key, at most once in 30 s; if the provider is away, the last ones
//! stay in use. Answers are bounded in time and size; endpoints must have TLS, except on loopback.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, header};
use parking_lot::RwLock;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::token::SigningKeys;
use kernel::clock::Clock;
use kernel::secret::Secret;
use net::client::{self, HttpClient, read_response, upload_body};
use net::{ProxyRules, Spawn, TlsError, tls};
use telemetry::admin::oidc::{OidcConfig, OidcSettings, is_protected_url};

/// Largest answer of a provider, in bytes.
const MAX_ANSWER_BYTES: usize = 512 << 10;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The age after which keys are fetched again.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// The least time between two fetches while there are keys, and while there are none.
const REFETCH_INTERVAL: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Why a provider gave no usable answer. No variant holds text that the provider sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("no answer in time")]
    TimedOut,
    #[error("{0}")]
    Connection(#[from] client::ClientError),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("the answer is too large, or the connection was cut off")]
    CutOff,
    #[error("{0}")]
    Invalid(&'static str),
}

/// The used parts of a discovery document (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
pub(super) struct ProviderMetadata {
    issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    jwks_uri: String,
}

/// A provider as last fetched.
pub(super) struct ProviderData {
    pub(super) metadata: ProviderMetadata,
    pub(super) keys: SigningKeys,
    fetched_at: Duration,
}

pub(super) struct IdentityProvider {
    pub(super) settings: OidcSettings,
    client: HttpClient,
    clock: Arc<dyn Clock>,
    current: RwLock<Option<Arc<ProviderData>>>,
    /// When the last fetch ended; locked while one runs.
    last_fetch: Arc<tokio::sync::Mutex<Option<Duration>>>,
    tasks: Arc<dyn Spawn>,
}

impl IdentityProvider {
    /// Builds the client; opens no connection.
    ///
    /// # Errors
    /// The CA file can't be used, or there are no root certificates.
    pub(super) fn build(
        settings: OidcSettings,
        proxies: Arc<ProxyRules>,
        tasks: Arc<dyn Spawn>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let ca_file = settings.config.ca_file.clone();
        let tls = (settings.config.issuer.starts_with("https://") || ca_file.is_some())
            .then(|| tls::ClientTlsSettings { ca_file, ..tls::ClientTlsSettings::default() });
        let client =
            HttpClient::build(&client::ClientSettings { tls, http2_only: false }, proxies, Arc::clone(&tasks))?;
        let (current, last_fetch) = Default::default();
        Ok(Self { settings, client, clock, current, last_fetch, tasks })
    }

    /// The provider's data; `None` if they were never fetched. Fetches them if they are missing or old.
    pub(super) async fn data(self: &Arc<Self>) -> Option<Arc<ProviderData>> {
        let current = self.current.read().clone();
        match current {
            Some(data) if self.clock.monotonic().saturating_sub(data.fetched_at) < MAX_AGE => Some(data),
            // Requests with a known key must not wait for a provider that hangs, so one of them fetches.
            Some(data) => match Arc::clone(&self.last_fetch).try_lock_owned() {
                Ok(last_fetch) => self.fetch_if_due(last_fetch).await,
                Err(_) => Some(data),
            },
            None => self.fetch_if_due(Arc::clone(&self.last_fetch).lock_owned().await).await,
        }
    }

    /// Data newer than `known`, if there are any: for a token whose key `known` does not have.
    pub(super) async fn newer_data(self: &Arc<Self>, known: &ProviderData) -> Option<Arc<ProviderData>> {
        let data = self.fetch_if_due(Arc::clone(&self.last_fetch).lock_owned().await).await?;
        (data.fetched_at > known.fetched_at).then_some(data)
    }

    async fn fetch_if_due(
        self: &Arc<Self>,
        mut last_fetch: tokio::sync::OwnedMutexGuard<Option<Duration>>,
    ) -> Option<Arc<ProviderData>> {
        let current = self.current.read().clone();
        let interval = if current.is_some() { REFETCH_INTERVAL } else { RETRY_INTERVAL };
        let now = self.clock.monotonic();
        if last_fetch.is_some_and(|last| now.saturating_sub(last) < interval) {
            return current;
        }
        // A task of its own: a request that is given up must not end a fetch for which others wait.
        let (this, (done, fetched)) = (Arc::clone(self), oneshot::channel());
        let fetch = async move {
            match this.fetch(now).await {
                Ok(data) => *this.current.write() = Some(Arc::new(data)),
                Err(why) => {
                    let why = why.to_string();
                    tracing::warn!(why, "the identity provider of `auth.oidc` can't be read");
                }
            }
            *last_fetch = Some(this.clock.monotonic());
            drop(last_fetch);
            // The request may be gone.
            let _ = done.send(());
        };
        self.tasks.spawn("oidc fetch", Box::pin(fetch));
        let _ = fetched.await;
        self.current.read().clone()
    }

    async fn fetch(&self, now: Duration) -> Result<ProviderData, ProviderError> {
        let issuer = &self.settings.config.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let metadata: ProviderMetadata = serde_json::from_slice(&self.get(&url).await?)
            .map_err(|_| ProviderError::Invalid("the discovery document is not understood"))?;
        // Discovery 1.0, section 4.3: otherwise a provider could speak for another one.
        if metadata.issuer != *issuer {
            return Err(ProviderError::Invalid("the discovery document names another issuer"));
        }
        let endpoints = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
        if !endpoints.iter().all(|url| is_protected_url(url)) {
            return Err(ProviderError::Invalid("the discovery document names an address without TLS"));
        }
        let keys = SigningKeys::parse(&self.get(&metadata.jwks_uri).await?);
        let keys = keys.ok_or(ProviderError::Invalid("the keys are not understood"))?;
        Ok(ProviderData { metadata, keys, fetched_at: now })
    }

    async fn get(&self, url: &str) -> Result<Bytes, ProviderError> {
        let request = Request::builder().method(Method::GET).uri(url).header(header::ACCEPT, "application/json");
        self.send(request, Bytes::new()).await
    }

    /// Exchanges an authorization code for an ID token (RFC 6749, section 4.1.3, with PKCE: RFC 7636).
    ///
    /// # Errors
    /// The provider did not answer with a token.
    pub(super) async fn exchange_code(
        &self,
        metadata: &ProviderMetadata,
        (code, verifier, redirect_uri): (&str, &str, &str),
    ) -> Result<Secret, ProviderError> {
        let OidcConfig { client_id, client_secret, .. } = &self.settings.config;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&metadata.token_endpoint)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        match client_secret {
            // RFC 6749, section 2.3.1: both parts are form-encoded first.
            Some(secret) => {
                let pair = format!("{}:{}", encode(client_id), encode(secret.expose()));
                request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
            }
            None => form.push(("client_id", client_id)),
        }
        let answer = self.send(request, Bytes::from(encode_form(&form))).await?;
        let tokens: TokenAnswer =
            serde_json::from_slice(&answer).map_err(|_| ProviderError::Invalid("the answer has no ID token"))?;
        Ok(tokens.id_token)
    }

    async fn send(&self, request: http::request::Builder, body: Bytes) -> Result<Bytes, ProviderError> {
        let request = request.body(upload_body([body]));
        let request = request.map_err(|_| ProviderError::Invalid("an address of the provider is not a valid URL"))?;
        let exchange = async {
            let answer = self.client.send(request).await?;
            let status = answer.status();
            if !status.is_success() {
                return Err(ProviderError::Status(status.as_u16()));
            }
            let read = read_response(answer.into_body(), MAX_ANSWER_BYTES).await;
            read.map(|(bytes, _)| bytes).map_err(|_| ProviderError::CutOff)
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or(Err(ProviderError::TimedOut))
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Secret,
}

/// Percent-encodes a part of a query or form.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A query or form of these fields.
pub(super) fn encode_form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    fields.collect::<Vec<_>>().join("&")
}
