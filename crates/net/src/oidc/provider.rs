//! The identity provider: its discovery document and its keys, fetched when first needed and kept. Keys are fetched
//! again after an hour or for a token with an unknown key, at most once in 30 s; if the provider is away, the last ones
//! stay in use. Answers are bounded in time and size; endpoints must have TLS, except on loopback.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::token::{SigningKeys, TokenClaims, TokenFault, TokenRefusal, verify_token};
use crate::client::{self, HttpClient, read_response, upload_body};
use crate::{SharedServices, TlsError, tls};
use telemetry::admin::oidc::is_protected_url;

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
pub enum ProviderError {
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
pub struct ProviderMetadata {
    issuer: String,
    /// Where browsers log in; empty at a provider that only issues tokens.
    #[serde(default)]
    pub authorization_endpoint: String,
    /// Where codes are exchanged; empty as above.
    #[serde(default)]
    pub token_endpoint: String,
    jwks_uri: String,
}

/// A provider as last fetched.
pub struct ProviderData {
    pub metadata: ProviderMetadata,
    keys: SigningKeys,
    fetched_at: Duration,
}

/// Which provider is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSettings {
    /// The issuer, exactly as tokens and the discovery document name it.
    pub issuer: String,
    /// Path of the authorities (PEM) that sign the provider's certificate; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// A client of one provider.
pub struct IdentityProvider {
    settings: ProviderSettings,
    client: HttpClient,
    services: SharedServices,
    current: RwLock<Option<Arc<ProviderData>>>,
    /// When the last fetch ended; locked while one runs.
    last_fetch: Arc<tokio::sync::Mutex<Option<Duration>>>,
}

impl IdentityProvider {
    /// Builds the client; opens no connection.
    ///
    /// # Errors
    /// The CA file can't be used, or there are no root certificates.
    pub fn build(settings: ProviderSettings, services: SharedServices) -> Result<Self, TlsError> {
        let ca_file = settings.ca_file.clone();
        let tls = (settings.issuer.starts_with("https://") || ca_file.is_some())
            .then(|| tls::ClientTlsSettings { ca_file, ..tls::ClientTlsSettings::default() });
        let client = HttpClient::build(&client::ClientSettings { tls, http2_only: false }, &services)?;
        let (current, last_fetch) = Default::default();
        Ok(Self { settings, client, services, current, last_fetch })
    }

    /// The provider's data; `None` if they were never fetched. Fetches them if they are missing or old.
    pub async fn data(self: &Arc<Self>) -> Option<Arc<ProviderData>> {
        let current = self.current.read().clone();
        match current {
            Some(data) if self.services.clock.monotonic().saturating_sub(data.fetched_at) < MAX_AGE => Some(data),
            // Requests with a known key must not wait for a provider that hangs, so one of them fetches.
            Some(data) => match Arc::clone(&self.last_fetch).try_lock_owned() {
                Ok(last_fetch) => self.fetch_if_due(last_fetch).await,
                Err(_) => Some(data),
            },
            None => self.fetch_if_due(Arc::clone(&self.last_fetch).lock_owned().await).await,
        }
    }

    /// The claims of a token for `audience`. Keys are fetched again if the token names one that is not known.
    ///
    /// # Errors
    /// The token is not valid, or can't be verified now.
    pub async fn verify(self: &Arc<Self>, token: &str, audience: &str) -> Result<TokenClaims, TokenRefusal> {
        // A text that is no JWT must not make this gateway ask the provider.
        if token.matches('.').count() != 2 {
            return Err(TokenRefusal::Invalid);
        }
        let began = self.services.clock.monotonic();
        let data = self.data().await.ok_or(TokenRefusal::Unavailable)?;
        let verify_with = |data: &ProviderData| verify_token(token, &data.keys, &self.settings.issuer, audience);
        match verify_with(&data) {
            Ok(claims) => Ok(claims),
            Err(TokenFault::Invalid) => Err(TokenRefusal::Invalid),
            Err(TokenFault::UnknownKey) if data.fetched_at >= began => Err(TokenRefusal::Invalid),
            Err(TokenFault::UnknownKey) => {
                let newer = self.newer_data(&data).await.ok_or(TokenRefusal::UnknownKey)?;
                verify_with(&newer).map_err(|_| TokenRefusal::Invalid)
            }
        }
    }

    /// Data newer than `known`, if there are any: for a token whose key `known` does not have.
    async fn newer_data(self: &Arc<Self>, known: &ProviderData) -> Option<Arc<ProviderData>> {
        let data = self.fetch_if_due(Arc::clone(&self.last_fetch).lock_owned().await).await?;
        (data.fetched_at > known.fetched_at).then_some(data)
    }

    async fn fetch_if_due(
        self: &Arc<Self>,
        mut last_fetch: tokio::sync::OwnedMutexGuard<Option<Duration>>,
    ) -> Option<Arc<ProviderData>> {
        let current = self.current.read().clone();
        let interval = if current.is_some() { REFETCH_INTERVAL } else { RETRY_INTERVAL };
        let now = self.services.clock.monotonic();
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
            *last_fetch = Some(this.services.clock.monotonic());
            drop(last_fetch);
            // The request may be gone.
            let _ = done.send(());
        };
        self.services.tasks.spawn("oidc fetch", Box::pin(fetch));
        let _ = fetched.await;
        self.current.read().clone()
    }

    async fn fetch(&self, now: Duration) -> Result<ProviderData, ProviderError> {
        let issuer = &self.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let metadata: ProviderMetadata = serde_json::from_slice(&self.get(&url).await?)
            .map_err(|_| ProviderError::Invalid("the discovery document is not understood"))?;
        // Discovery 1.0, section 4.3: otherwise a provider could speak for another one.
        if metadata.issuer != *issuer {
            return Err(ProviderError::Invalid("the discovery document names another issuer"));
        }
        let endpoints = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
        if !endpoints.iter().all(|url| url.is_empty() || is_protected_url(url)) {
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

    /// Sends a request to the provider; the answer is bounded in time and size.
    ///
    /// # Errors
    /// No usable answer came.
    pub async fn send(&self, request: http::request::Builder, body: Bytes) -> Result<Bytes, ProviderError> {
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
